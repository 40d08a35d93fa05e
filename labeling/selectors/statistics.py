"""A labeler's own figures. None of them tells what another labeler did with a given task."""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta
from statistics import median
from typing import Any, NamedTuple

from django.db.models import Count, F, Q, QuerySet
from django.db.models.functions import Coalesce, TruncDate
from django.utils import timezone

from labeling import ordering
from labeling.models import (
    AdjudicatedItem,
    Demonstration,
    QualityFigure,
    RankedItem,
    Ranking,
    User,
)
from labeling.selectors.exposure import start_of_day

HISTORY_DAYS = 28
PACE_RANKINGS = 200
MIN_PACED = 5
# With fewer tasks, a labeler who changes one ranking could read another's from the change.
MIN_SHARED_TASKS = 20
MIN_ADJUDICATED = 5
# Steps of what is told of agreement, in percent: wider than what one task of so many can move.
STEP = 5


class Tally(NamedTuple):
    """How much was done: today, in the last seven days, and ever."""

    today: int
    week: int
    ever: int


class Statistics(NamedTuple):
    """``pace`` in minutes; ``agreement`` and ``adjudicated`` in percent, None where too little was
    shared to tell. ``history``: rankings of each of the last days, the oldest first.
    """

    rankings: Tally
    demonstrations: Tally
    counted: int
    late: int
    pace: float | None
    agreement: int | None
    adjudications: int
    adjudicated: int | None
    history: list[tuple[date, int]]


def statistics_of(labeler: User) -> Statistics:
    rankings = Ranking.objects.filter(labeler=labeler)
    late = rankings.filter(status=Ranking.Status.LATE).count()
    counts = _counts(rankings)
    adjudications, adjudicated = _adjudicated(labeler)
    return Statistics(
        rankings=counts,
        demonstrations=_counts(Demonstration.objects.filter(author=labeler)),
        counted=counts.ever - late,
        late=late,
        pace=_pace(labeler),
        agreement=_agreement(labeler),
        adjudications=adjudications,
        adjudicated=adjudicated,
        history=_history(labeler),
    )


def _counts(rows: QuerySet[Any]) -> Tally:
    today = start_of_day()
    found = rows.aggregate(
        today=Count("pk", filter=Q(created_at__gte=today)),
        week=Count("pk", filter=Q(created_at__gte=today - timedelta(days=6))),
        ever=Count("pk"),
    )
    return Tally(**found)


def _pace(labeler: User) -> float | None:
    """Median minutes from the first sight of a prompt to its ranking, of the latest ones.

    A median: a page left open over lunch moves nothing.
    """
    rankings = Ranking.objects.filter(labeler=labeler).order_by("-pk")
    seen = Coalesce(F("assignment__shown_at"), F("assignment__created_at"))
    spans = rankings.annotate(span=F("created_at") - seen).values_list("span", flat=True)
    minutes = [span.total_seconds() / 60 for span in spans[:PACE_RANKINGS]]
    return median(minutes) if len(minutes) >= MIN_PACED else None


def _agreement(labeler: User) -> int | None:
    """Pairwise agreement with others over all pools, as a worker last computed it."""
    figures = QualityFigure.objects.filter(
        labeler=labeler, name=QualityFigure.Name.PAIRWISE, value__isnull=False
    ).values_list("value", "tasks", "count")
    if sum(tasks for _, tasks, _ in figures) < MIN_SHARED_TASKS:
        return None
    pairs = sum(count for _, _, count in figures)
    agreed = sum((value or 0) * count for value, _, count in figures)
    return STEP * round(100 * agreed / pairs / STEP)


def _adjudicated(labeler: User) -> tuple[int, int | None]:
    """How many tasks of the labeler were adjudicated, and on how many pairs alike, in percent."""
    decided = AdjudicatedItem.objects.filter(
        adjudication__task__rankings__labeler=labeler,
    ).values_list("adjudication__task", "completion", "rank")
    own = dict(
        RankedItem.objects.filter(
            ranking__labeler=labeler, ranking__task__adjudication__isnull=False
        ).values_list("completion", "rank")
    )
    tasks: dict[int, dict[int, int]] = {}
    for task, completion, rank in decided:
        tasks.setdefault(task, {})[completion] = rank
    if len(tasks) < MIN_ADJUDICATED:
        return len(tasks), None
    alike = [
        theirs.preferred == mine.preferred
        for ranks in tasks.values()
        for theirs, mine in zip(
            ordering.comparisons(ranks),
            ordering.comparisons({completion: own[completion] for completion in ranks}),
            strict=True,
        )
    ]
    return len(tasks), STEP * round(100 * sum(alike) / len(alike) / STEP)


def _history(labeler: User) -> list[tuple[date, int]]:
    today = timezone.localdate()
    days = [today - timedelta(days=ago) for ago in reversed(range(HISTORY_DAYS))]
    since = start_of_day() - timedelta(days=HISTORY_DAYS - 1)
    rankings = Ranking.objects.filter(labeler=labeler, created_at__gte=since).order_by()
    rows = rankings.annotate(day=TruncDate("created_at")).values_list("day").annotate(Count("pk"))
    done = Counter(dict(rows))
    return [(day, done[day]) for day in days]
