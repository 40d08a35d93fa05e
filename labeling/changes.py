"""What changed between two versions of a text, line by line and word by word: pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Literal, NamedTuple

from labeling.similarity import MAX_CHARACTERS, Part, TooLong, differences

CONTEXT_LINES = 1
# More lines are not guidelines that anybody reads line by line.
MAX_LINES = 2_000
Kind = Literal["same", "removed", "added", "gap"]


class Line(NamedTuple):
    """One line, or several left out (a ``gap``). ``parts`` mark the words that changed."""

    kind: Kind
    parts: list[Part]
    left_out: int = 0


def changed_lines(before: str, after: str) -> list[Line]:
    """Removed and added lines in their places, with a line of what is around them.

    Raises TooLong: one of the texts has more than ``similarity.MAX_CHARACTERS`` or ``MAX_LINES``.
    """
    old, new = before.splitlines(), after.splitlines()
    if max(len(before), len(after)) > MAX_CHARACTERS or max(len(old), len(new)) > MAX_LINES:
        raise TooLong
    lines: list[Line] = []
    for what, i1, i2, j1, j2 in difflib.SequenceMatcher(None, old, new).get_opcodes():
        if what == "equal":
            at_start, at_end = not lines, i2 == len(old) and j2 == len(new)
            lines += _context(old[i1:i2], at_start=at_start, at_end=at_end)
        else:
            lines += _changed(old[i1:i2], new[j1:j2])
    return lines


def _context(lines: list[str], *, at_start: bool, at_end: bool) -> Iterator[Line]:
    head = 0 if at_start else CONTEXT_LINES
    tail = 0 if at_end else CONTEXT_LINES
    left_out = len(lines) - head - tail
    if left_out <= 1:
        yield from (_same(line) for line in lines)
        return
    yield from (_same(line) for line in lines[:head])
    yield Line("gap", [], left_out)
    yield from (_same(line) for line in lines[len(lines) - tail :])


def _same(line: str) -> Line:
    return Line("same", [Part(line, False)])


def _changed(old: list[str], new: list[str]) -> Iterator[Line]:
    """The lines that went, then those that came; where both are there, their words are compared."""
    if not old or not new:
        yield from (Line("removed", [Part(line, True)]) for line in old)
        yield from (Line("added", [Part(line, True)]) for line in new)
        return
    try:
        of_old, of_new = differences("\n".join(old), "\n".join(new))
    except TooLong:
        of_old, of_new = [Part("\n".join(old), True)], [Part("\n".join(new), True)]
    yield from (Line("removed", parts) for parts in _by_line(of_old))
    yield from (Line("added", parts) for parts in _by_line(of_new))


def _by_line(parts: list[Part]) -> Iterator[list[Part]]:
    line: list[Part] = []
    for part in parts:
        first, *more = part.text.split("\n")
        line.append(Part(first, part.differs))
        for text in more:
            yield [p for p in line if p.text]
            line = [Part(text, part.differs)]
    yield [p for p in line if p.text]
