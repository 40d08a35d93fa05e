"""next → submit, draft, heartbeat and skip, and everything they refuse."""

import uuid
from datetime import timedelta
from urllib.parse import quote

import pytest
from django.db.models import F
from django.test import Client

from labeling import services
from labeling.models import Assignment, Comparison, RankedItem, Ranking, Slot
from tests.conftest import error_code, rank, submission, submit, take

pytestmark = pytest.mark.django_db


def end_leases() -> None:
    Slot.objects.filter(state="leased").update(lease_until=F("lease_until") - timedelta(days=1))


def test_a_labeler_takes_ranks_and_gets_the_next_task(cast, pool):
    first = take(cast.ben, pool)
    assert set(first) == {
        "alike", "assignment", "lease_token", "lease_seconds", "pool", "prompt", "completions",
        "rubric", "guidelines", "draft", "warnings",
    }  # fmt: skip
    assert first["prompt"]["messages"] == [{"role": "user", "content": "prompt 0"}]
    assert [c["alias"] for c in first["completions"]] == ["A", "B", "C", "D"]
    body = submission(first, [1, 1, 2, 4], ratings={"A": 7}, flags={"B": ["hallucination"]})
    answer = submit(cast.ben, first, body)
    assert answer.status_code == 201
    assert answer.json() == {
        "ranking": Ranking.objects.get().pk,
        "comparisons": 6,
        "status": "counted",
    }
    assert take(cast.ben, pool)["assignment"] != first["assignment"]


def test_ranks_land_on_the_completions_that_were_shown(cast, pool):
    task = take(cast.ben, pool)
    texts = {c["alias"]: c["text"] for c in task["completions"]}
    submit(
        cast.ben,
        task,
        submission(task, [3, 1, 2, 2], ratings={"B": 6}, flags={"B": ["sexual_content"]}),
    )
    stored = {i.completion.text: i for i in RankedItem.objects.select_related("completion")}
    assert {t: i.rank for t, i in stored.items()} == {
        texts["A"]: 3, texts["B"]: 1, texts["C"]: 2, texts["D"]: 2,
    }  # fmt: skip
    assert stored[texts["B"]].quality == 6
    assert stored[texts["B"]].flags == ["sexual_content"]
    best = [p for p in Comparison.objects.all() if texts["B"] in (p.a.text, p.b.text)]
    assert all((p.a if p.preferred == "a" else p.b).text == texts["B"] for p in best)
    assert Comparison.objects.filter(preferred="tie").count() == 1


def test_asking_again_gives_the_same_task_in_the_same_order(cast, pool):
    first, second = take(cast.ben, pool), take(cast.ben, pool)
    assert {**first, "lease_seconds": 0} == {**second, "lease_seconds": 0}


def test_two_labelers_never_share_a_slot(cast, make_pool):
    pool = make_pool(tasks=1)
    take(cast.ben, pool)
    answer = cast.cho.post("assignments/next/", {"pool": pool.pk})
    assert answer.status_code == 204
    assert 0 < int(answer.headers["Retry-After"]) <= 300


def test_overlap_gives_each_task_to_that_many_labelers(cast, make_pool):
    pool = make_pool(tasks=1, overlap=2)
    rank(cast.ben, pool)
    rank(cast.cho, pool)
    assert cast.rob.post("assignments/next/", {"pool": pool.pk}).status_code == 204
    assert cast.ben.post("assignments/next/", {"pool": pool.pk}).status_code == 204


def test_without_a_pool_any_open_pool_serves(cast, pool):
    assert cast.ben.post("assignments/next/").status_code == 200
    assert cast.ben.post("assignments/next/", {"pool": pool.name}).status_code == 200


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"ranks": {"A": 1, "B": 2, "C": 3, "D": 4, "E": 5}}, 400, "unknown_alias"),
        ({"ranks": {"A": 1, "B": 2, "C": 3}}, 400, "missing_completion"),
        ({"ranks": {"A": 0, "B": 1, "C": 2, "D": 3}}, 400, "rank_out_of_range"),
        ({"ranks": {"A": 5, "B": 1, "C": 2, "D": 3}}, 400, "rank_out_of_range"),
        ({"ranks": {"A": "1", "B": 1, "C": 2, "D": 3}}, 400, "rank_out_of_range"),
        ({"ranks": [1, 2, 3, 4]}, 400, "invalid"),
        ({"ranks": None}, 400, "invalid"),
        ({"ratings": {"A": 8}}, 400, "invalid_rubric"),
        ({"ratings": {"Z": 1}}, 400, "unknown_alias"),
        ({"flags": {"A": ["no_such_flag"]}}, 400, "invalid_rubric"),
        ({"flags": {"A": "hallucination"}}, 400, "invalid_rubric"),
        ({"note": "x" * 10_001}, 400, "invalid"),
        ({"lease_token": str(uuid.uuid4())}, 409, "foreign_lease"),
        ({"lease_token": "nonsense"}, 400, "invalid"),
        ({"submission_id": "nonsense"}, 400, "invalid"),
    ],
)
def test_a_refused_submission_changes_nothing(cast, pool, change, status, code):
    task = take(cast.ben, pool)
    answer = submit(cast.ben, task, submission(task) | change)
    assert (answer.status_code, error_code(answer)) == (status, code)
    assert not Ranking.objects.exists()
    assert submit(cast.ben, task).status_code == 201


def test_the_same_submission_again_gets_the_same_answer(cast, pool):
    task = take(cast.ben, pool)
    body = submission(task)
    first, again = submit(cast.ben, task, body), submit(cast.ben, task, body)
    assert (first.status_code, first.json()) == (again.status_code, again.json())
    assert Ranking.objects.count() == 1


def test_another_body_under_a_used_submission_id_is_a_conflict(cast, pool):
    task = take(cast.ben, pool)
    body = submission(task)
    submit(cast.ben, task, body)
    other = submit(cast.ben, task, body | {"note": "changed"})
    assert (other.status_code, error_code(other)) == (409, "submission_conflict")
    new = submit(cast.ben, task)
    assert (new.status_code, error_code(new)) == (409, "assignment_closed")


def test_somebody_elses_assignment_is_not_there(cast, pool):
    task = take(cast.ben, pool)
    for path in ("submit", "draft", "skip", "heartbeat"):
        body = submission(task) | {"draft": {}, "reason": "x"}
        answer = cast.cho.post(f"assignments/{task['assignment']}/{path}/", body)
        assert (answer.status_code, error_code(answer)) == (404, "not_found")


def test_an_ended_lease_keeps_the_work_and_can_be_renewed(cast, pool):
    task = take(cast.ben, pool)
    end_leases()
    body = submission(task)
    refused = submit(cast.ben, task, body)
    assert (refused.status_code, error_code(refused)) == (409, "lease_expired")
    assert not Ranking.objects.exists()
    assert Assignment.objects.get().draft["ranks"] == body["ranks"]
    renewed = cast.ben.post(
        f"assignments/{task['assignment']}/heartbeat/", {"lease_token": task["lease_token"]}
    )
    assert renewed.json() == {"lease_seconds": pool.lease_seconds}
    assert submit(cast.ben, task, body).json()["status"] == "counted"


def test_the_longest_note_survives_an_ended_lease(cast, pool):
    task = take(cast.ben, pool)
    end_leases()
    note = "😀" * 10_000
    refused = submit(cast.ben, task, submission(task, note=note))
    assert (refused.status_code, error_code(refused)) == (409, "lease_expired")
    assert Assignment.objects.get().draft["note"] == note


@pytest.mark.parametrize("pool", ["1" * 5000, "9" * 30, "²", "no such pool"])
def test_a_pool_that_is_not_there_is_told_without_naming_others(cast, make_pool, pool):
    make_pool(name="secret pool")
    answer = cast.ben.post("assignments/next/", {"pool": pool})
    assert answer.status_code in (400, 404)
    assert "secret" not in answer.content.decode()


def test_work_for_a_slot_that_went_to_somebody_else_is_kept_as_late(cast, make_pool):
    pool = make_pool(tasks=1)
    task = take(cast.ben, pool)
    end_leases()
    rank(cast.cho, pool)
    body = submission(task)
    answer = submit(cast.ben, task, body)
    assert (answer.status_code, answer.json()["status"]) == (201, "late")
    assert submit(cast.ben, task, body).json() == answer.json()
    progress = cast.ada.get(f"pools/{pool.pk}/").json()
    assert (progress["rankings"], progress["late"], progress["comparisons"]) == (1, 1, 6)


def test_an_ended_lease_is_given_to_the_next_labeler(cast, make_pool):
    pool = make_pool(tasks=1)
    take(cast.ben, pool)
    end_leases()
    assert rank(cast.cho, pool)["status"] == "counted"


def test_a_draft_comes_back_with_the_task_even_after_the_lease(cast, pool):
    task = take(cast.ben, pool)
    draft = {"ranks": {"A": 2}, "note": "half-way"}
    saved = cast.ben.post(
        f"assignments/{task['assignment']}/draft/",
        {"lease_token": task["lease_token"], "draft": draft},
    )
    assert saved.status_code == 204
    end_leases()
    again = take(cast.ben, pool)
    assert (again["assignment"], again["draft"]) == (task["assignment"], draft)


def test_a_skipped_task_goes_to_others_and_never_comes_back(cast, make_pool):
    pool = make_pool(tasks=1)
    task = take(cast.ben, pool)
    path = f"assignments/{task['assignment']}/skip/"
    empty = cast.ben.post(path, {"lease_token": task["lease_token"], "reason": ""})
    assert empty.status_code == 400
    done = cast.ben.post(path, {"lease_token": task["lease_token"], "reason": "I know no Basque"})
    assert done.status_code == 204
    assert cast.ben.post("assignments/next/", {"pool": pool.pk}).status_code == 204
    assert rank(cast.cho, pool)["status"] == "counted"
    assert Assignment.objects.get(state="skipped").skip_reason == "I know no Basque"


def test_a_closed_pool_hands_out_nothing(cast, pool):
    pool.is_open = False
    pool.save(update_fields=["is_open"])
    answer = cast.ben.post("assignments/next/", {"pool": pool.pk})
    assert (answer.status_code, error_code(answer)) == (409, "pool_closed")
    assert cast.ben.post("assignments/next/").status_code == 204


def test_every_task_gets_its_first_ranking_before_any_gets_its_second(cast, make_pool):
    pool = make_pool(tasks=3, overlap=2)
    for _ in range(3):
        rank(cast.ben, pool)
    assert Ranking.objects.values("task").distinct().count() == 3


def test_a_page_of_somebody_else_is_told_to_sign_in_and_nothing_is_stored(cast, pool):
    """Its work waits for its labeler; that the task is not this one's must not end it."""
    task = take(cast.ben, pool)
    path = f"/api/v1/assignments/{task['assignment']}/submit/"
    for labeler, whose, status in [
        (cast.cho, "ben", 401),
        (cast.ben, "cho", 401),
        (cast.ben, "%EB%AF%BC%EC%95%84", 401),
        (cast.cho, "cho", 404),
        (cast.ben, "ben", 201),
    ]:
        session = Client()
        session.force_login(labeler.user)
        answer = session.post(
            path,
            submission(task),
            content_type="application/json",
            headers={"X-Labeler": whose},
        )
        assert answer.status_code == status, whose
    assert Ranking.objects.get().assignment.labeler == cast.ben.user


@pytest.mark.parametrize("name", ["민아", "nina+night@example.org"])
def test_any_name_can_be_the_name_of_a_page(name, pool):
    session = Client()
    session.force_login(services.create_user(username=name, password=None, role="labeler"))
    answer = session.post(
        "/api/v1/assignments/next/",
        {"pool": pool.pk},
        content_type="application/json",
        headers={"X-Labeler": quote(name, safe="")},
    )
    assert answer.status_code == 200
