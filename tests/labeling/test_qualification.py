"""The way into a pool: training with feedback, the test, an admin's word, and what stays hidden."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.test import Client
from django.urls import reverse

from labeling import selectors, services
from labeling.errors import (
    AssignmentClosed,
    InvalidInput,
    LabelingError,
    NotQualified,
    QualificationClosed,
)
from labeling.models import Pool, Qualification, QualificationItem, Ranking, Task, Trial, User
from tests.conftest import Cast, as_lines, caller, error_code, line, rank, take
from tests.labeling.test_races import in_threads

SECRET = "because-the-first-is-true"


def item(prompt: str, *ranks: int) -> dict[str, Any]:
    completions = [
        {"text": f"{prompt}: answer {n}", "rank": place}
        for n, place in enumerate(ranks or (1, 2, 3, 4))
    ]
    return {"prompt": prompt, "completions": completions, "explanation": SECRET}


def with_items(pool: Pool, *, training: int = 2, tests: int = 3) -> Pool:
    for kind, count in (("training", training), ("test", tests)):
        rows = as_lines(*(item(f"{kind} {n}") for n in range(count)))
        report = services.import_items(pool, rows, kind=kind)
        assert report.accepted == count, report
    return pool


@pytest.fixture
def gated(make_pool: Any) -> Pool:
    """A pool with work, two items to train on and three to be tested by."""
    return with_items(make_pool(tasks=2, name="gated"))


def answered(trial: Trial, *, right: bool = True) -> dict[str, int]:
    """The expected ranks of a trial by alias, or their reverse."""
    expected = trial.item.rank_of_number
    last = len(expected) + 1
    return {
        alias: expected[number] if right else last - expected[number]
        for alias, number in trial.number_of_alias.items()
    }


def work(labeler: User, pool: Pool, *, right: bool = True) -> int:
    """Rank all items that come until none does; how many came."""
    done = 0
    while trial := services.next_trial(labeler, pool):
        ranks = answered(trial, right=right)
        services.submit_trial(labeler, trial.pk, submission_id=uuid.uuid4(), ranks=ranks)
        done += 1
    return done


def state_of(labeler: User, pool: Pool) -> str:
    return Qualification.objects.get(labeler=labeler, pool=pool).state


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


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


# --- pages ----------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_the_whole_way_works_as_plain_forms(cast: Cast, gated: Pool) -> None:
    client = signed_in(cast.ben.user)
    home = client.get("/").content.decode()
    assert "Qualify first" in home
    assert "Start ranking" not in home
    assert client.get(f"/pools/{gated.pk}/rank/")["Location"] == f"/pools/{gated.pk}/qualification/"
    asked = client.get("/rank/", follow=True)
    assert "No pool is open to you yet" in asked.content.decode()
    assert "Begin the training" in client.get(f"/pools/{gated.pk}/qualification/").content.decode()
    _rank_by_form(client, gated, 2)
    overview = client.get(f"/pools/{gated.pk}/qualification/")
    assert "Begin the test" in overview.content.decode()
    begun = client.post(f"/pools/{gated.pk}/qualification/test/", follow=True)
    assert "Test 1 of 3" in begun.content.decode()
    last = _rank_by_form(client, gated, 3)
    assert "The pool is open to you" in last.content.decode()
    assert "Qualify first" not in client.get("/").content.decode()
    assert client.get(f"/pools/{gated.pk}/rank/")["Location"].startswith("/assignments/")


def _rank_by_form(client: Client, pool: Pool, count: int) -> Any:
    answer = None
    for _ in range(count):
        page = client.get(f"/pools/{pool.pk}/qualification/next/", follow=True)
        form = page.context["form"]
        trial = Trial.objects.get(pk=page.context["task"]["trial"])
        body = {"submission_id": form["submission_id"].value()}
        incomplete = client.post(f"/trials/{trial.pk}/", body)
        assert incomplete.status_code == 422
        body |= {f"rank_{alias}": place for alias, place in answered(trial).items()}
        answer = client.post(f"/trials/{trial.pk}/", body, follow=True)
        assert answer.status_code == 200
        if trial.attempt == 0:
            assert "Just as expected" in answer.content.decode()
            assert SECRET in answer.content.decode()
    return answer


@pytest.mark.django_db
def test_failing_says_what_comes_next(cast: Cast, make_pool: Any) -> None:
    pool = with_items(make_pool(qualification_attempts=2), training=1, tests=1)
    labeler = cast.ben.user
    client = signed_in(labeler)
    work(labeler, pool)
    for words in ("Take the test again", "All attempts are used"):
        services.begin_test(labeler, pool)
        work(labeler, pool, right=False)
        html = client.get(f"/pools/{pool.pk}/qualification/").content.decode()
        assert words in html
        assert "Your last test: 0 %" in html
    assert client.post(f"/pools/{pool.pk}/qualification/test/").status_code == 302
    assert Qualification.objects.get().attempt == 2


@pytest.mark.django_db
def test_a_paused_labeler_is_told_kindly(cast: Cast, pool: Pool) -> None:
    services.revoke_qualification(cast.ada.user, cast.ben.user, pool, note="Call me, please.")
    client = signed_in(cast.ben.user)
    html = client.get(f"/pools/{pool.pk}/rank/", follow=True).content.decode()
    assert "Everything you did is kept" in html
    assert "Call me, please." in html
    assert "Closed to you" in client.get("/").content.decode()


# --- making items ---------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("row", "code"),
    [
        ("not json", "broken_json"),
        ({"completions": []}, "missing_prompt"),
        ({"prompt": "x", "completions": [{"text": "a", "rank": 1}]}, "completion_count"),
        (item("x", 1, 1, 1, 1), "wrong_rank"),
        (item("x", 1, 2, 3, 5), "wrong_rank"),
        (item("x", 1, 2, 3, True), "wrong_rank"),
        ({**item("x"), "completions": ["a", "b", "c", "d"]}, "wrong_type"),
        ({**item("x"), "explanation": 3}, "wrong_type"),
    ],
)
def test_a_bad_line_is_reported_and_good_ones_land(
    cast: Cast, pool: Pool, row: Any, code: str
) -> None:
    body = b"".join(as_lines(item("good"), row, item("good")))
    answer = cast.ada.post(f"pools/{pool.pk}/qualification/items/?kind=test", body)
    report = answer.json()
    assert (report["accepted"], report["duplicates"], report["rejected"]) == (1, 1, 1)
    assert report["errors"][0] | {"message": ""} == {"line": 2, "code": code, "message": ""}


@pytest.mark.django_db
def test_items_are_for_admins_to_import(cast: Cast, pool: Pool) -> None:
    for who in (cast.ben, cast.rob):
        path = f"pools/{pool.pk}/qualification/items/?kind=test"
        assert who.post(path, as_lines(item("x"))[0]).status_code == 403
    answer = cast.ada.post(f"pools/{pool.pk}/qualification/items/", as_lines(item("x"))[0])
    assert (answer.status_code, error_code(answer)) == (400, "invalid")


@pytest.mark.django_db
def test_an_admin_makes_an_item_from_a_reviewers_ranking(cast: Cast, pool: Pool) -> None:
    rank(cast.rob, pool, [2, 1, 3, 3])
    task = Task.objects.get(rankings__labeler=cast.rob.user)
    client = signed_in(cast.ada.user)
    address = reverse("admin:labeling_task_known_answer", args=[task.pk])
    ranking = Ranking.objects.get()
    form = client.get(address, {"ranking": ranking.pk}).context["form"]
    ranks = {f"rank_{c.number}": field.value() for c, field in form.rows}
    assert set(ranks.values()) == {1, 2, 3}
    body = {"use": "training", "explanation": "Why so.", **ranks}
    assert client.post(address, body).status_code == 302
    made = QualificationItem.objects.get()
    placed = {i.completion.text: i.rank for i in ranking.items.select_related("completion")}
    assert {c["text"]: c["rank"] for c in made.completions} == placed
    assert (made.kind, made.author, made.explanation) == ("training", cast.ada.user, "Why so.")
    # The same once more is refused, with what was typed.
    assert client.post(address, body).status_code == 422
    flat = dict.fromkeys(ranks, 1)
    assert client.post(address, {"use": "test", **flat}).status_code == 422


@pytest.mark.django_db
def test_the_admin_pages_of_a_qualification(cast: Cast, gated: Pool) -> None:
    client = signed_in(cast.ada.user)
    work(cast.ben.user, gated)
    address = reverse("admin:labeling_pool_qualification", args=[gated.pk])
    text = b"".join(as_lines(item("one more"), "broken")).decode()
    html = client.post(address, {"kind": "test", "text": text}).content.decode()
    assert "broken_json" in html
    assert "ben" in html
    own = Qualification.objects.get()
    for name, state in (
        ("grant", "granted"),
        ("revoke", "revoked"),
        ("another_attempt", "training"),
    ):
        act = reverse(f"admin:labeling_qualification_{name}", args=[own.pk])
        assert client.get(act).status_code == 200
        assert client.post(act, {"note": "so"}).status_code == 302
        assert state_of(cast.ben.user, gated) == state
    add = reverse("admin:labeling_qualification_add")
    client.post(add, {"labeler": cast.cho.user.pk, "pool": gated.pk, "note": ""})
    rank(cast.cho, gated)
    kept = QualificationItem.objects.first()
    client.post(reverse("admin:labeling_qualificationitem_retire", args=[kept.pk]))
    kept.refresh_from_db()
    assert not kept.is_active
    own_page = reverse("admin:labeling_qualification_change", args=[own.pk])
    assert "100 %" in client.get(own_page).content.decode()


@pytest.mark.django_db
def test_a_pool_that_labelers_qualified_for_is_not_deleted(cast: Cast, gated: Pool) -> None:
    work(cast.ben.user, gated)
    client = signed_in(cast.ada.user)
    client.post(reverse("admin:labeling_pool_delete", args=[gated.pk]), {"post": "yes"})
    assert Pool.objects.filter(pk=gated.pk).exists()


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
