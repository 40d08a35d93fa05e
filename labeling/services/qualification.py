"""The way into a pool: training with feedback, then a test; and an admin's word on it.

Every write locks the labeler's own row first: of two tabs the second finds what the first did.
"""

from __future__ import annotations

import secrets
import uuid
from collections import Counter
from collections.abc import Mapping

from django.db import transaction

from labeling import lifecycle, marking, ordering, selectors
from labeling.errors import (
    AssignmentClosed,
    InvalidInput,
    PoolClosed,
    QualificationClosed,
    SubmissionConflict,
)
from labeling.models import Pool, Qualification, QualificationItem, Ranking, Trial, User
from labeling.services.locks import lock_labeler

State = Qualification.State
Kind = QualificationItem.Kind
MAX_NOTE_CHARACTERS = 500
# A mean of halves and thirds must not miss the threshold by the last bit of a float.
ROUNDING = 1e-9


@transaction.atomic
def next_trial(labeler: User, pool: Pool) -> Trial | None:
    """The item in hand, else the next of the training or of the test that was begun, else None.

    Raises PoolClosed.
    """
    qualification = _locked(labeler, pool)
    if qualification.state == State.TESTING:
        return _open_trial(qualification, qualification.attempt)
    if qualification.state != State.TRAINING:
        return None
    in_hand = _open_trial(qualification, attempt=0)
    item = selectors.items_to_train_on(pool, qualification).first()
    if in_hand is not None or item is None:
        return in_hand
    position = qualification.trials.filter(attempt=0).count()
    return Trial.objects.create(**_trial(qualification, item, attempt=0, position=position))


@transaction.atomic
def begin_test(labeler: User, pool: Pool) -> None:
    """Fix the items of the next attempt and their order. One that is under way is gone on with.

    Raises PoolClosed; QualificationClosed: the training is not done, or no attempt is left.
    """
    qualification = _locked(labeler, pool)
    if qualification.state == State.TESTING:
        return
    if not selectors.qualification_progress(labeler, pool).may_begin_test:
        raise QualificationClosed
    attempt = qualification.attempt + 1
    Trial.objects.bulk_create(
        Trial(**_trial(qualification, item, attempt=attempt, position=position))
        for position, item in enumerate(_test_items(qualification))
    )
    lifecycle.set_standing(qualification, State.TESTING, attempt=attempt)


def _test_items(qualification: Qualification) -> list[QualificationItem]:
    """So many as the pool asks for; those that the labeler has met least, in random order."""
    pool = qualification.pool
    met = Counter(qualification.trials.values_list("item", flat=True))
    items = list(selectors.items_of(pool, Kind.TEST))
    random = secrets.SystemRandom()
    random.shuffle(items)
    chosen = sorted(items, key=lambda item: met[item.pk])[: selectors.test_size(pool)]
    random.shuffle(chosen)
    return chosen


@transaction.atomic
def submit_trial(
    labeler: User, trial_id: uuid.UUID, *, submission_id: uuid.UUID, ranks: Mapping[str, object]
) -> Trial:
    """Store a ranking of an item; with the last one of a test, pass or fail it.

    The same submission again gets what is stored; another body under its id is refused.

    Raises:
        NotFound, SubmissionConflict, AssignmentClosed, UnknownAlias, MissingCompletion,
        RankOutOfRange.
    """
    lock_labeler(labeler)
    trial = selectors.trial_of(labeler, trial_id)
    stored = trial.qualification.trials.filter(submission_id=submission_id).first()
    if stored is not None:
        if stored.pk != trial.pk or stored.ranks != ranks:
            raise SubmissionConflict(submission_id=str(submission_id))
        return stored
    checked = ordering.check_ranks(ranks, trial.number_of_alias)
    mark = marking.mark(trial.item.rank_of_number, selectors.given_ranks(trial, checked))
    if not lifecycle.close_trial(
        trial, ranks=checked, agreement=mark.agreement, submission=submission_id
    ):
        raise AssignmentClosed(state=trial.state)
    trial.refresh_from_db(fields=["state", "ranks", "agreement", "finished_at"])
    _go_on(trial)
    return trial


def _go_on(trial: Trial) -> None:
    qualification = trial.qualification
    pool = qualification.pool
    if trial.attempt == 0:
        trained = not selectors.items_to_train_on(pool, qualification).exists()
        if trained and not selectors.test_size(pool) and qualification.state == State.TRAINING:
            lifecycle.set_standing(qualification, State.PASSED)
        return
    of_attempt = qualification.trials.filter(attempt=trial.attempt)
    if (
        qualification.state != State.TESTING
        or qualification.attempt != trial.attempt
        or of_attempt.filter(state=Trial.State.OPEN).exists()
    ):
        return
    score = marking.mean([trial.agreement or 0.0 for trial in of_attempt]) or 0.0
    passed = score + ROUNDING >= pool.qualification_threshold
    lifecycle.set_standing(qualification, State.PASSED if passed else State.FAILED, score=score)


# --- an admin's word ------------------------------------------------------------------------------


def grant_qualification(admin: User, labeler: User, pool: Pool, *, note: str = "") -> None:
    """Let the labeler in, whatever came before."""
    _decide(admin, labeler, pool, State.GRANTED, note)


def revoke_qualification(admin: User, labeler: User, pool: Pool, *, note: str = "") -> None:
    """Keep the labeler out. What was handed out can still be submitted."""
    _decide(admin, labeler, pool, State.REVOKED, note)


@transaction.atomic
def allow_another_attempt(admin: User, labeler: User, pool: Pool, *, note: str = "") -> None:
    """Back to the test, with one attempt more than were used; a pause or removal ends with it."""
    _check_note(note)
    qualification = _locked(labeler, pool, any_pool=True)
    extra = max(qualification.attempt + 1 - pool.qualification_attempts, 0)
    decision = {"extra_attempts": extra, "decided_by": admin, "note": note}
    lifecycle.set_standing(qualification, State.TRAINING, **decision)


@transaction.atomic
def _decide(admin: User, labeler: User, pool: Pool, state: Qualification.State, note: str) -> None:
    _check_note(note)
    qualification = _locked(labeler, pool, any_pool=True)
    lifecycle.set_standing(qualification, state, decided_by=admin, note=note)


def pause_if_controls_say_so(ranking: Ranking) -> None:
    """Pause the labeler in the pool, where the pool wants that of those below its threshold.

    Call it inside the transaction that stored the ranking, the labeler's row locked.
    """
    pool = ranking.task.prompt.pool
    if ranking.status != Ranking.Status.CONTROL or not pool.control_pauses:
        return
    if not any(f.is_low for f in selectors.control_figures(pool=pool, labeler=ranking.labeler)):
        return
    qualification, _ = Qualification.objects.get_or_create(pool=pool, labeler=ranking.labeler)
    if qualification.state not in selectors.KEPT_OUT:
        lifecycle.set_standing(qualification, State.PAUSED)


def _locked(labeler: User, pool: Pool, *, any_pool: bool = False) -> Qualification:
    lock_labeler(labeler)
    if not pool.is_open and not any_pool:
        raise PoolClosed
    return Qualification.objects.get_or_create(pool=pool, labeler=labeler)[0]


def _open_trial(qualification: Qualification, attempt: int) -> Trial | None:
    of_attempt = qualification.trials.filter(attempt=attempt, state=Trial.State.OPEN)
    return of_attempt.order_by("position").first()


def _trial(
    qualification: Qualification, item: QualificationItem, *, attempt: int, position: int
) -> dict[str, object]:
    return {
        "qualification": qualification,
        "item": item,
        "attempt": attempt,
        "position": position,
        "shown_order": lifecycle.shuffled(len(item.completions), secrets.SystemRandom()),
    }


def _check_note(note: str) -> None:
    if len(note) > MAX_NOTE_CHARACTERS:
        raise InvalidInput(f"A note may have {MAX_NOTE_CHARACTERS} characters.", field="note")
