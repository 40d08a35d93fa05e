"""What a person may do: each write is one transaction that checks before it changes."""

from __future__ import annotations

import hashlib
import json
import secrets
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models.functions import Now

from labeling import lifecycle, ordering, selectors
from labeling.errors import (
    AssignmentClosed,
    ForeignLease,
    InvalidInput,
    LeaseExpired,
    NameTaken,
    NotFound,
    SubmissionConflict,
)
from labeling.execution import ImportReport, import_prompts
from labeling.models import (
    ApiToken,
    Assignment,
    Comparison,
    GuidelineVersion,
    Pool,
    RankedItem,
    Ranking,
    User,
)

__all__ = [
    "ImportReport",
    "Submitted",
    "change_pool",
    "change_user",
    "create_pool",
    "create_user",
    "extend_lease",
    "import_prompts",
    "issue_token",
    "lease_next",
    "revise_guidelines",
    "revoke_token",
    "save_draft",
    "skip_assignment",
    "submit_ranking",
    "temporary_token",
]

TOKEN_PREFIX = "podium_"  # noqa: S105  (a prefix, not a secret)
MAX_NOTE_CHARACTERS = 10_000
MAX_DRAFT_CHARACTERS = 100_000


class Submitted(NamedTuple):
    """The answer to a submission; the same submission again gets the same answer."""

    ranking: int
    comparisons: int
    status: str


# --- people ---------------------------------------------------------------------------------------


def create_user(
    *,
    username: str,
    password: str | None,
    role: str,
    is_simulated: bool = False,
    labeler_group: str = User.LabelerGroup.TRAINING,
) -> User:
    """Raises InvalidInput for an unusable name or role, NameTaken for one in use.

    Without a password the account can only be used through tokens.
    """
    if role not in User.Role.values:
        raise InvalidInput(f"role must be one of {', '.join(User.Role.values)}", field="role")
    user = User(
        username=username,
        role=role,
        is_simulated=is_simulated,
        labeler_group=labeler_group,
        **_flags_of(role),
    )
    user.set_password(password)
    _clean(user)
    user.save(force_insert=True)
    return user


@transaction.atomic
def change_user(user: User, **changes: Any) -> User:
    """Change fields of an account; Django's staff flags follow the role.

    Refused: the last active admin stepping down, and turning a person who has ranked into a program
    or the reverse, which would rewrite where training data came from.

    Raises InvalidInput, NameTaken.
    """
    before = User.objects.select_for_update().get(pk=user.pk)
    for name, value in changes.items():
        setattr(user, name, value)
    flags = _flags_of(user.role)
    for name, value in flags.items():
        setattr(user, name, value)
    if before.is_simulated != user.is_simulated and before.assignments.exists():
        raise InvalidInput(
            "This account has work under its name: what it is cannot change any more.",
            field="is_simulated",
        )
    if before.is_admin and not (user.is_admin and user.is_active) and _is_last_admin(before):
        field = "is_active" if user.is_admin else "role"
        raise InvalidInput("This is the last active admin: make another one first.", field=field)
    _clean(user)
    user.save(update_fields=[*changes, *flags])
    return user


def _flags_of(role: str) -> dict[str, bool]:
    is_admin = role == User.Role.ADMIN
    return {"is_staff": is_admin, "is_superuser": is_admin}


def _is_last_admin(user: User) -> bool:
    # Locked, so that two admins cannot step down at the same moment.
    admins = User.objects.select_for_update().filter(role=User.Role.ADMIN, is_active=True)
    return user.is_active and [admin.pk for admin in admins] == [user.pk]


def issue_token(user: User, *, name: str) -> str:
    """A new bearer token, in the clear for this once; only its hash is stored."""
    plain = TOKEN_PREFIX + secrets.token_urlsafe(32)
    ApiToken.objects.create(user=user, name=name, digest=token_digest(plain))
    return plain


@contextmanager
def temporary_token(user: User, *, name: str) -> Iterator[str]:
    """A token that is revoked when the work is done, or has failed."""
    plain = issue_token(user, name=name)
    try:
        yield plain
    finally:
        revoke_token(ApiToken.objects.get(digest=token_digest(plain)))


def revoke_token(token: ApiToken) -> bool:
    """The token opens nothing from now on; False when it was revoked before."""
    live = ApiToken.objects.filter(pk=token.pk, revoked_at=None)
    return live.update(revoked_at=Now()) == 1


def token_digest(plain: str) -> str:
    # A token is 256 random bits: a fast hash cannot be searched, a slow one would tax each request.
    return hashlib.sha256(plain.encode()).hexdigest()


# --- pools ----------------------------------------------------------------------------------------


@transaction.atomic
def create_pool(*, guidelines: str = "", **settings: Any) -> Pool:
    """Raises InvalidInput with the fields at fault, NameTaken for a name in use."""
    pool = Pool(**settings)
    _clean(pool)
    pool.save(force_insert=True)
    if guidelines:
        revise_guidelines(pool, guidelines)
    return pool


@transaction.atomic
def change_pool(pool: Pool, *, guidelines: str | None = None, **settings: Any) -> Pool:
    """Change settings; they hold for tasks made from now on. Raises InvalidInput, NameTaken."""
    for name, value in settings.items():
        setattr(pool, name, value)
    _clean(pool)
    pool.save(update_fields=list(settings))
    if guidelines is not None:
        revise_guidelines(pool, guidelines)
    return pool


@transaction.atomic
def revise_guidelines(pool: Pool, text: str) -> GuidelineVersion:
    """A new version, unless the text is that of the latest."""
    Pool.objects.select_for_update(no_key=True).get(pk=pool.pk)
    latest = pool.guideline_versions.order_by("-number").first()
    if latest is not None and latest.text == text:
        return latest
    number = latest.number + 1 if latest else 1
    return GuidelineVersion.objects.create(pool=pool, number=number, text=text)


# --- ranking --------------------------------------------------------------------------------------


@transaction.atomic
def lease_next(labeler: User, *, pool: Pool | None = None) -> Assignment | None:
    """The labeler's task in hand, else one whose lease had ended, else a new one, else None.

    The labeler's own row is locked, so that two tabs asking at once get the same task.
    """
    # NO KEY: what the labeler submits meanwhile refers to this row and must not wait for it.
    User.objects.select_for_update(no_key=True).get(pk=labeler.pk)
    pools = selectors.open_pools()
    if pool is not None:
        pools = pools.filter(pk=pool.pk)
    # Assignment before slot, as in every other transaction: the other order is a deadlock.
    for assignment in selectors.open_assignments(labeler, pools).select_for_update(of=("self",)):
        if lifecycle.renew_lease(assignment):
            return assignment
    return lifecycle.lease_new_task(labeler, pools)


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
    digest = _digest({"assignment": str(assignment.pk), **body})
    stored = Ranking.objects.filter(labeler=labeler, submission_id=submission_id).first()
    if stored is not None:
        if stored.body_digest != digest:
            raise SubmissionConflict(submission_id=str(submission_id))
        return _answer(stored)
    _check_open(assignment, lease_token)
    items = _ranked_items(assignment, body)
    _check_note(body["note"])
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
    _store_items(ranking, items)
    return _answer(ranking)


def _finish(assignment: Assignment) -> Ranking.Status:
    if lifecycle.complete_slot(assignment):
        lifecycle.close_assignment(assignment, Assignment.State.SUBMITTED)
        return Ranking.Status.COUNTED
    if lifecycle.has_claimable_slot(assignment):
        raise LeaseExpired
    lifecycle.close_assignment(assignment, Assignment.State.LATE)
    return Ranking.Status.LATE


def _store_items(ranking: Ranking, items: list[RankedItem]) -> None:
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


def _answer(ranking: Ranking) -> Submitted:
    return Submitted(ranking.pk, ranking.comparisons.count(), str(ranking.status))


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
    assignment.draft = dict(draft)
    assignment.save(update_fields=["draft"])


@transaction.atomic
def skip_assignment(
    labeler: User, assignment_id: uuid.UUID, *, lease_token: uuid.UUID, reason: str
) -> None:
    """Give the task back; the labeler will not get it again."""
    assignment = _locked_assignment(labeler, assignment_id)
    _check_open(assignment, lease_token)
    if not reason.strip() or len(reason) > 500:
        raise InvalidInput("a skip needs a reason of 1 to 500 characters", field="reason")
    lifecycle.release_slot(assignment)
    lifecycle.close_assignment(assignment, Assignment.State.SKIPPED, skip_reason=reason)


@transaction.atomic
def extend_lease(labeler: User, assignment_id: uuid.UUID, *, lease_token: uuid.UUID) -> int:
    """Seconds that the lease now runs. An ended lease is taken anew while the task has a place.

    Raises LeaseExpired when it has none: what is submitted then is stored as late.
    """
    assignment = _locked_assignment(labeler, assignment_id)
    _check_open(assignment, lease_token)
    if not lifecycle.renew_lease(assignment):
        raise LeaseExpired("The lease has ended and the task was given to somebody else.")
    return assignment.task.prompt.pool.lease_seconds


def _locked_assignment(labeler: User, assignment_id: uuid.UUID) -> Assignment:
    found = (
        Assignment.objects.select_for_update(of=("self",))
        .select_related("task__prompt__pool", "labeler")
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


def _ranked_items(assignment: Assignment, body: Mapping[str, Any]) -> list[RankedItem]:
    number_of = assignment.number_of_alias
    rubric = assignment.task.prompt.pool.rubric
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


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _clean(instance: User | Pool) -> None:
    try:
        instance.full_clean()
    except ValidationError as error:
        fields = error.message_dict
        name = "username" if isinstance(instance, User) else "name"
        if any(e.code == "unique" for e in error.error_dict.get(name, [])):
            raise NameTaken(field=name) from error
        field, messages = next(iter(fields.items()))
        raise InvalidInput(f"{field}: {messages[0]}", fields=fields) from error
