"""What Podium's templates need beyond Django: icons, themes, and hostile text made visible."""

from __future__ import annotations

import itertools
import re
import unicodedata
from functools import cache
from xml.etree import ElementTree

from django import template
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.template import Context
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

register = template.Library()

THEMES = ("light", "dark")
SNIPPET_CHARACTERS = 80
# A browser lays out so much at once without a pause; what follows waits in a fold.
HEAD_CHARACTERS = 20_000
# So many different kinds of invisible characters in one run are named; the rest is counted.
RUN_LIMIT = 8
# So many runs in one text are named; the rest only gets a sign, or a page could grow without bound.
MARK_LIMIT = 2_000

# Controls, format characters, separators and blanks that change a text without showing in it.
_INVISIBLE = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e"
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0"
    "\ufff9-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
# Joiners and variation selectors belong to what precedes them in emoji and in many scripts.
_AT_HOME = re.compile(
    r"\r\n|[0-9#*]\ufe0f|[^\x00-\u02ff\u2000-\u206f\U000e0000-\U000e0fff]"
    r"[\u200c\u200d\ufe00-\ufe0f\U000e0100-\U000e01ef]{1,3}"
)
_RUN = re.compile(f"{_AT_HOME.pattern}|(?P<run>[{_INVISIBLE}]+)")
_SHORT_NAMES = {
    "\xad": "SHY", "\u061c": "ALM", "\u200b": "ZWSP", "\u200c": "ZWNJ", "\u200d": "ZWJ",
    "\u200e": "LRM", "\u200f": "RLM", "\u202a": "LRE", "\u202b": "RLE", "\u202c": "PDF",
    "\u202d": "LRO", "\u202e": "RLO", "\u2060": "WJ", "\u2066": "LRI", "\u2067": "RLI",
    "\u2068": "FSI", "\u2069": "PDI", "\ufeff": "BOM", "\r": "CR", "\x1b": "ESC", "\x00": "NUL",
}  # fmt: skip
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
def visible(text: str) -> SafeString:
    """The text, escaped, with every control and invisible character told by name."""
    pieces: list[tuple[str | SafeString]] = []
    start = 0
    runs = (match for match in _RUN.finditer(text) if match["run"] is not None)
    for match in itertools.islice(runs, MARK_LIMIT):
        pieces += [(text[start : match.start()],), (_named(match["run"]),)]
        start = match.end()
    signs = _RUN.sub(lambda match: match[0] if match["run"] is None else "▯", text[start:])
    return format_html_join("", "{}", [*pieces, (signs,)])


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
    head = re.sub(f"[{_INVISIBLE}]", " ", text[: SNIPPET_CHARACTERS * 4])
    return " ".join(head.split())[:SNIPPET_CHARACTERS] or "(empty)"


def _named(run: str) -> SafeString:
    kinds = [(character, len(list(same))) for character, same in itertools.groupby(run)]
    labels = [_label(character, count) for character, count in kinds[:RUN_LIMIT]]
    rest = sum(count for _, count in kinds[RUN_LIMIT:])
    if rest:
        labels.append(f"+{rest}")
    title = unicodedata.name(run[0], f"control character {ord(run[0]):04X}").lower()
    return format_html('<bdi class="unseen" title="{}">{}</bdi>', title, " ".join(labels))


def _label(character: str, count: int) -> str:
    name = _SHORT_NAMES.get(character, f"U+{ord(character):04X}")
    return name if count == 1 else f"{name}×{count}"
