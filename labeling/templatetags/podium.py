"""What Podium's templates need beyond Django: icons, themes, and hostile text made visible."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple
from xml.etree import ElementTree

from django import template
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.forms.boundfield import BoundWidget
from django.forms.utils import flatatt
from django.template import Context
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from labeling.rendering.invisible import Mark, blanked, pieces
from labeling.rendering.limits import NotRendered
from labeling.rendering.sanitising import sanitise

register = template.Library()

THEMES = ("light", "dark")
SNIPPET_CHARACTERS = 80
# A browser lays out so much at once without a pause; what follows waits in a fold.
HEAD_CHARACTERS = 20_000
_SVG = "{http://www.w3.org/2000/svg}"


@register.simple_tag
@cache
def icon(name: str) -> SafeString:
    """The lucide icon ``name`` as an inline SVG that screen readers pass over."""
    path = settings.BASE_DIR / "node_modules" / "lucide-static" / "icons" / f"{name}.svg"
    try:
        drawing = ElementTree.fromstring(path.read_bytes())  # noqa: S314  (a file of our own)
    except FileNotFoundError as error:
        message = f"The icon {name} is missing: run `npm ci` in the project's folder."
        raise ImproperlyConfigured(message) from error
    shapes = format_html_join("", "<{} {}/>", ((_tag(s), _attributes(s)) for s in drawing))
    return format_html(
        '<svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">{}</svg>',
        shapes,
    )


def _tag(shape: ElementTree.Element) -> str:
    return shape.tag.removeprefix(_SVG)


def _attributes(shape: ElementTree.Element) -> SafeString:
    return format_html_join(" ", '{}="{}"', shape.items())


@register.filter
def as_input(option: BoundWidget) -> SafeString:
    """What ``option.tag`` writes, by no template: the ranking page has 170 of them, and their
    templates took at least a quarter of its time on the server.
    """
    data = option.data
    return format_html(
        '<input type="{}" name="{}" value="{}"{}>',
        data["type"], data["name"], data["value"], flatatt(data["attrs"]),
    )  # fmt: skip


ROLES = {"system": _("system"), "user": _("user"), "assistant": _("assistant")}


@register.simple_tag
def role(name: str) -> str:
    """Who speaks in a turn, in the reader's language."""
    return str(ROLES.get(name, name))


@register.simple_tag(takes_context=True)
def theme(context: Context) -> str:
    """The theme this browser chose, or nothing where the system decides."""
    request = context.get("request")
    chosen = request.COOKIES.get("theme") if request else None
    return chosen if chosen in THEMES else ""


@register.filter
def visible(text: str, view: str = "text") -> SafeString:
    """The text, escaped, with every control and invisible character told by name.

    In the view ``raw``, tabs, unusual blanks and the joiners of emoji are told too.
    """
    shown = pieces(text, raw=view == "raw")
    return format_html_join("", "{}", ((_marked(piece),) for piece in shown))


def _marked(piece: str | Mark) -> str:
    if isinstance(piece, Mark):
        return format_html('<bdi class="unseen" title="{}">{}</bdi>', *piece)
    return piece


class Shown(NamedTuple):
    """A text as Markdown; or why it stays plain."""

    html: SafeString | None
    problem: str


@register.simple_tag(takes_context=True)
def markdown(context: Context, text: str) -> Shown:
    """The text as rendered Markdown, within what is left of the page's time."""
    try:
        html = context["renderer"].markdown(text)
    except NotRendered as error:
        return Shown(None, gettext(str(error)))
    return Shown(mark_safe(sanitise(html)), "")  # noqa: S308  (the sanitiser's own result)


@register.filter
def of(values: Mapping[Any, Any], key: object) -> Any:
    """What ``values`` has under ``key``; nothing where it has none."""
    return values.get(key)


@register.filter
def percent(share: float) -> str:
    """A share as people read it, never rounded up: 0.7496 is 74.9 %, not 75 %."""
    tenths = math.floor(share * 1000 + 1e-6)
    return f"{tenths / 10:g} %"


@register.filter
def head(text: str) -> str:
    """What is shown at once of a text, to the end of its line where that is near."""
    if len(text) <= HEAD_CHARACTERS:
        return text
    line_end = text.find("\n", HEAD_CHARACTERS, HEAD_CHARACTERS * 2)
    return text[: line_end + 1] if line_end != -1 else text[:HEAD_CHARACTERS]


@register.filter
def rest(text: str) -> str:
    """What ``head`` leaves out; nothing of nearly every text."""
    return text[len(head(text)) :]


@register.filter
def snippet(text: str) -> str:
    """The first words of a text on one line, without what cannot be seen."""
    words = blanked(text[: SNIPPET_CHARACTERS * 4]).split()
    return " ".join(words)[:SNIPPET_CHARACTERS] or gettext("(empty)")


# About fourteen lines of a card; the page's script looks again, at what really is shown.
FOLDED_CHARACTERS = 1_300
FOLDED_LINES = 18


@register.filter
def is_long(text: str) -> bool:
    """Whether a card is likely to fold the text: its button is there before the script has run."""
    return len(text) > FOLDED_CHARACTERS or text.count("\n") > FOLDED_LINES


@register.filter
def minutes(seconds: int) -> int:
    """Whole minutes, the begun one among them."""
    return -(-seconds // 60)
