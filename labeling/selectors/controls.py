"""How labelers do on control tasks. For admins alone."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple

from django.db.models import Prefetch

from labeling import marking
from labeling.models import Pool, RankedItem, Ranking, User

# Fewer controls say nothing yet: no warning, no pause.
MIN_CONTROLS = 5


class ControlFigure(NamedTuple):
    """A labeler's mean pairwise agreement with the known answers of one pool."""

    labeler: User
    pool: Pool
    tasks: int
    agreement: float
    interval: marking.Interval

    @property
    def is_low(self) -> bool:
        return self.tasks >= MIN_CONTROLS and self.agreement < self.pool.control_threshold


def control_figures(
    *, pool: Pool | None = None, labeler: User | None = None
) -> list[ControlFigure]:
    """One figure for each labeler and pool with a control ranked, by name."""
    rankings = Ranking.objects.filter(
        status=Ranking.Status.CONTROL, task__control__is_active=True
    ).order_by("labeler__username", "task__prompt__pool__name", "id")
    if pool is not None:
        rankings = rankings.filter(task__prompt__pool=pool)
    if labeler is not None:
        rankings = rankings.filter(labeler=labeler)
    rows = rankings.select_related(
        "labeler", "task__prompt__pool", "task__control"
    ).prefetch_related(Prefetch("items", queryset=RankedItem.objects.select_related("completion")))
    return list(_figures(rows.iterator(chunk_size=500)))


def _figures(rankings: Iterator[Ranking]) -> Iterator[ControlFigure]:
    for (labeler, pool), group in groupby(
        rankings, key=lambda ranking: (ranking.labeler, ranking.task.prompt.pool)
    ):
        marks = [_mark(ranking) for ranking in group]
        agreement = sum(mark.agreement for mark in marks) / len(marks)
        interval = marking.wilson(agreement, len(marks))
        yield ControlFigure(labeler, pool, len(marks), agreement, interval)


def _mark(ranking: Ranking) -> marking.Mark:
    given = {item.completion.number: item.rank for item in ranking.items.all()}
    return marking.mark(ranking.task.control.rank_of_number, given)
