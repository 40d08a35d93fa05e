"""Qualifying in the browser, and the items that admins make for it."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from labeling import services
from labeling.models import Pool, Qualification, QualificationItem, Ranking, Task, Trial
from tests.conftest import Cast, as_lines, error_code, rank
from tests.labeling.qualifying import SECRET, answered, item, signed_in, state_of, with_items, work

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
