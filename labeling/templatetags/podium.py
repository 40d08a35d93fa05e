"""What Podium's templates need beyond Django: icons, themes, and hostile text made visible."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple
from xml.etree import ElementTree

from django import template
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.template import Context
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

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
        return Shown(None, str(error))
    return Shown(mark_safe(sanitise(html)), "")  # noqa: S308  (the sanitiser's own result)


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
    return " ".join(words)[:SNIPPET_CHARACTERS] or "(empty)"
