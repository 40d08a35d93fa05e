"""The only writer of states: slots and assignments move by guarded UPDATEs whose row count is read.

Times are the database's, so that web and worker machines need not agree on a clock.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Sequence
from datetime import timedelta

from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from labeling.models import (
    Assignment,
    Completion,
    Pool,
    Prompt,
    Round,
    Slot,
    Task,
    User,
    Writing,
)

LEASE_LIVE = Q(state=Slot.State.LEASED, lease_until__gt=Now())
LEASE_ENDED = Q(state=Slot.State.LEASED, lease_until__lte=Now())
CLAIMABLE = Q(state=Slot.State.FREE) | LEASE_ENDED


def current_round() -> Round:
    """The latest round; the first one comes to be with the first task."""
    return Round.objects.order_by("-number").first() or Round.objects.get_or_create(number=1)[0]


def open_round() -> Round:
    return Round.objects.create(number=current_round().number + 1)


def publish_tasks(
    round_: Round, completions_of_prompt: Sequence[tuple[Prompt, Sequence[Completion]]]
) -> list[Task]:
    """Make tasks whole: task, its completions (unsaved, in order) and its free slots.

    Call it inside a transaction. A labeler sees a task with all its completions or not at all.
    """
    tasks = Task.objects.bulk_create(
        Task(prompt=prompt, round=round_, completion_count=len(completions))
        for prompt, completions in completions_of_prompt
    )
    for task, (_, completions) in zip(tasks, completions_of_prompt, strict=True):
        for number, completion in enumerate(completions):
            completion.task, completion.number = task, number
    Completion.objects.bulk_create(c for _, group in completions_of_prompt for c in group)
    Slot.objects.bulk_create(
        Slot(task=task, pool=task.prompt.pool, number=number)
        for task in tasks
        for number in range(task.prompt.pool.overlap)
    )
    return tasks


def lease_new_task(labeler: User, pools: QuerySet[Pool]) -> Assignment | None:
    """Lease the next slot on a task that the labeler has never had; None when there is none.

    Tasks get their first ranking before any gets its second. Free slots come first; then those
    whose lease has ended. Rows locked by another request are passed over where the database can do
    that.
    """
    candidates = (
        Slot.objects.filter(pool__in=pools)
        .exclude(task__assignments__labeler=labeler)
        .order_by("number", "id")
        .select_for_update(skip_locked=True, of=("self",))
        .select_related("task__prompt__pool")
    )
    slot = (
        candidates.filter(state=Slot.State.FREE).first() or candidates.filter(LEASE_ENDED).first()
    )
    if slot is None:
        return None
    pool = slot.task.prompt.pool
    assignment = Assignment(
        task=slot.task,
        labeler=labeler,
        slot=slot,
        lease_token=uuid.uuid4(),
        shown_order=_shuffled(slot.task.completion_count),
        guideline_version=pool.guideline_versions.order_by("-number").first(),
    )
    assignment.save(force_insert=True)
    return assignment if _take(slot, assignment, pool) else None


def renew_lease(assignment: Assignment) -> bool:
    """Extend the lease, or take it anew when it has ended and the task still has a place."""
    pool = assignment.task.prompt.pool
    held = Slot.objects.filter(LEASE_LIVE, pk=assignment.slot_id, **_holder(assignment))
    if held.update(lease_until=Now() + timedelta(seconds=pool.lease_seconds)):
        return True
    if assignment.state != Assignment.State.OPEN:
        return False
    # One's own ended lease comes first: a labeler can hold only one slot of a task.
    own = Slot.objects.filter(LEASE_ENDED, pk=assignment.slot_id, **_holder(assignment)).first()
    free = Slot.objects.filter(CLAIMABLE, task=assignment.task_id).order_by("number").first()
    slot = own or free
    return slot is not None and _take(slot, assignment, pool)


def complete_slot(assignment: Assignment) -> bool:
    """Mark the slot done if the assignment holds it on a live lease."""
    held = Slot.objects.filter(LEASE_LIVE, pk=assignment.slot_id, **_holder(assignment))
    return held.update(state=Slot.State.DONE, lease_until=None) == 1


def has_claimable_slot(assignment: Assignment) -> bool:
    return Slot.objects.filter(CLAIMABLE, task=assignment.task_id).exists()


def release_slot(assignment: Assignment) -> None:
    Slot.objects.filter(
        pk=assignment.slot_id, state=Slot.State.LEASED, **_holder(assignment)
    ).update(state=Slot.State.FREE, labeler=None, lease_token=None, lease_until=None)


def release_ended_leases() -> int:
    """Free the slots whose lease has ended. They can be claimed without it; this keeps counts
    plain.
    """
    return Slot.objects.filter(LEASE_ENDED).update(
        state=Slot.State.FREE, labeler=None, lease_token=None, lease_until=None
    )


def close_assignment(
    assignment: Assignment, state: Assignment.State, *, skip_reason: str = ""
) -> bool:
    """Move an open assignment to ``state``; False when it was not open any more."""
    return bool(
        Assignment.objects.filter(pk=assignment.pk, state=Assignment.State.OPEN).update(
            state=state, skip_reason=skip_reason, finished_at=Now()
        )
    )


def close_writing(writing: Writing, state: Writing.State, *, skip_reason: str = "") -> bool:
    """Move an open writing to ``state``; False when it was not open any more."""
    return bool(
        Writing.objects.filter(pk=writing.pk, state=Writing.State.OPEN).update(
            state=state, skip_reason=skip_reason, finished_at=Now()
        )
    )


def _take(slot: Slot, assignment: Assignment, pool: Pool) -> bool:
    taken = Slot.objects.filter(CLAIMABLE, pk=slot.pk).update(
        state=Slot.State.LEASED,
        labeler=assignment.labeler,
        lease_token=assignment.lease_token,
        lease_until=Now() + timedelta(seconds=pool.lease_seconds),
    )
    if taken and assignment.slot_id != slot.pk:
        assignment.slot = slot
        assignment.save(update_fields=["slot"])
    return taken == 1


def _holder(assignment: Assignment) -> dict[str, object]:
    return {"labeler": assignment.labeler_id, "lease_token": assignment.lease_token}


def _shuffled(count: int) -> list[int]:
    order = list(range(count))
    secrets.SystemRandom().shuffle(order)
    return order
