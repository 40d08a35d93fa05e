"""The only writer of states: slots and assignments move by guarded UPDATEs whose row count is read.

Times are the database's, so that web and worker machines need not agree on a clock.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Sequence
from datetime import timedelta
from random import Random
from typing import Any

from django.db.models import Max, Q, QuerySet
from django.db.models.functions import Now

from labeling import selectors
from labeling.models import (
    Assignment,
    Completion,
    ControlTask,
    Pool,
    Prompt,
    Proposal,
    Qualification,
    Round,
    Slot,
    Task,
    Trial,
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
    that. Where the pool mixes in control tasks, one of them may come in the place of that slot.
    """
    candidates = (
        _new_to(labeler, Slot.objects.filter(pool__in=pools, is_control=False))
        .order_by("number", "id")
        .select_for_update(skip_locked=True, of=("self",))
        .select_related("task__prompt__pool")
    )
    slot = (
        candidates.filter(state=Slot.State.FREE).first() or candidates.filter(LEASE_ENDED).first()
    )
    if slot is None:
        return None
    slot = _control_instead(labeler, slot) or slot
    pool = slot.task.prompt.pool
    assignment = Assignment(
        task=slot.task,
        labeler=labeler,
        slot=slot,
        lease_token=uuid.uuid4(),
        shown_order=shuffled(slot.task.completion_count, dice(labeler, slot.task, "order")),
        guideline_version=pool.guideline_versions.order_by("-number").first(),
        rubric_version=pool.rubric_versions.order_by("-number").first(),
    )
    assignment.save(force_insert=True)
    return assignment if _take(slot, assignment, pool) else None


def _new_to(labeler: User, slots: QuerySet[Slot]) -> QuerySet[Slot]:
    """Those on tasks that the labeler never had, and did not opt out of."""
    return selectors.fit_for(labeler, slots.exclude(task__assignments__labeler=labeler))


def _control_instead(labeler: User, slot: Slot) -> Slot | None:
    """With the pool's probability a control slot, made for this labeler beyond the overlap.

    Controls come only in the place of other work, and the draw is the server's: neither their
    number nor their moment tells a labeler which they are.
    """
    share = slot.task.prompt.pool.control_share
    if not share:
        return None
    # After a control the same slot is found again; the count makes that another draw.
    given = Assignment.objects.filter(labeler=labeler, slot__pool=slot.pool_id)
    draw = dice(labeler, slot.task, f"control {given.filter(slot__is_control=True).count()}")
    if draw.random() >= share:
        return None
    # Through the tasks' first slots, so that what narrows slots narrows controls too.
    controls = _new_to(labeler, Slot.objects.filter(pool=slot.pool_id, number=0)).filter(
        task__control__is_active=True
    )
    others = controls.exclude(task=slot.task_id).order_by("task")
    tasks = list(others.values_list("task", flat=True))
    return _control_slot(draw.choice(tasks)) if tasks else None


def _control_slot(task_id: int) -> Slot:
    # Locked, so that two labelers at once make two slots. Who holds it waits for nothing more.
    ControlTask.objects.select_for_update(no_key=True).get(task=task_id)
    task = Task.objects.select_related("prompt__pool").get(pk=task_id)
    last = task.slots.aggregate(last=Max("number"))["last"]
    return Slot.objects.create(task=task, pool=task.prompt.pool, number=last + 1, is_control=True)


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
    free = _places(assignment).order_by("number").first()
    slot = own or free
    return slot is not None and _take(slot, assignment, pool)


def complete_slot(assignment: Assignment) -> bool:
    """Mark the slot done if the assignment holds it on a live lease."""
    held = Slot.objects.filter(LEASE_LIVE, pk=assignment.slot_id, **_holder(assignment))
    return held.update(state=Slot.State.DONE, lease_until=None) == 1


def has_claimable_slot(assignment: Assignment) -> bool:
    return _places(assignment).exists()


def _places(assignment: Assignment) -> QuerySet[Slot]:
    """Where the assignment may take a lease: on any place of its task; a control slot is its own,
    and nobody else's.
    """
    if assignment.slot.is_control:
        return Slot.objects.filter(CLAIMABLE, pk=assignment.slot_id)
    return Slot.objects.filter(CLAIMABLE, task=assignment.task_id, is_control=False)


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


def close_proposal(
    proposal: Proposal,
    state: Proposal.State,
    *,
    reviewer: User,
    prompt: Prompt | None = None,
    reason: str = "",
) -> bool:
    """Move a waiting proposal to ``state``; False when it did not wait any more."""
    return bool(
        Proposal.objects.filter(pk=proposal.pk, state=Proposal.State.PROPOSED).update(
            state=state, reviewer=reviewer, prompt=prompt, reason=reason, reviewed_at=Now()
        )
    )


def close_trial(
    trial: Trial, *, ranks: dict[str, int], agreement: float, submission: uuid.UUID
) -> bool:
    """Store what was ranked and end the trial; False when it was not open any more."""
    return bool(
        Trial.objects.filter(pk=trial.pk, state=Trial.State.OPEN).update(
            state=Trial.State.SUBMITTED,
            ranks=ranks,
            agreement=agreement,
            submission_id=submission,
            finished_at=Now(),
        )
    )


def set_standing(
    qualification: Qualification, state: Qualification.State, **decision: object
) -> None:
    """Move a labeler's standing in a pool. ``decision``: further fields that change with it."""
    under_way = (Qualification.State.TRAINING, Qualification.State.TESTING)
    now = None if state in under_way else Now()
    kept: dict[str, Any] = {"decided_by": None, "note": ""}
    changes = {**kept, "state": state, "decided_at": now, **decision}
    Qualification.objects.filter(pk=qualification.pk).update(**changes)
    qualification.refresh_from_db()


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


def shuffled(count: int, draw: Random) -> list[int]:
    """The numbers of ``count`` completions in the order that ``draw`` gives them."""
    order = list(range(count))
    draw.shuffle(order)
    return order


def dice(labeler: User, task: Task, purpose: str) -> Random:
    """What is drawn with when a task is handed out: for people so that nobody can foresee it.

    For a simulated labeler it follows from its name and from what is asked of it, so that the same
    labelers are shown the same in every installation. Keys of rows would differ there.
    """
    if not labeler.is_simulated:
        return secrets.SystemRandom()
    return Random(repr((labeler.username, task.prompt.digest, task.round_id, purpose)))
