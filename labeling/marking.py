"""Rankings held against a known answer: pure.

Only pairs that the known answer decides are looked at. A tie on one of them is half right: it says
as little as a coin would.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

Z_95 = 1.959963984540054


class Mark(NamedTuple):
    """Pairs of the known answer by what was given for them."""

    right: int
    wrong: int
    tied: int
    tau_b: float | None

    @property
    def pairs(self) -> int:
        return self.right + self.wrong + self.tied

    @property
    def agreement(self) -> float:
        """The share of pairs that agree, 0..1; tied ones count half."""
        return (self.right + self.tied / 2) / self.pairs if self.pairs else 0.0


class Interval(NamedTuple):
    low: float
    high: float


def mark(expected: Mapping[int, int], given: Mapping[int, int]) -> Mark:
    """Hold ``given`` against ``expected``: ranks by item, of the same items."""
    counts = {1: 0, -1: 0, 0: 0}
    for a, b in itertools.combinations(sorted(expected), 2):
        wanted = _sign(expected[b] - expected[a])
        if wanted:
            counts[wanted * _sign(given[b] - given[a])] += 1
    return Mark(counts[1], counts[-1], counts[0], kendall_tau_b(expected, given))


def kendall_tau_b(a: Mapping[int, int], b: Mapping[int, int]) -> float | None:
    """Kendall's rank correlation with its correction for ties (1945); None where all is tied."""
    pairs = list(itertools.combinations(sorted(a), 2))
    signs = [(_sign(a[y] - a[x]), _sign(b[y] - b[x])) for x, y in pairs]
    untied = sum(bool(of_a) for of_a, _ in signs) * sum(bool(of_b) for _, of_b in signs)
    return sum(of_a * of_b for of_a, of_b in signs) / math.sqrt(untied) if untied else None


def wilson(share: float, count: int) -> Interval:
    """Wilson's 95 % score interval (1927) of a mean ``share`` of ``count`` tasks.

    A task's agreement lies in 0..1, so its variance is at most that of a yes or no with the same
    mean: the interval is never too narrow for that, though pairs within a task go together.
    """
    if count == 0:
        return Interval(0.0, 1.0)
    z2 = Z_95**2
    centre = share + z2 / (2 * count)
    half = Z_95 * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2))
    low, high = (centre - half) / (1 + z2 / count), (centre + half) / (1 + z2 / count)
    return Interval(max(0.0, low), min(1.0, high))


def mean(shares: Sequence[float]) -> float | None:
    return sum(shares) / len(shares) if shares else None


def _sign(difference: int) -> int:
    return (difference > 0) - (difference < 0)
