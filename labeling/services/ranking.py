"""A task from its lease to its ranking: what a labeler may do with an assignment."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping
from typing import Any, NamedTuple

from django.db import transaction

from labeling import lifecycle, ordering, selectors
from labeling.errors import (
    AssignmentClosed,
    ForeignLease,
    InvalidInput,
    LeaseExpired,
    NotFound,
    SubmissionConflict,
)
from labeling.models import Assignment, Comparison, Pool, RankedItem, Ranking, User
from labeling.services.ahead import mark_shown
from labeling.services.qualification import pause_if_controls_say_so
from labeling.services.validation import check_skip_reason

MAX_NOTE_CHARACTERS = 10_000
MAX_DRAFT_CHARACTERS = 100_000


class Submitted(NamedTuple):
    """The answer to a submission; the same submission again gets the same answer."""

    ranking: int
    comparisons: int
    status: str


@transaction.atomic
def lease_next(labeler: User, *, pool: Pool | None = None) -> Assignment | None:
    """The labeler's task in hand, else one whose lease had ended, else a new one, else None.

    The labeler's own row is locked, so that two tabs asking at once get the same task.
    """
    # NO KEY: what the labeler submits meanwhile refers to this row and must not wait for it.
    User.objects.select_for_update(no_key=True).get(pk=labeler.pk)
    pools = selectors.pools_to_work_in(labeler, pool)
    # Assignment before slot, as in every other transaction: the other order is a deadlock.
    for assignment in selectors.open_assignments(labeler, pools).select_for_update(of=("self",)):
        if lifecycle.renew_lease(assignment):
            mark_shown(assignment)
            return assignment
    leased = lifecycle.lease_new_task(labeler, pools)
    if leased is not None:
        mark_shown(leased)
    return leased


def submit_ranking(
    labeler: User,
    assignment_id: uuid.UUID,
    *,
    lease_token: uuid.UUID,
    submission_id: uuid.UUID,
    ranks: Mapping[str, object],
    ratings: Mapping[str, object] | None = None,
    flags: Mapping[str, object] | None = None,
    note: str = "",
) -> Submitted:
    """Store a ranking with its items and comparisons, and finish the slot, in one transaction.

    1. The same submission again gets its stored answer; another body under its id is refused.
    2. The token must be the assignment's, the assignment open, the ranks exact.
    3. On a live lease the ranking counts. When the lease was lost and the task has no place left,
       it is stored as late. When it ended but a place is left, it is kept as the draft and
       refused: renewing the lease and submitting again makes it count.

    Raises:
        NotFound, SubmissionConflict, ForeignLease, AssignmentClosed, LeaseExpired, InvalidInput,
        InvalidRubric, UnknownAlias, MissingCompletion, RankOutOfRange.
    """
    body = {"ranks": ranks, "ratings": ratings or {}, "flags": flags or {}, "note": note}
    try:
        with transaction.atomic():
            return _submit(labeler, assignment_id, lease_token, submission_id, body)
    except LeaseExpired:
        _keep_draft(labeler, assignment_id, lease_token, body)
        raise


def _submit(
    labeler: User,
    assignment_id: uuid.UUID,
    lease_token: uuid.UUID,
    submission_id: uuid.UUID,
    body: dict[str, Any],
) -> Submitted:
    # Locked first: of two requests with one submission_id, the second finds what the first stored,
    # be it for another assignment.
    User.objects.select_for_update(no_key=True).get(pk=labeler.pk)
    assignment = _locked_assignment(labeler, assignment_id)
    digest = body_digest({"assignment": str(assignment.pk), **body})
    stored = Ranking.objects.filter(labeler=labeler, submission_id=submission_id).first()
    if stored is not None:
        if stored.body_digest != digest:
            raise SubmissionConflict(submission_id=str(submission_id))
        return answer_of(stored)
    _check_open(assignment, lease_token)
    items = checked_items(assignment, body)
    status = _finish(assignment)
    ranking = Ranking.objects.create(
        assignment=assignment,
        task=assignment.task,
        labeler=labeler,
        status=status,
        submission_id=submission_id,
        body_digest=digest,
        note=body["note"],
    )
    store_items(ranking, items)
    pause_if_controls_say_so(ranking)
    return answer_of(ranking)


def _finish(assignment: Assignment) -> Ranking.Status:
    if lifecycle.complete_slot(assignment):
        lifecycle.close_assignment(assignment, Assignment.State.SUBMITTED)
        is_control = assignment.slot.is_control
        return Ranking.Status.CONTROL if is_control else Ranking.Status.COUNTED
    if lifecycle.has_claimable_slot(assignment):
        raise LeaseExpired
    lifecycle.close_assignment(assignment, Assignment.State.LATE)
    return Ranking.Status.LATE


def store_items(ranking: Ranking, items: list[RankedItem]) -> None:
    for item in items:
        item.ranking = ranking
    RankedItem.objects.bulk_create(items)
    pairs = ordering.comparisons({item.completion_id: item.rank for item in items})
    Comparison.objects.bulk_create(
        Comparison(
            ranking=ranking,
            a_id=pair.a,
            b_id=pair.b,
            preferred=pair.preferred,
            rank_gap=pair.rank_gap,
        )
        for pair in pairs
    )


def answer_of(ranking: Ranking) -> Submitted:
    return Submitted(ranking.pk, ranking.comparisons.count(), ranking.told_status)


def save_draft(
    labeler: User, assignment_id: uuid.UUID, *, lease_token: uuid.UUID, draft: Mapping[str, Any]
) -> None:
    """Keep unfinished work. It needs the token but no live lease: drafts outlive leases."""
    if len(json.dumps(draft, ensure_ascii=False)) > MAX_DRAFT_CHARACTERS:
        raise InvalidInput(f"a draft may have {MAX_DRAFT_CHARACTERS} characters", field="draft")
    _keep_draft(labeler, assignment_id, lease_token, draft)


@transaction.atomic
def _keep_draft(
    labeler: User, assignment_id: uuid.UUID, lease_token: uuid.UUID, draft: Mapping[str, Any]
) -> None:
    assignment = _locked_assignment(labeler, assignment_id)
    _check_open(assignment, lease_token)
    if _is_older(draft, assignment.draft):
        return
    assignment.draft = dict(draft)
    assignment.save(update_fields=["draft"])


def _is_older(draft: Mapping[str, Any], stored: Mapping[str, Any] | None) -> bool:
    """Whether a copy that waited for a connection comes after work that is newer.

    ``at`` is the moment of the last change, in milliseconds of the labeler's own clock.
    """
    at, before = draft.get("at"), (stored or {}).get("at")
    return isinstance(at, int | float) and isinstance(before, int | float) and at < before


@transaction.atomic
def skip_assignment(
    labeler: User, assignment_id: uuid.UUID, *, lease_token: uuid.UUID, reason: str
) -> None:
    """Give the task back; the labeler will not get it again."""
    assignment = _locked_assignment(labeler, assignment_id)
    _check_open(assignment, lease_token)
    check_skip_reason(reason)
    lifecycle.release_slot(assignment)
    lifecycle.close_assignment(assignment, Assignment.State.SKIPPED, skip_reason=reason)


@transaction.atomic
def extend_lease(labeler: User, assignment_id: uuid.UUID, *, lease_token: uuid.UUID) -> int:
    """Seconds that the lease now runs. An ended lease is taken anew while the task has a place.

    Raises LeaseExpired when it has none: what is submitted then is stored as late.
    """
    assignment = _locked_assignment(labeler, assignment_id)
    _check_open(assignment, lease_token)
    mark_shown(assignment)
    if not lifecycle.renew_lease(assignment):
        raise LeaseExpired("The lease has ended and the task was given to somebody else.")
    return assignment.task.prompt.pool.lease_seconds


def _locked_assignment(labeler: User, assignment_id: uuid.UUID) -> Assignment:
    found = (
        Assignment.objects.select_for_update(of=("self",))
        .select_related("task__prompt__pool", "labeler", "slot", "rubric_version")
        .filter(pk=assignment_id, labeler=labeler)
        .first()
    )
    if found is None:
        raise NotFound("There is no such assignment of yours.")
    return found


def _check_open(assignment: Assignment, lease_token: uuid.UUID) -> None:
    if lease_token != assignment.lease_token:
        raise ForeignLease
    if assignment.state != Assignment.State.OPEN:
        raise AssignmentClosed(state=assignment.state)


def _check_note(note: object) -> None:
    if not isinstance(note, str) or len(note) > MAX_NOTE_CHARACTERS:
        raise InvalidInput(
            f"note must be a text of at most {MAX_NOTE_CHARACTERS} characters", field="note"
        )


def checked_items(assignment: Assignment, body: Mapping[str, Any]) -> list[RankedItem]:
    """The items that ``body`` stands for, not yet stored. Raises as ``submit_ranking`` says."""
    _check_note(body["note"])
    number_of = assignment.number_of_alias
    rubric = assignment.rubric
    quality = rubric["quality"]
    known_flags = {flag["name"] for flag in rubric["flags"]}
    ranks = ordering.check_ranks(body["ranks"], number_of)
    ratings = ordering.check_ratings(
        body["ratings"], number_of, low=quality["low"], high=quality["high"]
    )
    flags = ordering.check_flags(body["flags"], number_of, known=known_flags)
    completion_of = dict(assignment.task.completions.values_list("number", "id"))
    return [
        RankedItem(
            completion_id=completion_of[number],
            rank=ranks[alias],
            quality=ratings.get(alias),
            flags=flags.get(alias, []),
        )
        for alias, number in number_of.items()
    ]


def body_digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
