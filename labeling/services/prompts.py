"""Prompts that labelers write: proposed, then accepted into the pool or rejected with a reason."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from labeling import lifecycle
from labeling.errors import (
    DuplicatePrompt,
    InvalidInput,
    NotFound,
    OwnProposal,
    PoolClosed,
    ProposalClosed,
    SubmissionConflict,
)
from labeling.execution import LineError, checked_prompt, import_prompts, text_digest
from labeling.models import USE_CASES, Application, Pool, Prompt, Proposal, User
from labeling.services.conversations import check_turns, checked_few_shot, few_shot_messages

WRITTEN = "written"
MAX_REASON_CHARACTERS = 1_000
MAX_APPLICATION_CHARACTERS = 10_000
Messages = Sequence[Mapping[str, str]]


@transaction.atomic
def propose_prompt(
    author: User,
    *,
    pool: Pool,
    submission_id: uuid.UUID,
    kind: str,
    use_case: str,
    messages: Messages = (),
    few_shot: Mapping[str, Any] | None = None,
    application: uuid.UUID | None = None,
) -> Proposal:
    """Store a prompt for review: a few-shot one from its parts, the others from their turns.

    The same submission again gets what is stored; another body under its id is refused. The text
    is kept byte for byte.

    Raises:
        SubmissionConflict, PoolClosed, InvalidInput, NotFound (the application), DuplicatePrompt.
    """
    # Locked first: of two requests with one submission_id, the second finds what the first stored.
    User.objects.select_for_update(no_key=True).get(pk=author.pk)
    parts = checked_few_shot(few_shot) if kind == Proposal.Kind.FEW_SHOT else None
    turns = few_shot_messages(parts) if parts else [dict(turn) for turn in messages]
    body = {
        "pool_id": pool.pk,
        "kind": kind,
        "use_case": use_case,
        "application_id": application if kind == Proposal.Kind.USER_BASED else None,
        "messages": turns,
        "parts": parts,
    }
    stored = author.proposals.filter(submission_id=submission_id).first()
    if stored is not None:
        if any(getattr(stored, name) != value for name, value in body.items()):
            raise SubmissionConflict(submission_id=str(submission_id))
        return stored
    _check_settings(pool, kind, use_case, application)
    digest = _checked_digest(turns, use_case, author)
    _refuse_duplicates(author, pool, digest)
    return Proposal.objects.create(
        author=author, submission_id=submission_id, digest=digest, **body
    )


@transaction.atomic
def accept_proposal(
    reviewer: User,
    proposal_id: uuid.UUID,
    *,
    messages: Messages | None = None,
    use_case: str | None = None,
) -> Prompt:
    """Put the prompt into its pool, as it is or as the reviewer edited it.

    It goes the way of every import: the same checks, the same comparison with what is there.

    Raises:
        NotFound, ProposalClosed, OwnProposal, InvalidInput, DuplicatePrompt.
    """
    proposal = _locked_proposal(reviewer, proposal_id)
    turns = [dict(turn) for turn in (proposal.messages if messages is None else messages)]
    use_case = proposal.use_case if use_case is None else use_case
    _check_use_case(use_case)
    digest = _checked_digest(turns, use_case, proposal.author)
    line = json.dumps(_import_row(turns, use_case, proposal.author)).encode()
    report = import_prompts(proposal.pool, [line])
    if report.rejected:
        raise InvalidInput(report.errors[0]["message"], field="messages")
    if report.duplicates:
        raise DuplicatePrompt(
            _("The pool “%(pool)s” has this very prompt already.") % {"pool": proposal.pool},
            pool=proposal.pool.name,
        )
    prompt = Prompt.objects.get(pool=proposal.pool, digest=digest)
    _close(proposal, Proposal.State.ACCEPTED, reviewer=reviewer, prompt=prompt)
    return prompt


@transaction.atomic
def reject_proposal(reviewer: User, proposal_id: uuid.UUID, *, reason: str) -> None:
    """Keep the prompt out of the pool; its author is told why.

    Raises NotFound, ProposalClosed, OwnProposal, InvalidInput.
    """
    proposal = _locked_proposal(reviewer, proposal_id)
    if not reason.strip() or len(reason) > MAX_REASON_CHARACTERS:
        raise InvalidInput(
            _("Give a reason of 1 to %(limit)s characters: the author reads it.")
            % {"limit": MAX_REASON_CHARACTERS},
            field="reason",
        )
    _close(proposal, Proposal.State.REJECTED, reviewer=reviewer, reason=reason)


@transaction.atomic
def add_applications(pool: Pool, texts: Sequence[str]) -> list[Application]:
    """Store use cases of a waiting list; those that the pool has are left out.

    Raises InvalidInput.
    """
    Pool.objects.select_for_update(no_key=True).get(pk=pool.pk)
    by_digest = {text_digest(text): text for text in texts}
    for text in texts:
        if not text.strip() or len(text) > MAX_APPLICATION_CHARACTERS:
            raise InvalidInput(
                _("A use case has 1 to %(limit)s characters.")
                % {"limit": MAX_APPLICATION_CHARACTERS},
                field="texts",
            )
    known = set(pool.applications.filter(digest__in=by_digest).values_list("digest", flat=True))
    return Application.objects.bulk_create(
        Application(pool=pool, text=text, digest=digest)
        for digest, text in by_digest.items()
        if digest not in known
    )


def check_takes_prompts(pool: Pool) -> None:
    """Raises PoolClosed."""
    if not (pool.is_open and pool.takes_prompts):
        raise PoolClosed(_("This pool takes no prompts at present."))


def _check_settings(pool: Pool, kind: str, use_case: str, application: uuid.UUID | None) -> None:
    check_takes_prompts(pool)
    if kind not in Proposal.Kind.values:
        raise InvalidInput(_("Choose what kind of prompt it is."), field="kind")
    _check_use_case(use_case)
    if kind == Proposal.Kind.USER_BASED:
        if application is None:
            raise InvalidInput(
                _("A user-based prompt needs the use case it is for."), field="application"
            )
        if not pool.applications.filter(pk=application).exists():
            raise NotFound(_("The pool has no such use case."))


def _check_use_case(use_case: str) -> None:
    if use_case not in dict(USE_CASES):
        raise InvalidInput(_("Choose a use case."), field="use_case")


def _checked_digest(turns: list[dict[str, Any]], use_case: str, author: User) -> str:
    """The digest that the prompt will have in a pool. Raises InvalidInput."""
    check_turns(turns)
    try:
        return checked_prompt(_import_row(turns, use_case, author)).digest
    except LineError as error:
        raise InvalidInput(error.message, field="messages") from error


def _import_row(turns: list[dict[str, Any]], use_case: str, author: User) -> dict[str, Any]:
    return {
        "messages": turns,
        "use_case": use_case,
        "source": WRITTEN,
        "author": author.username,
    }


def _refuse_duplicates(author: User, pool: Pool, digest: str) -> None:
    """Raises DuplicatePrompt, which says where the same prompt is; never whose it is."""
    # One proposal of a pool at a time: two authors could otherwise propose the same at once.
    Pool.objects.select_for_update(no_key=True).get(pk=pool.pk)
    own = author.proposals.filter(pool=pool, digest=digest).first()
    if own is not None:
        raise DuplicatePrompt(_own_duplicate(own), proposal=str(own.pk), pool=pool.name)
    if pool.prompts.filter(digest=digest).exists():
        message = _("The pool “%(pool)s” has this very prompt already.")
    elif pool.proposals.filter(digest=digest, state=Proposal.State.PROPOSED).exists():
        message = _("This very prompt waits for review for the pool “%(pool)s” already.")
    else:
        return
    raise DuplicatePrompt(message % {"pool": pool}, pool=pool.name)


def _own_duplicate(own: Proposal) -> str:
    messages = {
        Proposal.State.PROPOSED: _("You have proposed this very prompt: it waits for review."),
        Proposal.State.ACCEPTED: _("You have proposed this very prompt: it was accepted."),
    }
    rejected = _("You have proposed this very prompt: it was rejected (%(reason)s).")
    known = messages.get(Proposal.State(own.state))
    return known or rejected % {"reason": own.reason}


def _locked_proposal(reviewer: User, proposal_id: uuid.UUID) -> Proposal:
    """Of two reviewers at once, the second finds what the first decided.

    Reviewers do not decide on their own prompts. An admin may: it could import them as well.
    """
    found = (
        Proposal.objects.select_for_update(of=("self",))
        .select_related("pool", "author")
        .filter(pk=proposal_id)
        .first()
    )
    if found is None or not reviewer.is_reviewer:
        raise NotFound(_("There is no such proposal."))
    if found.state != Proposal.State.PROPOSED:
        raise _closed(found)
    if found.author_id == reviewer.pk and not reviewer.is_admin:
        raise OwnProposal(_("Somebody else must review what you have written yourself."))
    return found


def _close(proposal: Proposal, state: Proposal.State, **review: Any) -> None:
    if not lifecycle.close_proposal(proposal, state, **review):
        proposal.refresh_from_db()
        raise _closed(proposal)


def _closed(proposal: Proposal) -> ProposalClosed:
    accepted = proposal.state == Proposal.State.ACCEPTED
    message = _("It was accepted meanwhile.") if accepted else _("It was rejected meanwhile.")
    return ProposalClosed(message, state=proposal.state)
