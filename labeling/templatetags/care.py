"""Template tags of the pages that look after people: veils, figures, a chart."""

from __future__ import annotations

from datetime import date
from typing import Any, NamedTuple

from django import template
from django.template import Context, Node, NodeList
from django.template.base import FilterExpression, Parser, Token
from django.utils.translation import gettext as _

from labeling.models import QualityFigure
from labeling.quality.rows import MIN_TASKS

register = template.Library()

BAR, GAP, HEIGHT, HEAD = 10, 4, 64, 14
PERCENT = {QualityFigure.Name.PAIRWISE, QualityFigure.Name.RELIABILITY}


class VeilNode(Node):
    """What stands between ``{% veil warnings %}`` and ``{% endveil %}``, folded where it is warned
    of: no script is needed to reveal it, and nothing of it is read before.
    """

    child_nodelists = ("content",)

    def __init__(self, warnings: FilterExpression, content: NodeList) -> None:
        self.warnings = warnings
        self.content = content

    def render(self, context: Context) -> Any:
        warnings = self.warnings.resolve(context)
        content = self.content.render(context)
        if not warnings:
            return content
        veil = context.template.engine.get_template("labeling/_veil.html")  # type: ignore[union-attr]
        with context.push(warnings=warnings, veiled=content):
            return veil.render(context)


@register.tag
def veil(parser: Parser, token: Token) -> VeilNode:
    _name, warnings = token.split_contents()
    content = parser.parse(["endveil"])
    parser.delete_first_token()
    return VeilNode(parser.compile_filter(warnings), content)


class Told(NamedTuple):
    """A figure as it is read; ``missing`` says why there is none."""

    value: str
    interval: str
    missing: str


@register.filter
def told(figures: dict[str, QualityFigure], name: str) -> Told:
    """The figure ``name``, rounded to what its interval can bear; a word where it is not known."""
    figure = figures.get(name)
    if figure is None or (figure.value is None and figure.tasks >= MIN_TASKS):
        return Told("", "", "–")
    if figure.value is None:
        return Told("", "", _("too few tasks (%(tasks)d of %(least)d)") % _counts(figure))
    interval = ""
    if figure.low is not None and figure.high is not None:
        interval = f"{_number(figure, figure.low)} … {_number(figure, figure.high)}"
    return Told(_number(figure, figure.value), interval, "")


def _counts(figure: QualityFigure) -> dict[str, int]:
    return {"tasks": figure.tasks, "least": MIN_TASKS}


def _number(figure: QualityFigure, value: float) -> str:
    if figure.name in PERCENT:
        return f"{value:.0%}"
    # A minus of its own width, and no "−0.00".
    return f"{round(value, 2) + 0.0:.2f}".replace("-", "−")


class Bar(NamedTuple):
    """A day of the chart, in the chart's own units."""

    day: date
    done: int
    x: int
    y: float
    height: float


@register.inclusion_tag("labeling/_bars.html")
def bars(history: list[tuple[date, int]]) -> dict[str, Any]:
    """Days and counts as a small chart, drawn by the server."""
    most = max((count for _day, count in history), default=0)
    unit = HEIGHT / (most or 1)
    rows = [
        Bar(day, count, place * (BAR + GAP), HEAD + HEIGHT - count * unit, count * unit)
        for place, (day, count) in enumerate(history)
    ]
    return {
        "bars": rows,
        "most": most,
        "total": sum(count for _day, count in history),
        "width": len(history) * (BAR + GAP) - GAP,
        "height": HEAD + HEIGHT + 1,
        "base": HEAD + HEIGHT,
        "bar": BAR,
    }
