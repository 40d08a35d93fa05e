"""The task after the one in hand, held ready so that a labeler never waits: at most one."""

from __future__ import annotations

import uuid

from django.db import transaction
from django.db.models.functions import Now

from labeling import lifecycle, selectors
from labeling.errors import ForeignLease
from labeling.models import Assignment, User


@transaction.atomic
def lease_ahead(labeler: User, assignment_id: uuid.UUID) -> Assignment | None:
    """The task that follows this one in its pool, leased to the labeler before its turn.

    Whatever else the labeler has open in the pool comes first, so that a labeler who asks again
    holds the same task, and never more than one beside the one in hand. Its lease is real: the
    place is the labeler's until the lease ends or is given back.

    Raises NotFound for an assignment that is not the labeler's.
    """
    # NO KEY: what the labeler submits meanwhile refers to this row and must not wait for it.
    User.objects.select_for_update(no_key=True).get(pk=labeler.pk)
    current = selectors.assignment_of(labeler, assignment_id)
    pools = selectors.pools_to_work_in(labeler, current.task.prompt.pool)
    pools = selectors.pools_open_to(labeler, pools)
    others = selectors.open_assignments(labeler, pools).exclude(pk=current.pk)
    for assignment in others.select_for_update(of=("self",)):
        if lifecycle.renew_lease(assignment):
            return assignment
    return lifecycle.lease_new_task(labeler, pools)


@transaction.atomic
def release_ahead(labeler: User, assignment_id: uuid.UUID, *, lease_token: uuid.UUID) -> bool:
    """Give back a task that was held ahead, as if it had never been leased; whether it was given.

    One that the labeler has seen, or that holds any work, stays: only a task nobody looked at can
    be forgotten. One that is gone already is no fault, for the page asks while it is being left.
    """
    held = (
        Assignment.objects.select_for_update(of=("self",))
        .filter(pk=assignment_id, labeler=labeler, state=Assignment.State.OPEN)
        .filter(shown_at=None, draft__isnull=True)
        .first()
    )
    if held is None:
        return False
    if held.lease_token != lease_token:
        raise ForeignLease
    slot = held.slot
    lifecycle.release_slot(held)
    held.delete()
    if slot.is_control:
        slot.delete()  # made for this labeler alone, beyond the overlap
    return True


def mark_shown(assignment: Assignment) -> None:
    """Note that the labeler has the task before their eyes: it is no longer held ahead."""
    if assignment.shown_at is None:
        Assignment.objects.filter(pk=assignment.pk, shown_at=None).update(shown_at=Now())
