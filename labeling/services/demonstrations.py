"""Writing demonstrations: a prompt from the moment it is handed out to the answer for it."""

from __future__ import annotations

import uuid

from django.db import transaction

from labeling import lifecycle, selectors
from labeling.errors import AssignmentClosed, InvalidInput, NotFound, SubmissionConflict
from labeling.execution import LineError, checked_text, text_digest
from labeling.models import Demonstration, Pool, User, Writing
from labeling.services.validation import check_skip_reason


@transaction.atomic
def next_writing(labeler: User, *, pool: Pool | None = None) -> Writing | None:
    """The labeler's prompt in hand, else a new one, else None.

    Every prompt of an open pool takes a demonstration from every labeler; those with the fewest
    come first.
    """
    _lock(labeler)
    pools = selectors.open_pools()
    if pool is not None:
        pools = pools.filter(pk=pool.pk)
    in_hand = selectors.open_writings(labeler, pools).first()
    if in_hand is not None:
        return in_hand
    prompt = selectors.prompts_to_demonstrate(labeler, pools).first()
    if prompt is None:
        return None
    guidelines = prompt.pool.guideline_versions.order_by("-number").first()
    return Writing.objects.create(prompt=prompt, labeler=labeler, guideline_version=guidelines)


@transaction.atomic
def submit_demonstration(
    labeler: User, handle: uuid.UUID, *, submission_id: uuid.UUID, text: str
) -> Demonstration:
    """Store ``text`` byte for byte as the labeler's demonstration for the prompt of ``handle``.

    The same submission again gets what is stored; another body under its id is refused. A pool
    that was closed meanwhile still takes what was begun.

    Raises:
        NotFound, SubmissionConflict, AssignmentClosed, InvalidInput.
    """
    # Locked first: of two requests with one submission_id, the second finds what the first stored.
    _lock(labeler)
    writing = _writing_of(labeler, handle)
    stored = labeler.demonstrations.filter(submission_id=submission_id).first()
    if stored is not None:
        if (stored.prompt_id, stored.text) != (writing.prompt_id, text):
            raise SubmissionConflict(submission_id=str(submission_id))
        return stored
    _check_text(text)
    if not lifecycle.close_writing(writing, Writing.State.SUBMITTED):
        raise AssignmentClosed(state=writing.state)
    return Demonstration.objects.create(
        prompt_id=writing.prompt_id,
        text=text,
        digest=text_digest(text),
        author=labeler,
        submission_id=submission_id,
    )


@transaction.atomic
def skip_writing(labeler: User, handle: uuid.UUID, *, reason: str) -> None:
    """Give the prompt back; the labeler will not get it again.

    Raises NotFound, AssignmentClosed, InvalidInput.
    """
    _lock(labeler)
    writing = _writing_of(labeler, handle)
    check_skip_reason(reason)
    if not lifecycle.close_writing(writing, Writing.State.SKIPPED, skip_reason=reason):
        raise AssignmentClosed(state=writing.state)


def _lock(labeler: User) -> None:
    """Of two requests of one labeler, the second finds what the first did."""
    User.objects.select_for_update(no_key=True).get(pk=labeler.pk)


def _writing_of(labeler: User, handle: uuid.UUID) -> Writing:
    found = Writing.objects.filter(pk=handle, labeler=labeler).first()
    if found is None:
        raise NotFound("There is no such prompt in your hands: ask for the next one.")
    return found


def _check_text(text: str) -> None:
    try:
        checked_text(text, "text")
    except LineError as error:
        raise InvalidInput(error.message, field="text") from error
