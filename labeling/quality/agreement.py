"""How much labelers agree on the tasks that several of them ranked."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

import krippendorff
import numpy as np
import numpy.typing as npt
from scipy.stats import kendalltau, rankdata

from labeling.ordering import MAX_COMPLETIONS
from labeling.quality.bootstrap import Floats
from labeling.quality.rows import RankingRow, Tasks

Ranks = tuple[int, ...]
# Sum over the pairs of rankings of a task, and what to divide it by.
Total = tuple[float, float]
Measure = Callable[[RankingRow, RankingRow], Total]


def pairwise(first: RankingRow, second: RankingRow) -> Total:
    return _pairwise(first.ranks, second.ranks)


def tau_b(first: RankingRow, second: RankingRow) -> Total:
    return _tau_b(first.ranks, second.ranks)


# A pool has many pairs of rankings and far fewer ways to rank four answers.
@lru_cache(maxsize=2**16)
def _pairwise(first: Ranks, second: Ranks) -> Total:
    """Pairs of completions of which both said the same: this one, that one, or a tie.

    Where one of the two tied and the other did not, it counts half: the tie is halfway to either.
    """
    agreed = 0.0
    pairs = list(itertools.combinations(range(len(first)), 2))
    for a, b in pairs:
        said = _sign(first[a] - first[b]), _sign(second[a] - second[b])
        agreed += 1 - abs(said[0] - said[1]) / 2
    return agreed, len(pairs)


@lru_cache(maxsize=2**16)
def _tau_b(first: Ranks, second: Ranks) -> Total:
    """Kendall's tau-b (1945), which corrects for ties; nothing where one of them tied all."""
    tau = kendalltau(first, second, variant="b").statistic
    return (0.0, 0.0) if np.isnan(tau) else (float(tau), 1.0)


def totals(tasks: Tasks, measure: Measure, labeler: int | None = None) -> tuple[Floats, Floats]:
    """Sums and counts by task, (tasks,) each, of the pairs of rankings; of one labeler's if given.

    Tasks without such a pair are left out.
    """
    rows = []
    for rankings in tasks.values():
        pairs = [measure(*pair) for pair in _pairs(rankings, labeler)]
        if pairs:
            rows.append(np.sum(pairs, axis=0))
    table = np.array(rows, dtype=float).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def _pairs(
    rankings: Sequence[RankingRow], labeler: int | None
) -> Iterator[tuple[RankingRow, RankingRow]]:
    for first, second in itertools.combinations(rankings, 2):
        if labeler is None or labeler in (first.labeler, second.labeler):
            yield first, second


def _sign(difference: int) -> int:
    return (difference > 0) - (difference < 0)


# --- Krippendorff's alpha -------------------------------------------------------------------------

# A rank is the mean of the places that its ties share, so it may end in a half.
PLACES = np.arange(2, 2 * MAX_COMPLETIONS + 1) / 2


def place_counts(rankings: Sequence[RankingRow]) -> npt.NDArray[np.int64]:
    """(K, places): how often labelers put each completion of a task on each of ``PLACES``.

    Ranks of a form may leave gaps; only their order is meant, so they become places first.
    """
    places = np.array([rankdata(row.ranks, method="average") for row in rankings])
    return np.array((places[:, :, None] == PLACES).sum(axis=0))


def alpha(units: npt.NDArray[np.int64]) -> float:
    """Krippendorff's alpha for ordinal data (2011); ``units`` (completions, places) are counts.

    NaN where all that was said is one and the same place.
    """
    used = units.sum(axis=0) > 0
    if used.sum() < 2:
        return float("nan")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return float(
            krippendorff.alpha(
                value_counts=units[:, used],
                value_domain=PLACES[used],
                level_of_measurement="ordinal",
            )
        )
