"""The quality figures of a pool: read its rankings, compute, store. A worker does it.

1. Due is a pool whose figures somebody asked for, or that has new rankings since the last time. New
   rankings alone wait ``QUALITY_EVERY_SECONDS``, and longer where computing takes long.
2. One worker claims it by a guarded UPDATE, on database time.
3. The figures replace those before in one transaction, with what they were computed from.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import NamedTuple

from django.conf import settings
from django.db import transaction
from django.db.models import Count, Max, Q, QuerySet
from django.db.models.functions import Length, Now

from labeling.models import Completion, Pool, QualityFigure, QualityReport, Ranking
from labeling.quality.rows import RankingRow

logger = logging.getLogger(__name__)

# The newest tell how a pool is now; more would take longer than they would add.
MAX_RANKINGS = 5_000
CLAIM = timedelta(minutes=10)
# Computing takes at most this share of the time.
MOST_OF_THE_TIME = 0.1


class Watermark(NamedTuple):
    """What there is to compute from."""

    watermark: int
    rankings: int
    revised_at: object


def compute_next_quality() -> bool:
    """Compute the figures of one pool that is due; False when there was none."""
    for pool in Pool.objects.filter(quality_report=None).order_by("pk"):
        if _counted(pool).exists():
            QualityReport.objects.get_or_create(pool=pool)
    for report in QualityReport.objects.select_related("pool").order_by("computed_at", "pk"):
        if _is_due(report) and _claim(report):
            _compute(report)
            return True
    return False


def watermark_of(pool: Pool) -> Watermark:
    found = _counted(pool).aggregate(
        watermark=Max("pk", default=0), rankings=Count("pk"), revised_at=Max("revised_at")
    )
    return Watermark(**found)


def _is_due(report: QualityReport) -> bool:
    if report.requested_at is not None:
        return True
    pause = max(settings.QUALITY_EVERY_SECONDS, report.seconds / MOST_OF_THE_TIME)
    rested = Q(computed_at=None) | Q(computed_at__lte=Now() - timedelta(seconds=pause))
    if not QualityReport.objects.filter(rested, pk=report.pk).exists():
        return False
    stored = Watermark(report.watermark, report.rankings, report.revised_at)
    return watermark_of(report.pool) != stored


def _claim(report: QualityReport) -> bool:
    free = Q(claimed_until=None) | Q(claimed_until__lte=Now())
    claimable = QualityReport.objects.filter(free, pk=report.pk)
    return claimable.update(claimed_until=Now() + CLAIM) == 1


def _compute(report: QualityReport) -> None:
    began = time.monotonic()
    try:
        known = watermark_of(report.pool)
        figures = list(_figures(report))
        error = ""
    except (ArithmeticError, ValueError) as failure:
        # Figures that cannot be told must not stop those of other pools; the page says so.
        logger.exception("%s", report)
        known, figures, error = watermark_of(report.pool), [], str(failure)
    seconds = time.monotonic() - began
    with transaction.atomic():
        report.figures.all().delete()
        QualityFigure.objects.bulk_create(figures)
        QualityReport.objects.filter(pk=report.pk).update(
            **known._asdict(),
            used_rankings=min(known.rankings, MAX_RANKINGS),
            seconds=seconds,
            error=error,
            computed_at=Now(),
            claimed_until=None,
            requested_at=None,
        )
    logger.info("%s: %d figures in %.1f s", report, len(figures), seconds)


def _figures(report: QualityReport) -> Iterator[QualityFigure]:
    # Loads scipy and crowd-kit, which a web process has no use for.
    from labeling.quality.figures import figures_of  # noqa: PLC0415

    for population in QualityFigure.Population:
        rows = list(ranking_rows(report.pool, population))
        for figure in figures_of(rows):
            yield QualityFigure(
                report=report,
                population=population,
                labeler_id=figure.labeler,
                guideline_version_id=figure.guidelines,
                name=figure.name,
                value=figure.value,
                low=figure.low,
                high=figure.high,
                tasks=figure.tasks,
                count=figure.compared,
            )


def ranking_rows(pool: Pool, population: str) -> Iterator[RankingRow]:
    """The newest counted rankings of people, or of simulated labelers: never mixed."""
    simulated = population == QualityFigure.Population.SIMULATED
    newest = _counted(pool).order_by("-pk").values_list("pk", flat=True)[:MAX_RANKINGS]
    rankings = (
        Ranking.objects.filter(pk__in=list(newest), labeler__is_simulated=simulated)
        .select_related("assignment")
        .prefetch_related("items")
        .order_by("pk")
    )
    numbers = _numbers_and_lengths(rankings)
    for ranking in rankings:
        place = [(*numbers[item.completion_id], item.rank) for item in ranking.items.all()]
        place.sort()
        yield RankingRow(
            task=ranking.task_id,
            labeler=ranking.labeler_id,
            guidelines=ranking.assignment.guideline_version_id,
            ranks=tuple(rank for _, _, rank in place),
            shown=tuple(ranking.assignment.shown_order),
            lengths=tuple(length for _, length, _ in place),
        )


def _numbers_and_lengths(rankings: QuerySet[Ranking]) -> dict[int, tuple[int, int]]:
    tasks = rankings.order_by().values("task")
    completions = Completion.objects.filter(task__in=tasks).annotate(length=Length("text"))
    rows = completions.values_list("pk", "number", "length")
    return {pk: (number, length) for pk, number, length in rows}


def _counted(pool: Pool) -> QuerySet[Ranking]:
    return Ranking.objects.filter(task__prompt__pool=pool, status=Ranking.Status.COUNTED)
