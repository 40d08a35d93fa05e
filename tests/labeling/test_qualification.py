"""The way into a pool: training with feedback, the test, an admin's word, and what stays hidden."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from labeling import selectors, services
from labeling.errors import (
    AssignmentClosed,
    InvalidInput,
    LabelingError,
    NotQualified,
    QualificationClosed,
)
from labeling.models import Pool, Qualification, QualificationItem, Ranking, Trial, User
from tests.conftest import Cast, as_lines, caller, error_code, line, rank, take
from tests.labeling.qualifying import SECRET, answered, signed_in, state_of, with_items, work
from tests.labeling.test_races import in_threads

# --- the gate -------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_pool_without_items_is_open_as_ever(cast: Cast, pool: Pool) -> None:
    rank(cast.ben, pool)
    assert not Qualification.objects.exists()


@pytest.mark.django_db
def test_a_pool_with_items_opens_after_training_and_test(cast: Cast, gated: Pool) -> None:
    labeler = cast.ben.user
    refused = cast.ben.post("assignments/next/", {"pool": gated.pk})
    assert (refused.status_code, error_code(refused)) == (403, "not_qualified")
    assert refused.json()["error"]["data"] == {"pool": gated.pk, "state": "training"}
    # Demonstrations are work in the pool too.
    assert cast.ben.post("demonstrations/next/", {"pool": gated.pk}).status_code == 403
    assert work(labeler, gated) == 2
    assert cast.ben.post("assignments/next/", {"pool": gated.pk}).status_code == 403
    services.begin_test(labeler, gated)
    assert work(labeler, gated) == 3
    assert state_of(labeler, gated) == "passed"
    rank(cast.ben, gated)


@pytest.mark.django_db
def test_other_pools_are_not_held_up_by_one_that_is_closed_to_the_labeler(
    cast: Cast, gated: Pool, pool: Pool
) -> None:
    task = cast.ben.post("assignments/next/").json()
    assert task["pool"] == pool.name
    services.change_pool(pool, is_open=False)
    alone = cast.ben.post("assignments/next/")
    assert (alone.status_code, error_code(alone)) == (403, "not_qualified")


@pytest.mark.django_db
def test_simulated_labelers_reviewers_and_admins_are_let_in_without(
    cast: Cast, gated: Pool
) -> None:
    robot = caller("robot", "labeler", is_simulated=True)
    for who in (robot, cast.rob):
        take(who, gated)
    # An admin's word holds for them too.
    services.revoke_qualification(cast.ada.user, robot.user, gated)
    refused = robot.post("assignments/next/", {"pool": gated.pk})
    assert (refused.status_code, error_code(refused)) == (403, "work_paused")


@pytest.mark.django_db
def test_an_admin_grants_revokes_and_gives_another_attempt(cast: Cast, gated: Pool) -> None:
    ada, ben = cast.ada.user, cast.ben.user
    services.grant_qualification(ada, ben, gated, note="Trained elsewhere.")
    rank(cast.ben, gated)
    services.revoke_qualification(ada, ben, gated)
    assert cast.ben.post("assignments/next/", {"pool": gated.pk}).status_code == 403
    own = Qualification.objects.get()
    assert (own.decided_by, own.note) == (ada, "")
    assert own.decided_at is not None
    services.allow_another_attempt(ada, ben, gated)
    assert work(ben, gated) == 2
    services.begin_test(ben, gated)
    with pytest.raises(InvalidInput):
        services.grant_qualification(ada, ben, gated, note="x" * 501)


@pytest.mark.django_db
def test_work_in_hand_can_be_finished_by_who_is_taken_out(cast: Cast, pool: Pool) -> None:
    from tests.conftest import submit

    task = take(cast.ben, pool)
    services.revoke_qualification(cast.ada.user, cast.ben.user, pool)
    assert submit(cast.ben, task).status_code == 201
    assert Ranking.objects.get().status == "counted"


# --- training and test ----------------------------------------------------------------------------


@pytest.mark.django_db
def test_training_gives_feedback_and_the_test_gives_none(cast: Cast, gated: Pool) -> None:
    ben = cast.ben
    trial = ben.post(f"pools/{gated.pk}/qualification/next/").json()
    assert set(trial) == {"trial", "pool", "kind", "prompt", "completions"}
    assert SECRET not in json.dumps(trial)
    right = answered(Trial.objects.get())
    swapped = {alias: {1: 2, 2: 1}.get(place, place) for alias, place in right.items()}
    body = {"submission_id": str(uuid.uuid4()), "ranks": swapped}
    told = ben.post(f"trials/{trial['trial']}/submit/", body).json()
    feedback = told["feedback"]
    assert (feedback["right"], feedback["wrong"], feedback["tied"]) == (5, 1, 0)
    assert feedback["tau_b"] == pytest.approx(4 / 6)
    assert feedback["explanation"] == SECRET
    assert feedback["expected"] == right
    work(ben.user, gated)
    assert ben.post(f"pools/{gated.pk}/qualification/test/").json()["state"] == "testing"
    for _ in range(3):
        trial = ben.post(f"pools/{gated.pk}/qualification/next/").json()
        ranks = answered(Trial.objects.get(pk=trial["trial"]))
        body = {"submission_id": str(uuid.uuid4()), "ranks": ranks}
        answer = ben.post(f"trials/{trial['trial']}/submit/", body)
        assert answer.json()["feedback"] is None
        assert SECRET not in answer.content.decode()
    assert answer.json()["standing"]["state"] == "passed"
    assert ben.post(f"pools/{gated.pk}/qualification/next/").status_code == 204


@pytest.mark.django_db
def test_a_threshold_met_exactly_passes_and_one_missed_fails(cast: Cast, make_pool: Any) -> None:
    for threshold, state in ((0.5, "passed"), (0.51, "failed")):
        pool = with_items(
            make_pool(qualification_threshold=threshold, name=state), training=0, tests=2
        )
        labeler = cast.ben.user
        services.begin_test(labeler, pool)
        for right in (True, False):
            trial = services.next_trial(labeler, pool)
            assert trial is not None
            services.submit_trial(
                labeler, trial.pk, submission_id=uuid.uuid4(), ranks=answered(trial, right=right)
            )
        own = Qualification.objects.get(pool=pool)
        assert (own.state, own.score) == (state, 0.5)


@pytest.mark.django_db
def test_attempts_are_limited_and_the_second_has_other_items(cast: Cast, make_pool: Any) -> None:
    pool = make_pool(qualification_test_size=2, qualification_attempts=2)
    with_items(pool, training=0, tests=4)
    labeler = cast.ben.user
    for _ in range(2):
        services.begin_test(labeler, pool)
        work(labeler, pool, right=False)
    first, second = (
        set(Trial.objects.filter(attempt=n).values_list("item", flat=True)) for n in (1, 2)
    )
    assert len(first) == len(second) == 2
    assert not first & second
    assert state_of(labeler, pool) == "failed"
    with pytest.raises(QualificationClosed):
        services.begin_test(labeler, pool)
    services.allow_another_attempt(cast.ada.user, labeler, pool)
    services.begin_test(labeler, pool)
    work(labeler, pool)
    assert state_of(labeler, pool) == "passed"
    assert Trial.objects.filter(state="open").count() == 0


@pytest.mark.django_db
def test_the_test_opens_only_after_the_training(cast: Cast, gated: Pool) -> None:
    with pytest.raises(QualificationClosed):
        services.begin_test(cast.ben.user, gated)
    answer = cast.ben.post(f"pools/{gated.pk}/qualification/test/")
    assert (answer.status_code, error_code(answer)) == (409, "qualification_closed")


@pytest.mark.django_db
def test_training_alone_opens_the_pool_where_there_is_no_test(cast: Cast, make_pool: Any) -> None:
    pool = with_items(make_pool(), tests=0)
    assert work(cast.ben.user, pool, right=False) == 2
    assert state_of(cast.ben.user, pool) == "passed"


@pytest.mark.django_db
def test_the_shown_order_of_an_item_is_drawn_for_each_labeler(cast: Cast, make_pool: Any) -> None:
    pool = with_items(make_pool(), training=1, tests=0)
    orders = set()
    for n in range(12):
        trial = services.next_trial(caller(f"l{n}", "labeler").user, pool)
        assert trial is not None
        orders.add(tuple(trial.shown_order))
    assert len(orders) > 3


@pytest.mark.django_db
def test_an_item_that_is_retired_is_asked_no_more_but_may_be_finished(
    cast: Cast, gated: Pool
) -> None:
    labeler = cast.ben.user
    trial = services.next_trial(labeler, gated)
    assert trial is not None
    services.retire_item(trial.item)
    services.submit_trial(labeler, trial.pk, submission_id=uuid.uuid4(), ranks=answered(trial))
    assert work(labeler, gated) == 1
    # With all items retired the pool is open again.
    for one in QualificationItem.objects.all():
        services.retire_item(one)
    rank(cast.cho, gated)


# --- again and at once ----------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_submission_is_stored_once(cast: Cast, gated: Pool) -> None:
    labeler = cast.ben.user
    trial = services.next_trial(labeler, gated)
    assert trial is not None
    body = {"submission_id": uuid.uuid4(), "ranks": answered(trial)}
    for _ in range(2):
        services.submit_trial(labeler, trial.pk, **body)
    with pytest.raises(LabelingError) as refusal:
        services.submit_trial(labeler, trial.pk, **{**body, "ranks": answered(trial, right=False)})
    assert refusal.value.code == "submission_conflict"
    with pytest.raises(AssignmentClosed):
        services.submit_trial(
            labeler, trial.pk, submission_id=uuid.uuid4(), ranks=answered(trial, right=False)
        )
    assert Trial.objects.get().agreement == 1.0


@pytest.fixture
def contest(transactional_db: None) -> tuple[Pool, User]:
    pool = services.create_pool(name="contest")
    services.import_prompts(pool, as_lines(line("work")))
    labeler = services.create_user(username="ben", password=None, role="labeler")
    return pool, labeler


def test_two_tabs_that_submit_the_same_test_item_are_one_answer(
    contest: tuple[Pool, User],
) -> None:
    pool, labeler = contest
    with_items(pool, training=0, tests=1)
    services.begin_test(labeler, pool)
    trial = services.next_trial(labeler, pool)
    assert trial is not None

    def act(right: bool) -> str:
        try:
            services.submit_trial(
                labeler, trial.pk, submission_id=uuid.uuid4(), ranks=answered(trial, right=right)
            )
        except LabelingError as error:
            return error.code
        return "stored"

    assert sorted(in_threads(act, [True, False, True, False])) == ["assignment_closed"] * 3 + [
        "stored"
    ]
    score = Trial.objects.get().agreement
    own = Qualification.objects.get()
    assert (own.state, own.score) == ("passed" if score == 1.0 else "failed", score)


def test_two_tabs_that_begin_the_test_begin_one_attempt(contest: tuple[Pool, User]) -> None:
    pool, labeler = contest
    with_items(pool, training=0, tests=3)
    in_threads(lambda _: services.begin_test(labeler, pool), list(range(4)))
    assert Trial.objects.count() == 3
    assert Qualification.objects.get().attempt == 1


def test_many_tabs_meet_one_item_of_the_training(contest: tuple[Pool, User]) -> None:
    pool, labeler = contest
    with_items(pool, training=3, tests=0)
    met = in_threads(lambda _: services.next_trial(labeler, pool).pk, list(range(5)))
    assert len(set(met)) == 1


# --- what stays hidden ----------------------------------------------------------------------------


@pytest.mark.django_db
def test_no_page_tells_the_expected_ranking_before_training_or_in_a_test(
    cast: Cast, gated: Pool
) -> None:
    client = signed_in(cast.ben.user)
    page = client.get(f"/pools/{gated.pk}/qualification/next/", follow=True)
    html = page.content.decode()
    assert SECRET not in html
    assert "model" not in html
    trial = Trial.objects.get()
    assert client.get(f"/trials/{trial.pk}/feedback/").status_code == 404
    work(cast.ben.user, gated)
    services.begin_test(cast.ben.user, gated)
    asked = services.next_trial(cast.ben.user, gated)
    assert asked is not None
    services.submit_trial(
        cast.ben.user, asked.pk, submission_id=uuid.uuid4(), ranks=answered(asked)
    )
    assert client.get(f"/trials/{asked.pk}/feedback/").status_code == 404
    overview = client.get(f"/pools/{gated.pk}/qualification/").content.decode()
    assert SECRET not in overview
    # Somebody else's items are nobody's business.
    other = signed_in(cast.cho.user)
    for path in ("", "feedback/"):
        assert other.get(f"/trials/{trial.pk}/{path}").status_code == 404
    wrong = {"submission_id": str(uuid.uuid4()), "ranks": {}}
    assert cast.cho.post(f"trials/{asked.pk}/submit/", wrong).status_code == 404


@pytest.mark.django_db
def test_the_order_of_items_does_not_follow_their_expected_ranks(cast: Cast, gated: Pool) -> None:
    shown = set()
    for n in range(10):
        labeler = caller(f"p{n}", "labeler")
        task = labeler.post(f"pools/{gated.pk}/qualification/next/").json()
        shown.add(task["completions"][0]["text"])
    assert len(shown) > 1


# --- the database ---------------------------------------------------------------------------------


@pytest.mark.django_db
def test_the_database_refuses_what_no_code_should_try(cast: Cast, gated: Pool) -> None:
    trial = services.next_trial(cast.ben.user, gated)
    assert trial is not None
    own, pools = trial.qualification, Pool.objects.filter(pk=gated.pk)
    known = QualificationItem.objects.first()
    tries = [
        lambda: Qualification.objects.create(pool=gated, labeler=cast.ben.user),
        lambda: Qualification.objects.filter(pk=own.pk).update(score=1.5),
        lambda: Trial.objects.create(
            qualification=own, item=trial.item, attempt=0, position=9, shown_order=[0, 1, 2, 3]
        ),
        lambda: Trial.objects.filter(pk=trial.pk).update(state="submitted"),
        lambda: Trial.objects.filter(pk=trial.pk).update(ranks={"A": 1}),
        lambda: QualificationItem.objects.create(
            pool=gated, kind="test", messages=[], completions=[], digest=known.digest
        ),
        lambda: pools.update(control_share=0.9),
        lambda: pools.update(qualification_threshold=1.1),
    ]
    for attempt in tries:
        with pytest.raises(IntegrityError), transaction.atomic():
            attempt()


@pytest.mark.django_db
def test_what_is_let_in_is_a_selection_of_what_was_asked(
    cast: Cast, gated: Pool, pool: Pool
) -> None:
    only = Pool.objects.filter(pk=gated.pk)
    assert not selectors.pools_open_to(cast.ben.user, only).exists()
    assert list(selectors.pools_open_to(cast.ben.user, Pool.objects.all())) == [pool]
    assert selectors.standings(cast.ben.user, [gated, pool]) == {gated.pk: "training"}
    with pytest.raises(NotQualified):
        selectors.pools_to_work_in(cast.ben.user, gated)
