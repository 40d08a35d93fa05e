"""All figures of a pool's rankings with their intervals: of the pool, by labeler, by guidelines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from labeling.quality import agreement, bias, reliability
from labeling.quality.bootstrap import Floats, interval_of, interval_of_ratio
from labeling.quality.rows import MIN_TASKS, RankingRow, Tasks, by_task, shared

ALPHA_DRAWS = 400
RELIABILITY_DRAWS = 200
# Reliability is fitted anew for each draw; the newest tasks are enough to tell it.
RELIABILITY_TASKS = 500

Ints = npt.NDArray[np.int64]


class Figure(NamedTuple):
    """A figure of one scope; no value where fewer than ``MIN_TASKS`` tasks could tell it.

    ``tasks``: how many could. ``compared``: pairs, pairs of rankings, or rankings that went in.
    """

    name: str
    labeler: int | None
    guidelines: int | None
    value: float | None
    low: float | None
    high: float | None
    tasks: int
    compared: int


def figures_of(rows: Iterable[RankingRow]) -> list[Figure]:
    """The figures of one population in one pool."""
    every = by_task(rows)
    if not every:
        return []
    versions = sorted({row.guidelines for row in _all(every) if row.guidelines is not None})
    labelers = sorted({row.labeler for row in _all(every)})
    found = [*_of_pool(every), *_reliabilities(shared(every))]
    for labeler in labelers:
        found += _of_labeler(every, labeler)
    for version in versions:
        under = by_task(row for row in _all(every) if row.guidelines == version)
        found += [figure._replace(guidelines=version) for figure in _of_pool(under)]
    return found


def _all(tasks: Tasks) -> Iterator[RankingRow]:
    for rows in tasks.values():
        yield from rows


def _of_pool(tasks: Tasks) -> list[Figure]:
    both = shared(tasks)
    return [
        _ratio("pairwise_agreement", *agreement.totals(both, agreement.pairwise)),
        _ratio("kendall_tau_b", *agreement.totals(both, agreement.tau_b)),
        _alpha(both),
        _ratio("position_bias", *bias.totals(tasks, bias.position)),
        _ratio("length_bias", *bias.totals(tasks, bias.length)),
    ]


def _of_labeler(tasks: Tasks, labeler: int) -> list[Figure]:
    """Agreement is with whoever else ranked the same tasks."""
    own = by_task(row for row in _all(tasks) if row.labeler == labeler)
    both = {task: rows for task, rows in shared(tasks).items() if task in own}
    figures = [
        _ratio("pairwise_agreement", *agreement.totals(both, agreement.pairwise, labeler)),
        _ratio("kendall_tau_b", *agreement.totals(both, agreement.tau_b, labeler)),
        _ratio("position_bias", *bias.totals(own, bias.position)),
        _ratio("length_bias", *bias.totals(own, bias.length)),
    ]
    return [figure._replace(labeler=labeler) for figure in figures]


def _ratio(name: str, sums: Floats, counts: Floats) -> Figure:
    informed = counts > 0
    sums, counts = sums[informed], counts[informed]
    tasks, count = len(sums), int(counts.sum())
    if tasks < MIN_TASKS:
        return _unknown(name, tasks, count)
    low, high = interval_of_ratio(sums, counts)
    return Figure(name, None, None, float(sums.sum() / count), low, high, tasks, count)


def _alpha(both: Tasks) -> Figure:
    name, units = "krippendorff_alpha", [agreement.place_counts(rows) for rows in both.values()]
    count = sum(len(unit) for unit in units)
    if len(units) < MIN_TASKS:
        return _unknown(name, len(units), count)
    value = agreement.alpha(np.concatenate(units))
    if np.isnan(value):
        return _unknown(name, len(units), count)

    def redrawn(tasks: Ints) -> Floats:
        return np.array([agreement.alpha(np.concatenate([units[task] for task in tasks]))])

    low, high = interval_of(redrawn, len(units), ALPHA_DRAWS)
    return Figure(name, None, None, value, *_ends(low[0], high[0]), len(units), count)


def _reliabilities(both: Tasks) -> list[Figure]:
    newest = list(both.values())[-RELIABILITY_TASKS:]
    votes = reliability.votes_of(newest)
    if not votes.labelers:
        return []
    values = reliability.skills(votes)

    def redrawn(drawn: Ints) -> Floats:
        return reliability.redrawn_skills(votes, np.bincount(drawn, minlength=len(newest)))

    lows, highs = interval_of(redrawn, len(newest), RELIABILITY_DRAWS)
    figures = []
    for place, labeler in enumerate(votes.labelers):
        own = votes.labeler == place
        tasks, count = len(np.unique(votes.task[own])), int(own.sum())
        figure = _unknown("reliability", tasks, count)
        if tasks >= MIN_TASKS:
            low, high = _ends(lows[place], highs[place])
            figure = figure._replace(value=float(values[place]), low=low, high=high)
        figures.append(figure._replace(labeler=labeler))
    return figures


def _ends(low: float, high: float) -> tuple[float | None, float | None]:
    return (None, None) if np.isnan(low) or np.isnan(high) else (float(low), float(high))


def _unknown(name: str, tasks: int, count: int) -> Figure:
    return Figure(name, None, None, None, None, None, tasks, count)
