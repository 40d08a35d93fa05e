"""Who may work in which pool, and how labelers come to it. No expected ranking leaves here before
a labeler has ranked the same in training.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection
from typing import Any, NamedTuple

from django.db.models import Q, QuerySet

from labeling import marking
from labeling.errors import LabelingError, NotFound, NotQualified, WorkPaused
from labeling.models import Pool, Qualification, QualificationItem, Trial, User
from labeling.ordering import ALIASES
from labeling.selectors.pools import open_pools

State = Qualification.State
LET_IN = (State.PASSED, State.GRANTED)
KEPT_OUT = (State.PAUSED, State.REVOKED)


class Progress(NamedTuple):
    """A labeler's way into one pool, in numbers."""

    state: str
    is_let_in: bool
    training: int
    training_done: int
    tests: int
    tests_done: int
    attempts_left: int
    score: float | None
    threshold: float
    note: str

    @property
    def may_begin_test(self) -> bool:
        ready = self.state in (State.TRAINING, State.FAILED)
        trained = self.training_done >= self.training
        return ready and trained and self.tests > 0 and self.attempts_left > 0


def is_exempt(labeler: User) -> bool:
    """Programs are, and who can read the known answers. An admin still pauses or removes them."""
    return labeler.is_simulated or labeler.is_reviewer


def pools_open_to(labeler: User, pools: QuerySet[Pool]) -> QuerySet[Pool]:
    """Those of ``pools`` that the labeler may work in."""
    own = Qualification.objects.filter(labeler=labeler)
    pools = pools.exclude(pk__in=own.filter(state__in=KEPT_OUT).values("pool"))
    if is_exempt(labeler):
        return pools
    asking = QualificationItem.objects.filter(is_active=True).values("pool")
    let_in = own.filter(state__in=LET_IN).values("pool")
    return pools.filter(~Q(pk__in=asking) | Q(pk__in=let_in))


def pools_to_work_in(labeler: User, pool: Pool | None = None) -> QuerySet[Pool]:
    """The open pools, or ``pool`` alone, that the labeler is let into.

    Raises NotQualified, WorkPaused: ``pool`` is open, and so is none to this labeler.
    """
    pools = open_pools()
    if pool is not None:
        pools = pools.filter(pk=pool.pk)
    let_in = pools_open_to(labeler, pools)
    if pools.exists() and not let_in.exists():
        raise _refusal(labeler, pool)
    return let_in


def _refusal(labeler: User, pool: Pool | None) -> LabelingError:
    if pool is None:
        return NotQualified("No pool is open to you yet: qualify for one first.")
    own = Qualification.objects.filter(labeler=labeler, pool=pool).first()
    state = str(own.state if own else State.TRAINING)
    refused = WorkPaused if state in KEPT_OUT else NotQualified
    return refused(pool=pool.pk, state=state)


def standings(labeler: User, pools: Collection[Pool]) -> dict[int, str]:
    """By pool that is not open to the labeler: how it stands, ``training`` before the first step.

    Two or three queries for all pools.
    """
    ids = [pool.pk for pool in pools]
    open_ids = set(
        pools_open_to(labeler, Pool.objects.filter(pk__in=ids)).values_list("pk", flat=True)
    )
    own = Qualification.objects.filter(labeler=labeler, pool__in=ids)
    state_of = dict(own.values_list("pool", "state"))
    return {pk: state_of.get(pk, State.TRAINING) for pk in ids if pk not in open_ids}


def qualification_of(labeler: User, pool: Pool) -> Qualification | None:
    return Qualification.objects.filter(labeler=labeler, pool=pool).first()


def items_of(pool: Pool, kind: QualificationItem.Kind) -> QuerySet[QualificationItem]:
    return pool.qualification_items.filter(is_active=True, kind=kind).order_by("id")


def qualification_progress(labeler: User, pool: Pool) -> Progress:
    own = qualification_of(labeler, pool)
    trials = own.trials.all() if own else Trial.objects.none()
    done = trials.filter(state=Trial.State.SUBMITTED)
    attempt = own.attempt if own else 0
    testing = own is not None and own.state == State.TESTING
    in_test = trials.filter(attempt=attempt) if testing else Trial.objects.none()
    untrained = items_to_train_on(pool, own).count()
    trained = done.filter(attempt=0).count()
    return Progress(
        state=own.state if own else State.TRAINING,
        is_let_in=pools_open_to(labeler, Pool.objects.filter(pk=pool.pk)).exists(),
        training=trained + untrained,
        training_done=trained,
        tests=in_test.count() if testing else test_size(pool),
        tests_done=in_test.filter(state=Trial.State.SUBMITTED).count(),
        attempts_left=attempts_left(pool, own),
        score=own.score if own else None,
        threshold=pool.qualification_threshold,
        note=own.note if own else "",
    )


def items_to_train_on(
    pool: Pool, qualification: Qualification | None
) -> QuerySet[QualificationItem]:
    """Training items that the labeler has not finished."""
    items = items_of(pool, QualificationItem.Kind.TRAINING)
    if qualification is None:
        return items
    done = qualification.trials.filter(attempt=0, state=Trial.State.SUBMITTED)
    return items.exclude(pk__in=done.values("item"))


def test_size(pool: Pool) -> int:
    """How many items one attempt has."""
    there = items_of(pool, QualificationItem.Kind.TEST).count()
    return min(pool.qualification_test_size or there, there)


def attempts_left(pool: Pool, qualification: Qualification | None) -> int:
    extra = qualification.extra_attempts if qualification else 0
    used = qualification.attempt if qualification else 0
    return max(pool.qualification_attempts + extra - used, 0)


def trial_of(labeler: User, trial_id: uuid.UUID) -> Trial:
    found = (
        Trial.objects.filter(pk=trial_id, qualification__labeler=labeler)
        .select_related("item", "qualification__pool", "qualification__labeler")
        .first()
    )
    if found is None:
        raise NotFound("There is no such item of yours.")
    return found


def trial_payload(trial: Trial) -> dict[str, Any]:
    """All that a labeler sees of an item before ranking it: an allow-list, as for tasks."""
    return {
        "trial": str(trial.pk),
        "pool": trial.qualification.pool.name,
        "kind": trial.item.kind,
        "prompt": {"messages": trial.item.messages},
        "completions": [
            {"alias": alias, "text": trial.item.completions[number]["text"]}
            for alias, number in trial.number_of_alias.items()
        ],
    }


class Placed(NamedTuple):
    """An answer with the rank the labeler gave and the one expected."""

    alias: str
    text: str
    given: int
    expected: int


class Feedback(NamedTuple):
    """What a labeler learns from an item of the training, once it is ranked."""

    mark: marking.Mark
    explanation: str
    answers: list[Placed]

    @property
    def by_given(self) -> list[Placed]:
        return sorted(self.answers, key=lambda answer: (answer.given, answer.expected))

    @property
    def by_expected(self) -> list[Placed]:
        return sorted(self.answers, key=lambda answer: (answer.expected, answer.given))


def feedback_on(trial: Trial) -> Feedback:
    """Raises NotFound: the trial is of a test, or not submitted yet."""
    if trial.item.kind != QualificationItem.Kind.TRAINING or trial.ranks is None:
        raise NotFound("There is no feedback on this item.")
    expected, given = trial.item.rank_of_number, given_ranks(trial, trial.ranks)
    dense_given, dense_expected = _dense(given), _dense(expected)
    answers = [
        Placed(alias, trial.item.completions[n]["text"], dense_given[n], dense_expected[n])
        for alias, n in zip(ALIASES, trial.shown_order, strict=False)
    ]
    return Feedback(marking.mark(expected, given), trial.item.explanation, answers)


def given_ranks(trial: Trial, ranks: dict[str, int]) -> dict[int, int]:
    """Ranks by alias as ranks by number of the completion."""
    return {number: ranks[alias] for alias, number in trial.number_of_alias.items()}


def _dense(ranks: dict[int, int]) -> dict[int, int]:
    """The same order without gaps, as people say it: 1, 2, 2, 3."""
    places = {rank: place for place, rank in enumerate(sorted(set(ranks.values())), start=1)}
    return {item: places[rank] for item, rank in ranks.items()}


def own_feedback(labeler: User, pool: Pool) -> QuerySet[Trial]:
    """The labeler's finished items of the training, to be read again."""
    return Trial.objects.filter(
        qualification__labeler=labeler,
        qualification__pool=pool,
        attempt=0,
        state=Trial.State.SUBMITTED,
    ).order_by("position")
