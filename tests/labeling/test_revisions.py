"""Changing one's own ranking while the pool allows it, and what is kept of the earlier one."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from django.db.models.functions import Now
from django.test import Client

from labeling import selectors, services
from labeling.models import Comparison, Ranking, Revision
from tests.conftest import error_code, rank, submission, submit, take

pytestmark = pytest.mark.django_db


@pytest.fixture
def ranked(cast, make_pool):
    """Ben's ranking A, B, C, D; its task and its first submission."""
    task = take(cast.ben, make_pool(tasks=1))
    body = submission(task, [1, 2, 3, 4], ratings={"A": 7}, note="first")
    assert submit(cast.ben, task, body).status_code == 201
    return task, body


def revision(ranks, **extra):
    return {
        "submission_id": str(uuid.uuid4()),
        "ranks": dict(zip("ABCD", ranks, strict=True)),
        **extra,
    }


def revise(labeler, body, ranking=None):
    ranking = ranking or Ranking.objects.get().pk
    return labeler.post(f"rankings/{ranking}/revise/", body)


def ranks_now():
    ranking = Ranking.objects.get()
    alias_of = {number: alias for alias, number in ranking.assignment.number_of_alias.items()}
    return {alias_of[i.completion.number]: i.rank for i in ranking.items.all()}


def test_the_newest_counts_and_the_earlier_one_is_kept(cast, ranked):
    before = {i.completion_id: i.rank for i in Ranking.objects.get().items.all()}
    answer = revise(cast.ben, revision([2, 1, 1, 4], ratings={"B": 6}, note="second"))
    assert answer.status_code == 200
    assert answer.json()["comparisons"] == 6
    assert ranks_now() == {"A": 2, "B": 1, "C": 1, "D": 4}
    ranking = Ranking.objects.get()
    assert (ranking.status, ranking.note) == ("counted", "second")
    assert ranking.revised_at is not None
    assert Comparison.objects.filter(preferred="tie").count() == 1
    kept = Revision.objects.get()
    assert (kept.number, kept.replaced_note) == (1, "first")
    assert {item["completion"]: item["rank"] for item in kept.replaced} == before
    assert [item["quality"] for item in kept.replaced if item["quality"]] == [7]
    revise(cast.ben, revision([4, 3, 2, 1]))
    assert [r.number for r in Revision.objects.all()] == [1, 2]


def test_exports_read_the_newest_alone(cast, ranked):
    revise(cast.ben, revision([4, 3, 2, 1]))
    rows = list(selectors.ranking_rows(selectors.counted_rankings()))
    assert [[c["rank"] for c in row["completions"]] for row in rows] == [[4, 3, 2, 1]]
    pairs = list(selectors.comparison_rows(selectors.counted_rankings()))
    assert len(pairs) == 6


def test_the_same_revision_again_gets_the_same_answer(cast, ranked):
    task, first = ranked
    body = revision([4, 3, 2, 1])
    answers = [revise(cast.ben, body).json() for _ in range(2)]
    assert answers[0] == answers[1]
    assert Revision.objects.count() == 1
    assert error_code(revise(cast.ben, {**body, "note": "other"})) == "submission_conflict"
    used = {**revision([1, 1, 1, 1]), "submission_id": first["submission_id"]}
    assert error_code(revise(cast.ben, used)) == "submission_conflict"
    # The first submission, sent once more by a page that never got its answer, changes nothing.
    assert submit(cast.ben, task, first).status_code == 201
    assert ranks_now() == {"A": 4, "B": 3, "C": 2, "D": 1}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"ranks": {"A": 1}}, "missing_completion"),
        ({"ranks": {"A": 1, "B": 2, "C": 3, "D": 9}}, "rank_out_of_range"),
        ({"ratings": {"A": 99}}, "invalid_rubric"),
        ({"note": "x" * 10_001}, "invalid"),
    ],
)
def test_a_refused_revision_changes_nothing(cast, ranked, change, code):
    assert error_code(revise(cast.ben, {**revision([4, 3, 2, 1]), **change})) == code
    assert ranks_now() == {"A": 1, "B": 2, "C": 3, "D": 4}
    assert Revision.objects.count() == 0


def test_the_pool_says_for_how_long(cast, ranked):
    ranking = Ranking.objects.get()
    pool = ranking.task.prompt.pool
    (row,) = cast.ben.get("rankings/").json()
    assert row["ranking"] == ranking.pk
    assert 0 < row["seconds_left"] <= pool.edit_minutes * 60
    Ranking.objects.update(created_at=Now() - timedelta(minutes=pool.edit_minutes, seconds=1))
    assert error_code(revise(cast.ben, revision([4, 3, 2, 1]))) == "edit_closed"
    services.change_pool(pool, edit_minutes=60)
    assert revise(cast.ben, revision([4, 3, 2, 1])).status_code == 200
    services.change_pool(pool, edit_minutes=0)
    assert error_code(revise(cast.ben, revision([1, 2, 3, 4]))) == "edit_closed"
    assert cast.ben.get("rankings/").json()[0]["seconds_left"] == 0


def test_nobody_sees_or_changes_somebody_elses(cast, ranked):
    assert cast.cho.get("rankings/").json() == []
    assert revise(cast.cho, revision([4, 3, 2, 1])).status_code == 404
    assert "model-" not in cast.ben.get("rankings/").content.decode()
    browser = Client()
    browser.force_login(cast.cho.user)
    assert browser.get(f"/rankings/{Ranking.objects.get().pk}/").status_code == 404


def test_admins_see_what_stood_there_before(cast, ranked):
    revise(cast.ben, revision([4, 3, 2, 1], note="second"))
    browser = Client()
    browser.force_login(cast.ada.user)
    page = browser.get(f"/admin/labeling/ranking/{Ranking.objects.get().pk}/change/")
    html = page.content.decode()
    assert "Version 1" in html
    assert "first" in html


def test_the_plain_form_changes_a_ranking(cast, ranked):
    browser = Client()
    browser.force_login(cast.ben.user)
    ranking = Ranking.objects.get()
    assert "Change" in browser.get("/rankings/").content.decode()
    page = browser.get(f"/rankings/{ranking.pk}/").content.decode()
    assert "Submit again" in page
    data = {f"rank_{alias}": n for alias, n in zip("ABCD", [2, 2, 1, 4], strict=True)}
    ids = {"lease_token": ranked[0]["lease_token"], "submission_id": str(uuid.uuid4())}
    answer = browser.post(f"/rankings/{ranking.pk}/", {**data, **ids, "note": "by form"})
    assert (answer.status_code, answer["Location"]) == (302, "/rankings/")
    assert ranks_now() == {"A": 2, "B": 2, "C": 1, "D": 4}
    short = browser.post(f"/rankings/{ranking.pk}/", {**ids, "rank_A": 1})
    assert short.status_code == 422


def test_a_ranking_that_came_late_cannot_be_changed(cast, make_pool):
    pool = make_pool(tasks=1)
    rank(cast.ben, pool)
    Ranking.objects.update(status="late")
    assert error_code(revise(cast.ben, revision([4, 3, 2, 1]))) == "edit_closed"
