"""Writing demonstrations: a prompt from the moment it is handed out to the answer for it."""

from __future__ import annotations

import uuid

from django.db import transaction
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from labeling import lifecycle, selectors
from labeling.errors import (
    AssignmentClosed,
    InvalidInput,
    NotFound,
    PoolClosed,
    RevisionClosed,
    SubmissionConflict,
)
from labeling.execution import LineError, checked_text, text_digest
from labeling.models import Demonstration, FormerText, Pool, User, Writing
from labeling.services.validation import check_skip_reason


@transaction.atomic
def next_writing(labeler: User, *, pool: Pool | None = None) -> Writing | None:
    """The labeler's prompt in hand, else a new one, else None.

    Every prompt of an open pool takes a demonstration from every labeler, unless the pool's
    settings say otherwise; those with the fewest come first.

    Raises PoolClosed where ``pool`` takes no demonstrations; NotQualified, WorkPaused.
    """
    _lock(labeler)
    if pool is not None and not pool.takes_demonstrations:
        raise PoolClosed(_("This pool takes no demonstrations."))
    pools = selectors.pools_to_work_in(labeler, pool).filter(takes_demonstrations=True)
    in_hand = selectors.open_writings(labeler, pools).first()
    if in_hand is not None:
        return in_hand
    prompt = selectors.prompts_to_demonstrate(labeler, pools).first()
    if prompt is None:
        return None
    guidelines = prompt.pool.guideline_versions.order_by("-number").first()
    return Writing.objects.create(prompt=prompt, labeler=labeler, guideline_version=guidelines)


@transaction.atomic
def save_writing_draft(labeler: User, handle: uuid.UUID, *, text: str) -> None:
    """Keep unfinished text; a draft may be empty. Raises NotFound, AssignmentClosed, InvalidInput.

    The labeler's row is locked: a draft that comes after the submission is refused.
    """
    _lock(labeler)
    writing = selectors.writing_of(labeler, handle)
    if writing.state != Writing.State.OPEN:
        raise _closed(writing)
    if text.strip():
        _check_text(text)
    writing.draft = text
    writing.save(update_fields=["draft"])


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
    writing = selectors.writing_of(labeler, handle)
    stored = _stored_before(writing, submission_id, text)
    if stored is not None:
        return stored
    _check_text(text)
    if not lifecycle.close_writing(writing, Writing.State.SUBMITTED):
        raise _closed(writing)
    return Demonstration.objects.create(
        prompt_id=writing.prompt_id,
        text=text,
        digest=text_digest(text),
        author=labeler,
        submission_id=submission_id,
    )


@transaction.atomic
def revise_demonstration(
    labeler: User, handle: uuid.UUID, *, submission_id: uuid.UUID, text: str
) -> Demonstration:
    """Put ``text`` in the place of one of the labeler's last demonstrations; what it said is kept.

    The same submission again gets what is stored. The same text again changes nothing.

    Raises:
        NotFound, SubmissionConflict, RevisionClosed, InvalidInput.
    """
    _lock(labeler)
    writing = selectors.writing_of(labeler, handle)
    repeated = _stored_before(writing, submission_id, text)
    if repeated is not None:
        return repeated
    stored = selectors.demonstration_of(writing)
    if stored is None:
        raise NotFound(_("You have written no demonstration for this prompt."))
    if writing not in selectors.revisable_writings(labeler):
        raise RevisionClosed(_("This demonstration can no longer be changed."))
    _check_text(text)
    if text != stored.text:
        _replace(stored, submission_id, text)
    return stored


def _replace(stored: Demonstration, submission_id: uuid.UUID, text: str) -> None:
    FormerText.objects.create(
        demonstration=stored,
        number=stored.former_texts.count() + 1,
        text=stored.text,
        submission_id=stored.submission_id,
    )
    stored.text, stored.digest = text, text_digest(text)
    stored.submission_id, stored.revised_at = submission_id, Now()
    stored.save(update_fields=["text", "digest", "submission_id", "revised_at"])


@transaction.atomic
def skip_writing(labeler: User, handle: uuid.UUID, *, reason: str) -> None:
    """Give the prompt back; the labeler will not get it again.

    Raises NotFound, AssignmentClosed, InvalidInput.
    """
    _lock(labeler)
    writing = selectors.writing_of(labeler, handle)
    check_skip_reason(reason)
    if not lifecycle.close_writing(writing, Writing.State.SKIPPED, skip_reason=reason):
        raise _closed(writing)


def _closed(writing: Writing) -> AssignmentClosed:
    return AssignmentClosed(
        _("This prompt was already written for or skipped."), state=writing.state
    )


def _lock(labeler: User) -> None:
    """Of two requests of one labeler, the second finds what the first did."""
    User.objects.select_for_update(no_key=True).get(pk=labeler.pk)


def _stored_before(writing: Writing, submission_id: uuid.UUID, text: str) -> Demonstration | None:
    """What this very submission stored, be it revised since. Raises SubmissionConflict."""
    labeler = writing.labeler_id
    stored = Demonstration.objects.filter(author=labeler, submission_id=submission_id).first()
    said = stored.text if stored else ""
    if stored is None:
        former = (
            FormerText.objects.filter(demonstration__author=labeler, submission_id=submission_id)
            .select_related("demonstration")
            .first()
        )
        if former is None:
            return None
        stored, said = former.demonstration, former.text
    if (stored.prompt_id, said) != (writing.prompt_id, text):
        raise SubmissionConflict(submission_id=str(submission_id))
    return stored


def _check_text(text: str) -> None:
    try:
        checked_text(text, "text")
    except LineError as error:
        raise InvalidInput(error.message, field="text") from error
