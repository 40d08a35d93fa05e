"""Held-out prompts. Never by pair: completions of one prompt on both sides leak the answer."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

Row = TypeVar("Row", bound=Mapping[str, Any])

# With fewer authors than this, holding one out takes too large a part of the data.
FEWEST_AUTHORS = 5
FEWEST_PROMPTS = 4


def split(rows: Sequence[Row], share: float, seed: int) -> tuple[list[Row], list[Row]]:
    """Training rows and held-out rows; the latter are none when there are too few prompts.

    Rows of one author stay together where there are several authors (InstructGPT splits by user),
    and rows of one conversation always do, whatever their ids. At least one group is held out as
    soon as there are four prompts and ``share`` is not 0.
    """
    if share <= 0:
        return list(rows), []
    for key in (_author, conversation):
        chosen = _held_out(rows, key, share, seed)
        # Another author may have asked the same.
        words = {conversation(row) for row in rows if key(row) in chosen}
        kept = [row for row in rows if conversation(row) not in words]
        if words and kept:
            return kept, [row for row in rows if conversation(row) in words]
    return list(rows), []


def _held_out(rows: Sequence[Row], key: Any, share: float, seed: int) -> set[str]:
    sizes: dict[str, int] = defaultdict(int)
    for row in rows:
        sizes[key(row)] += 1
    if len(sizes) < (FEWEST_AUTHORS if key is _author else FEWEST_PROMPTS):
        return set()
    target = max(1, round(share * len(rows)))
    chosen: set[str] = set()
    taken = 0
    for group in sorted(sizes, key=lambda name: _shuffled(seed, name)):
        # A prolific author is passed over rather than given half of the data, or all of it.
        fits = taken + sizes[group] <= min(max(2 * target, 1), len(rows) - 1)
        if taken < target and fits:
            chosen.add(group)
            taken += sizes[group]
    if not chosen and key is conversation:  # each was asked too often to be a small share
        chosen = {min(sizes, key=lambda name: (sizes[name], _shuffled(seed, name)))}
    return chosen


def _author(row: Mapping[str, Any]) -> str:
    return str(row.get("author") or f"prompt of nobody: {conversation(row)}")


def conversation(row: Mapping[str, Any]) -> str:
    """The same for the same messages, whatever their ids."""
    return json.dumps(row["messages"], sort_keys=True)


def _shuffled(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}\0{name}".encode()).digest()
