"""What comes when: orders that follow from the seed and a position alone, so that none is state."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import torch


def visits(count: int, seed: int, first: int, size: int, of: str = "prompts") -> list[int]:
    """The items of ``size`` visits from ``first`` on: each of ``count`` once a pass, in a new order
    each. ``of`` names the items, so that two kinds are not visited in step.
    """
    orders: dict[int, list[int]] = {}
    chosen = []
    for visit in range(first, first + size):
        turn = visit // count
        if turn not in orders:
            orders[turn] = torch.randperm(count, generator=generator(of, seed, turn)).tolist()
        chosen.append(orders[turn][visit % count])
    return chosen


def minibatches(count: int, size: int, key: tuple[int, ...]) -> Iterator[list[int]]:
    """A fresh shuffle for each ``key``, cut into parts of ``size``."""
    order = torch.randperm(count, generator=generator("minibatches", *key)).tolist()
    for start in range(0, count, size):
        yield order[start : start + size]


def generator(*key: int | str) -> torch.Generator:
    """A generator for one purpose, named by numbers and words."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
