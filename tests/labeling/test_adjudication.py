"""Disagreements are found, shown without names, decided once; labelers' work stays as it is."""

from __future__ import annotations

import json
import threading

import pytest
from django.db import IntegrityError, connection, transaction
from django.test import Client

from labeling import selectors, services
from labeling.errors import AlreadyAdjudicated, LabelingError
from labeling.models import (
    AdjudicatedItem,
    Adjudication,
    Comparison,
    RankedItem,
    Ranking,
    Task,
    Topic,
    User,
)
from tests.conftest import error_code, submission, submit, take

pytestmark = pytest.mark.django_db


def rank_by_number(labeler, pool, ranks, **extra):
    """Rank so that answer n of the task gets ``ranks[n]``, whatever order it is shown in.

    ``ranks`` may be given by prompt.
    """
    task = take(labeler, pool)
    if isinstance(ranks, dict):
        ranks = ranks[task["prompt"]["messages"][0]["content"]]
    numbers = [int(c["text"].rsplit(" ", 1)[1]) for c in task["completions"]]
    body = submission(task, [ranks[n] for n in numbers], **extra)
    assert submit(labeler, task, body).status_code == 201


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def disputed(cast, make_pool):
    """Three tasks: Ben and Cho agree on the first, nearly on the second, not on the third."""
    pool = make_pool(tasks=3, overlap=2)
    chos = {"prompt 0": [1, 2, 3, 4], "prompt 1": [2, 1, 3, 4], "prompt 2": [4, 3, 2, 1]}
    for _ in range(3):
        rank_by_number(cast.ben, pool, [1, 2, 3, 4], note="bens-note")
        rank_by_number(cast.cho, pool, chos)
    return pool


def worst(pool) -> Task:
    return selectors.disagreements(pool)[0].task


def ranks_for(task: Task, by_number: list[int]) -> dict[str, int]:
    return {
        alias: by_number[completion.number]
        for alias, completion in selectors.case_of(task.pk).completions
    }


# --- which ----------------------------------------------------------------------------------------


def test_disagreements_come_worst_first_and_agreement_not_at_all(disputed):
    found = selectors.disagreements(disputed)
    assert [(str(one.task.prompt), one.labelers) for one in found] == [
        ("prompt 2", 2), ("prompt 1", 2),
    ]  # fmt: skip
    assert [one.agreement for one in found] == [0, pytest.approx(5 / 6)]
    assert selectors.disagreements() == found


def test_a_tie_against_a_preference_is_half_and_late_work_is_none(cast, make_pool):
    pool = make_pool(tasks=1, overlap=3)
    rank_by_number(cast.ben, pool, [1, 2, 3, 4])
    rank_by_number(cast.cho, pool, [1, 1, 1, 1])
    assert selectors.disagreements(pool)[0].agreement == 0.5
    Ranking.objects.filter(labeler=cast.cho.user).update(status="late")
    assert selectors.disagreements(pool) == []


def test_one_query_for_many_tasks(disputed, django_assert_max_num_queries):
    with django_assert_max_num_queries(4):
        selectors.disagreements(disputed)


# --- the decision ---------------------------------------------------------------------------------


def test_a_decision_is_stored_by_completion_and_changes_nothing_else(cast, disputed):
    task = worst(disputed)
    before = [
        list(model.objects.order_by("pk").values()) for model in (Ranking, RankedItem, Comparison)
    ]
    page = f"/review/disagreements/{task.pk}/"
    ranks = ranks_for(task, [2, 1, 1, 4])
    posted = {f"rank_{alias}": rank for alias, rank in ranks.items()} | {"reason": " Sources. "}
    answer = signed_in(cast.rob.user).post(page, posted)
    assert answer.status_code == 302, answer.content.decode()
    decision = Adjudication.objects.get()
    assert (decision.task, decision.reviewer, decision.reason) == (task, cast.rob.user, "Sources.")
    stored = dict(decision.items.values_list("completion__number", "rank"))
    assert stored == {0: 2, 1: 1, 2: 1, 3: 4}
    after = [
        list(model.objects.order_by("pk").values()) for model in (Ranking, RankedItem, Comparison)
    ]
    assert before == after
    assert [str(one.task.prompt) for one in selectors.disagreements(disputed)] == ["prompt 1"]


@pytest.mark.parametrize(
    ("change", "status"),
    [({"rank_A": ""}, 422), ({"rank_A": "9"}, 422), ({"reason": " "}, 422), ({"rank_A": "x"}, 422)],
)
def test_a_half_decision_is_refused_and_keeps_what_was_typed(cast, disputed, change, status):
    task = worst(disputed)
    posted = {f"rank_{alias}": "1" for alias in "ABCD"} | {"reason": "typed-reason"} | change
    answer = signed_in(cast.rob.user).post(f"/review/disagreements/{task.pk}/", posted)
    assert answer.status_code == status
    html = answer.content.decode()
    assert "field-error" in html
    assert ("typed-reason" in html) == ("reason" not in change)
    assert not Adjudication.objects.exists()


def test_it_is_decided_once(cast, disputed):
    task = worst(disputed)
    ranks = ranks_for(task, [1, 2, 3, 4])
    services.adjudicate(cast.rob.user, task.pk, ranks=ranks, reason="so")
    with pytest.raises(AlreadyAdjudicated):
        services.adjudicate(cast.ada.user, task.pk, ranks=ranks, reason="not so")
    with pytest.raises(IntegrityError), transaction.atomic():
        Adjudication.objects.create(task=task, reviewer=cast.ada.user, reason="x")


@pytest.mark.parametrize("rank", [0, 10])
def test_the_database_refuses_a_rank_that_is_none(cast, disputed, rank):
    task = worst(disputed)
    decision = Adjudication.objects.create(task=task, reviewer=cast.rob.user, reason="x")
    completion = task.completions.first()
    with pytest.raises(IntegrityError), transaction.atomic():
        AdjudicatedItem.objects.create(adjudication=decision, completion=completion, rank=rank)


def test_nobody_decides_on_their_own_ranking(cast, make_pool):
    pool = make_pool(tasks=1, overlap=2)
    rank_by_number(cast.rob, pool, [1, 2, 3, 4])
    rank_by_number(cast.ben, pool, [4, 3, 2, 1])
    task = worst(pool)
    refused = cast.rob.post(
        f"tasks/{task.pk}/adjudication/",
        {"ranks": ranks_for(task, [1, 2, 3, 4]), "reason": "mine"},
    )
    assert (refused.status_code, error_code(refused)) == (403, "own_ranking")
    html = signed_in(cast.rob.user).get(f"/review/disagreements/{task.pk}/").content.decode()
    assert "another reviewer must decide" in html
    assert 'name="rank_A"' not in html


@pytest.mark.django_db(transaction=True)
def test_of_two_who_decide_at_once_one_is_told(cast, make_pool):
    pool = make_pool(tasks=1, overlap=2)
    rank_by_number(cast.ben, pool, [1, 2, 3, 4])
    rank_by_number(cast.cho, pool, [4, 3, 2, 1])
    task = worst(pool)
    ranks = ranks_for(task, [1, 2, 3, 4])
    together = threading.Barrier(2)
    outcomes: list[str] = []

    def decide(reviewer: User) -> None:
        together.wait()
        try:
            services.adjudicate(reviewer, task.pk, ranks=ranks, reason="so")
            outcomes.append("stored")
        except LabelingError as error:
            outcomes.append(error.code)
        finally:
            connection.close()

    threads = [threading.Thread(target=decide, args=[u]) for u in (cast.rob.user, cast.ada.user)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["already_adjudicated", "stored"]


# --- fairness and blindness -----------------------------------------------------------------------


def test_names_come_out_only_when_it_is_decided(cast, disputed):
    task = worst(disputed)
    reviewer = signed_in(cast.rob.user)
    page = f"/review/disagreements/{task.pk}/"
    html = reviewer.get(page).content.decode()
    assert "Labeler 1" in html
    assert "Labeler 2" in html
    assert "bens-note" in html
    for hidden in (">ben<", ">cho<", "model-0", "model-3"):
        assert hidden not in html
    api = cast.rob.get(f"tasks/{task.pk}/adjudication/").json()
    assert {one["name"] for one in api["labelers"]} == {"1", "2"}
    assert "model-" not in json.dumps(api)
    services.adjudicate(
        cast.rob.user, task.pk, ranks=ranks_for(task, [1, 2, 3, 4]), reason="because"
    )
    html = reviewer.get(page).content.decode()
    assert ">ben<" in html
    assert "because" in html
    assert 'name="rank_A"' not in html


def test_the_order_tells_neither_which_model_nor_who_was_first(cast, make_pool):
    pool = make_pool(tasks=12, overlap=2)
    for _ in range(12):
        rank_by_number(cast.ben, pool, [1, 2, 3, 4])
        rank_by_number(cast.cho, pool, [4, 3, 2, 1])
    cases = [selectors.case_of(task.pk) for task in Task.objects.all()]
    assert len({case.completions[0][1].number for case in cases}) > 1
    first = [
        next(rank for _, one in case.completions for rank in [case.voices[0].items[one.pk].rank])
        for case in cases
    ]
    assert len(set(first)) > 1
    assert selectors.case_of(cases[0].task.pk).completions == cases[0].completions


@pytest.mark.parametrize("path", ["", "{task}/"])
def test_labelers_see_none_of_it(cast, disputed, path):
    task = worst(disputed)
    page = "/review/disagreements/" + path.format(task=task.pk)
    assert signed_in(cast.ben.user).get(page).status_code == 403
    if path:
        assert signed_in(cast.ben.user).post(page, {}).status_code == 403
    for address in (f"pools/{disputed.pk}/disagreements/", f"tasks/{task.pk}/adjudication/"):
        assert cast.ben.get(address).status_code == 403
    for quality in ("/quality/", f"/pools/{disputed.pk}/quality/"):
        assert signed_in(cast.ben.user).get(quality).status_code == 403


def test_a_task_that_one_labeler_ranked_is_no_case(cast, make_pool):
    pool = make_pool(tasks=1, overlap=2)
    rank_by_number(cast.ben, pool, [1, 2, 3, 4])
    task = Task.objects.get()
    assert cast.rob.get(f"tasks/{task.pk}/adjudication/").status_code == 404
    assert signed_in(cast.rob.user).get(f"/review/disagreements/{task.pk}/").status_code == 404
    assert cast.rob.get("tasks/999999/adjudication/").status_code == 404


# --- API and export -------------------------------------------------------------------------------


def test_a_program_decides_over_the_api(cast, disputed):
    (first, _) = cast.rob.get(f"pools/{disputed.pk}/disagreements/").json()
    assert first["agreement"] == 0
    path = f"tasks/{first['task']}/adjudication/"
    assert error_code(cast.rob.post(path, {"ranks": {"A": 1}, "reason": "x"})) == (
        "missing_completion"
    )
    body = {"ranks": {"A": 1, "B": 2, "C": 2, "D": 4}, "reason": "read the sources"}
    answer = cast.rob.post(path, body)
    assert answer.status_code == 201
    assert answer.json()["adjudication"]["ranks"] == body["ranks"]
    assert error_code(cast.ada.post(path, body)) == "already_adjudicated"


def exported(cast, pool, kind: str, **query: str) -> list[dict]:
    answer = cast.rob.get(f"pools/{pool.pk}/export/", kind=kind, **query)
    assert answer.status_code == 200
    return [json.loads(one) for one in answer.getvalue().decode().splitlines()]


def test_adjudications_are_exported_apart(cast, disputed):
    rankings = exported(cast, disputed, "rankings")
    task = worst(disputed)
    services.adjudicate(
        cast.rob.user, task.pk, ranks=ranks_for(task, [2, 1, 3, 4]), reason="sources"
    )
    assert exported(cast, disputed, "rankings") == rankings
    (row,) = exported(cast, disputed, "adjudications")
    assert {c["number"]: c["rank"] for c in row["completions"]} == {0: 2, 1: 1, 2: 3, 3: 4}
    assert (row["task"], row["reviewer"], row["reason"]) == (task.pk, "rob", "sources")
    refused = cast.rob.get(f"pools/{disputed.pk}/export/", kind="adjudications", format="trl")
    assert refused.status_code == 400
    parquet = cast.rob.get(f"pools/{disputed.pk}/export/", kind="adjudications", format="parquet")
    assert parquet.getvalue().startswith(b"PAR1")


def test_the_pages_of_reviewers_open(cast, disputed, client: Client):
    reviewer = signed_in(cast.rob.user)
    html = reviewer.get("/review/disagreements/").content.decode()
    assert "prompt 2" in html
    assert "prompt 0" not in html
    assert "prompt 2" in reviewer.get(f"/review/disagreements/?pool={disputed.pk}").content.decode()
    for odd in ("x", "²", "9" * 40):
        assert reviewer.get("/review/disagreements/", {"pool": odd}).status_code == 200
    assert reviewer.get("/quality/").status_code == 200


def test_admin_pages_open(cast, disputed):
    task = worst(disputed)
    services.adjudicate(cast.rob.user, task.pk, ranks=ranks_for(task, [1, 2, 3, 4]), reason="so")
    report = services.request_quality(disputed)
    admin = signed_in(cast.ada.user)
    decision = Adjudication.objects.get()
    for path in (
        "qualityreport/", f"qualityreport/{report.pk}/change/", "adjudication/",
        f"adjudication/{decision.pk}/change/", "topic/", "topic/add/", "prompt/",
        f"prompt/{task.prompt_id}/change/",
    ):  # fmt: skip
        assert admin.get(f"/admin/labeling/{path}").status_code == 200, path


def test_an_admin_says_what_a_prompt_is_about(cast, disputed):
    task = worst(disputed)
    admin: Client = signed_in(cast.ada.user)
    page = f"/admin/labeling/prompt/{task.prompt_id}/topics/"
    topic, _ = Topic.objects.get_or_create(name="hate", defaults={"label": "Hate"})
    assert admin.get(page).status_code == 200
    assert admin.post(page, {"topics": [topic.pk]}).status_code == 302
    assert list(task.prompt.topics.all()) == [topic]
    assert admin.post(page, {}).status_code == 302
    assert not task.prompt.topics.exists()
