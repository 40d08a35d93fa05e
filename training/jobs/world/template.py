"""A sentence with slots that can be filled, and read back from the filled sentence."""

from __future__ import annotations

import re
import string
from collections.abc import Mapping, Sequence


class Template:
    """``Template("Greet {name}.", {"name": NAMES})``: :meth:`fill` and :meth:`read` are inverse.

    A slot takes the given options and no others, or any text where none are given. A slot that
    occurs twice must hold the same text both times.
    """

    def __init__(self, text: str, options: Mapping[str, Sequence[str]] | None = None) -> None:
        self.text = text
        self.slots = frozenset(slot for _, slot, _, _ in string.Formatter().parse(text) if slot)
        self._pattern = re.compile(_pattern_of(text, options or {}), re.DOTALL)

    def fill(self, slots: Mapping[str, str]) -> str:
        """Raises KeyError when a slot is not given; what the text has no slot for is left out."""
        return self.text.format_map(slots)

    def read(self, text: str) -> dict[str, str] | None:
        """The slots of ``text``, or None when it is not this sentence."""
        match = self._pattern.fullmatch(text.strip())
        return match.groupdict() if match else None


def _pattern_of(text: str, options: Mapping[str, Sequence[str]]) -> str:
    parts: list[str] = []
    seen: set[str] = set()
    for literal, slot, _, _ in string.Formatter().parse(text):
        parts.append(re.escape(literal))
        if slot is None:
            continue
        choice = "|".join(map(re.escape, options.get(slot, ()))) or ".+?"
        parts.append(f"(?P={slot})" if slot in seen else f"(?P<{slot}>{choice})")
        seen.add(slot)
    return "".join(parts)
