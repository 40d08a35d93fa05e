"""What ranks follow though it is no quality: the place on the page, and the length of the text."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from scipy.stats import kendalltau

from labeling.quality.bootstrap import Floats
from labeling.quality.rows import RankingRow, Tasks


def position(row: RankingRow) -> tuple[float, float]:
    """By how much the completion shown first beats the others more often than not: −½ to ½.

    The order is drawn at random for each labeler, so without a bias it is 0 on average.
    """
    first, *others = (row.ranks[number] for number in row.shown)
    won = sum((first < other) + (first == other) / 2 for other in others)
    return won / len(others) - 0.5, 1.0


def length(row: RankingRow) -> tuple[float, float]:
    return _length(row.ranks, row.lengths)


@lru_cache(maxsize=2**14)
def _length(ranks: tuple[int, ...], lengths: tuple[int, ...]) -> tuple[float, float]:
    """Kendall's tau-b of rank and length, positive where longer ones are ranked better.

    Nothing where all are tied or equally long.
    """
    tau = kendalltau([-rank for rank in ranks], lengths, variant="b").statistic
    return (0.0, 0.0) if np.isnan(tau) else (float(tau), 1.0)


def totals(
    tasks: Tasks, measure: Callable[[RankingRow], tuple[float, float]]
) -> tuple[Floats, Floats]:
    """Sums and counts by task, (tasks,) each; tasks that say nothing are left out."""
    table = np.array(
        [np.sum([measure(row) for row in rows], axis=0) for rows in tasks.values()], dtype=float
    ).reshape(-1, 2)
    table = table[table[:, 1] > 0]
    return table[:, 0], table[:, 1]
