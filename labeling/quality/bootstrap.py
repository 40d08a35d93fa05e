"""Intervals by the cluster bootstrap: whole tasks are drawn, with all that was said of them.

Rankings of one task depend on each other, and so do the pairs of one ranking: drawn one by one they
would make every interval too short (Cameron, Gelbach and Miller 2008).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
SEED = 20_26
LEVEL = 0.95


def interval_of_ratio(sums: Floats, counts: Floats, draws: int = 2000) -> tuple[float, float]:
    """Percentile interval of ``sums.sum() / counts.sum()``; both (tasks,)."""
    generator = np.random.default_rng(SEED)
    tasks = len(sums)
    # A few draws at a time: (draws, tasks) of a large pool would not fit.
    values = []
    for _ in range(0, draws, 100):
        times = generator.multinomial(tasks, np.full(tasks, 1 / tasks), size=100)
        drawn = times @ counts
        values.append((times @ sums)[drawn > 0] / drawn[drawn > 0])
    return percentiles(np.concatenate(values))


def interval_of(
    statistic: Callable[[Ints], Floats], tasks: int, draws: int
) -> tuple[Floats, Floats]:
    """Percentile intervals of the figures (n,) that ``statistic`` computes from indices of tasks.

    NaN where a draw says nothing of a figure; it is left out there.
    """
    generator = np.random.default_rng(SEED)
    values = np.stack([statistic(generator.integers(tasks, size=tasks)) for _ in range(draws)])
    tail = (1 - LEVEL) / 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a figure that no draw tells: NaN
        low, high = np.nanquantile(values, [tail, 1 - tail], axis=0)
    return low, high


def percentiles(values: Floats) -> tuple[float, float]:
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)
