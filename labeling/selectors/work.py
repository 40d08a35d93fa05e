"""A labeler's work. What a labeler may see is decided here, by an allow-list."""

from __future__ import annotations

import uuid
from typing import Any

from django.db.models import (
    DurationField,
    ExpressionWrapper,
    F,
    Min,
    QuerySet,
)
from django.db.models.functions import Now
from django.utils import timezone

from labeling import similarity
from labeling.errors import NotFound
from labeling.models import (
    Assignment,
    GuidelineVersion,
    Pool,
    Ranking,
    Slot,
    User,
)
from labeling.selectors.exposure import warnings_of
from labeling.selectors.pools import open_pools
from labeling.selectors.qualification import pools_open_to

MIN_RETRY_SECONDS = 5
MAX_RETRY_SECONDS = 300


def open_assignments(labeler: User, pools: QuerySet[Pool]) -> QuerySet[Assignment]:
    """What the labeler has begun and not ended, oldest first."""
    return (
        Assignment.objects.filter(
            labeler=labeler, state=Assignment.State.OPEN, task__prompt__pool__in=pools
        )
        .select_related("task__prompt__pool", "labeler", "slot", "rubric_version")
        .order_by("created_at")
    )


def tasks_in_hand(labeler: User, pools: QuerySet[Pool]) -> QuerySet[Assignment]:
    """Of these, the ones the labeler has seen: not what is only held ahead of its turn."""
    return open_assignments(labeler, pools).exclude(shown_at=None, draft__isnull=True)


def assignment_of(labeler: User, assignment_id: uuid.UUID) -> Assignment:
    found = (
        Assignment.objects.filter(pk=assignment_id, labeler=labeler)
        .select_related("task__prompt__pool", "guideline_version", "rubric_version", "slot")
        .first()
    )
    if found is None:
        raise NotFound("There is no such assignment of yours.")
    return found


def lease_seconds_left(assignment: Assignment) -> int:
    """On database time; 0 when the lease has ended or went to somebody else."""
    left = (
        Slot.objects.filter(
            pk=assignment.slot_id,
            state=Slot.State.LEASED,
            lease_token=assignment.lease_token,
        )
        .annotate(left=ExpressionWrapper(F("lease_until") - Now(), output_field=DurationField()))
        .values_list("left", flat=True)
        .first()
    )
    return max(0, round(left.total_seconds())) if left is not None else 0


def task_payload(assignment: Assignment) -> dict[str, Any]:
    """All that a labeler sees of a task: an allow-list, blind to models, ids, times and other
    people.
    """
    pool = assignment.task.prompt.pool
    text_of = dict(assignment.task.completions.values_list("number", "text"))
    shown = {alias: text_of[number] for alias, number in assignment.number_of_alias.items()}
    return {
        "assignment": str(assignment.pk),
        "lease_token": str(assignment.lease_token),
        "lease_seconds": lease_seconds_left(assignment),
        "pool": pool.name,
        "prompt": {"messages": assignment.task.prompt.messages},
        "warnings": warnings_of(assignment.task.prompt),
        "completions": [{"alias": alias, "text": text} for alias, text in shown.items()],
        "alike": similarity.alike(shown),
        "rubric": assignment.rubric,
        "guidelines": guidelines_payload(assignment.guideline_version),
        "draft": assignment.draft,
    }


def guidelines_payload(version: GuidelineVersion | None) -> dict[str, Any]:
    return {"version": version.number if version else 0, "text": version.text if version else ""}


def retry_after(labeler: User, pool: Pool | None) -> int:
    """Seconds until a task may come free: the soonest end of a lease that stands in the way."""
    pools = pools_open_to(labeler, open_pools())
    slots = Slot.objects.filter(pool__in=pools, state=Slot.State.LEASED, is_control=False)
    if pool is not None:
        slots = slots.filter(pool=pool)
    soonest = slots.exclude(task__assignments__labeler=labeler).aggregate(
        left=Min(ExpressionWrapper(F("lease_until") - Now(), output_field=DurationField()))
    )["left"]
    if soonest is None:
        return MAX_RETRY_SECONDS
    return min(max(int(soonest.total_seconds()) + 1, MIN_RETRY_SECONDS), MAX_RETRY_SECONDS)


def rankings_today(user: User) -> int:
    since = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
    return Ranking.objects.filter(labeler=user, created_at__gte=since).count()
