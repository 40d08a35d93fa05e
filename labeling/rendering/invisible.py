"""Characters that change a text without showing in it, told by name instead of acted on."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterator
from html import escape
from typing import NamedTuple

# So many different kinds of invisible characters in one run are named; the rest is counted.
RUN_LIMIT = 8
# So many runs in one text are named; the rest only gets a sign, or a page could grow without bound.
MARK_LIMIT = 2_000
SIGN = "▯"

# Controls, format characters, separators and blanks that change a text without showing in it.
INVISIBLE = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e"
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0"
    "\ufff9-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
# Blanks that look like a space and are none.
_BLANKS = "\t\xa0\u1680\u2000-\u200a\u202f\u205f\u3000"
# Joiners and variation selectors belong to what precedes them in emoji and in many scripts.
_AT_HOME = re.compile(
    r"\r\n|[0-9#*]\ufe0f|[^\x00-\u02ff\u2000-\u206f\U000e0000-\U000e0fff]"
    r"[\u200c\u200d\ufe00-\ufe0f\U000e0100-\U000e01ef]{1,3}"
)
_RUN = re.compile(f"{_AT_HOME.pattern}|(?P<run>[{INVISIBLE}]+)")
_RAW_RUN = re.compile(f"(?P<run>[{INVISIBLE}{_BLANKS}]+)")
_SHORT_NAMES = {
    "\xad": "SHY", "\u061c": "ALM", "\u200b": "ZWSP", "\u200c": "ZWNJ", "\u200d": "ZWJ",
    "\u200e": "LRM", "\u200f": "RLM", "\u202a": "LRE", "\u202b": "RLE", "\u202c": "PDF",
    "\u202d": "LRO", "\u202e": "RLO", "\u2060": "WJ", "\u2066": "LRI", "\u2067": "RLI",
    "\u2068": "FSI", "\u2069": "PDI", "\ufeff": "BOM", "\r": "CR", "\x1b": "ESC", "\x00": "NUL",
    "\t": "TAB", "\xa0": "NBSP",
}  # fmt: skip


class Mark(NamedTuple):
    """What stands for a run: the name of its first character, and a short label for all of it."""

    title: str
    label: str


def pieces(text: str, *, raw: bool = False, limit: int = MARK_LIMIT) -> Iterator[str | Mark]:
    """The text as strings that show whole, and marks where something would not.

    ``raw``: tabs, blanks that are no space, and joiners where scripts need them are marked too.
    """
    pattern = _RAW_RUN if raw else _RUN
    start = 0
    runs = (match for match in pattern.finditer(text) if match["run"] is not None)
    for match in itertools.islice(runs, limit):
        yield text[start : match.start()]
        yield _named(match["run"])
        start = match.end()
    yield pattern.sub(lambda match: match[0] if match["run"] is None else SIGN, text[start:])


class Marker:
    """The pieces of one text as HTML; all of them share one limit of marks."""

    def __init__(self) -> None:
        self._left = MARK_LIMIT

    def html(self, text: str) -> str:
        return "".join(map(self._piece, pieces(text, limit=self._left)))

    def _piece(self, piece: str | Mark) -> str:
        if isinstance(piece, str):
            return escape(piece)
        self._left -= 1
        return f'<bdi class="unseen" title="{escape(piece.title)}">{escape(piece.label)}</bdi>'


def hides_something(text: str) -> bool:
    return any(match["run"] is not None for match in _RUN.finditer(text))


def blanked(text: str) -> str:
    """The text with a space for everything that would not show."""
    return re.sub(f"[{INVISIBLE}]", " ", text)


def _named(run: str) -> Mark:
    kinds = [(character, len(list(same))) for character, same in itertools.groupby(run)]
    labels = [_label(character, count) for character, count in kinds[:RUN_LIMIT]]
    rest = sum(count for _, count in kinds[RUN_LIMIT:])
    if rest:
        labels.append(f"+{rest}")
    title = unicodedata.name(run[0], f"control character {ord(run[0]):04X}").lower()
    return Mark(title, " ".join(labels))


def _label(character: str, count: int) -> str:
    name = _SHORT_NAMES.get(character, f"U+{ord(character):04X}")
    return name if count == 1 else f"{name}×{count}"
