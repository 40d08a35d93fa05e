"""Guidelines and rubrics by version: who made which, what was read, what a ranking had."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from labeling import services
from labeling.errors import VersionConflict
from labeling.models import Assignment, GuidelineReading, Pool, RankedItem, Ranking
from tests.conftest import Cast, error_code, submission, submit, take

pytestmark = pytest.mark.django_db
HOSTILE = "<script>alert(1)</script> [x](javascript:alert(1))\nBe kind."


def signed_in(who: Any) -> Client:
    client = Client()
    client.force_login(who.user)
    return client


@pytest.fixture
def ben(cast: Cast) -> Client:
    return signed_in(cast.ben)


@pytest.fixture
def studio(cast: Cast) -> Client:
    return signed_in(cast.ada)


@pytest.fixture
def told(make_pool: Callable[..., Pool]) -> Pool:
    return make_pool(tasks=3, guidelines="Truth first.\nBe kind.")


def html_of(client: Client, address: str) -> str:
    answer = client.get(address, follow=True)
    assert answer.status_code == 200
    return answer.content.decode()


def read_it(client: Client, pool: Pool, version: int, **more: str) -> Any:
    address = reverse("labeling:guidelines_read", args=[pool.pk])
    return client.post(address, {"version": version, **more})


# --- guidelines -----------------------------------------------------------------------------------


def test_a_labeler_is_asked_to_read_the_guidelines_until_the_server_knows(
    cast: Cast, ben: Client, told: Pool
) -> None:
    address = f"/pools/{told.pk}/rank/"
    assert "I have read it" in html_of(ben, address)
    page = ben.get(address)["Location"]
    assert read_it(ben, told, 1, next=page)["Location"] == page
    # Another browser of the same labeler knows it too; another labeler does not.
    assert "I have read it" not in html_of(signed_in(cast.ben), address)
    assert "I have read it" in html_of(signed_in(cast.cho), address)
    read_it(ben, told, 1)
    assert GuidelineReading.objects.count() == 1


def test_a_newer_version_is_shown_as_a_change_against_the_one_read_last(
    cast: Cast, ben: Client, told: Pool
) -> None:
    read_it(ben, told, 1)
    services.revise_guidelines(told, "Truth comes first.\nBe kind.")
    services.revise_guidelines(told, "Truth always comes first.\nBe kind.")
    html = html_of(ben, f"/pools/{told.pk}/rank/")
    news = html[html.index('class="news"') : html.index("I have read it")]
    assert "version 3" in news
    assert "Against version 1" in news
    # Against the version read, not against the one before: both new words are marked.
    assert re.search(r"<ins>always comes\s*</ins>", news)
    # Not by colour alone: a sign, and words for who hears the page.
    assert "change-sign" in news
    assert "Now:" in news
    assert "Before:" in news


def test_the_change_is_the_one_to_the_version_that_the_task_was_handed_out_under(
    cast: Cast, ben: Client, told: Pool
) -> None:
    read_it(ben, told, 1)
    task = take(cast.ben, told)
    services.revise_guidelines(told, "Something else.")
    assert "I have read it" not in html_of(ben, f"/assignments/{task['assignment']}/")


def test_guidelines_on_the_page_are_rendered_through_the_gate(
    cast: Cast, ben: Client, make_pool: Callable[..., Pool]
) -> None:
    pool = make_pool(tasks=1, guidelines=HOSTILE)
    html = html_of(ben, f"/pools/{pool.pk}/guidelines/")
    assert "<script>alert" not in html
    assert 'href="javascript' not in html
    services.revise_guidelines(pool, HOSTILE + "<img src=x onerror=alert(1)>")
    html = html_of(ben, f"/pools/{pool.pk}/guidelines/?version=2")
    assert "<img" not in html
    assert "<script>alert" not in html


def test_the_guidelines_page_has_every_version(cast: Cast, ben: Client, told: Pool) -> None:
    services.revise_guidelines(told, "Truth first.\nBe brief.", author=cast.ada.user)
    address = f"/pools/{told.pk}/guidelines/"
    latest, first = html_of(ben, address), html_of(ben, f"{address}?version=1")
    assert "Be brief." in latest
    assert "Be kind." in first
    assert "What changed since version 1" in latest
    assert "What changed" not in first
    # Who wrote them is for reviewers.
    assert "ada" not in latest
    assert "ada" in html_of(signed_in(cast.rob), address)
    for wrong in ["99", "x", "-1", "9" * 30]:
        assert ben.get(f"{address}?version={wrong}").status_code == 404


def test_a_closed_pools_guidelines_are_for_reviewers(cast: Cast, ben: Client, told: Pool) -> None:
    services.change_pool(told, is_open=False)
    address = f"/pools/{told.pk}/guidelines/"
    assert ben.get(address).status_code == 404
    assert signed_in(cast.rob).get(address).status_code == 200
    assert Client().get(address).status_code == 302


def test_having_read_leads_back_to_this_site_only(ben: Client, told: Pool) -> None:
    back = read_it(ben, told, 1, next="https://evil.example/")["Location"]
    assert back == f"/pools/{told.pk}/guidelines/"


def test_an_admin_previews_and_publishes_guidelines(cast: Cast, studio: Client, told: Pool) -> None:
    address = reverse("admin:labeling_pool_guidelines", args=[told.pk])
    body = {"based_on": 1, "text": "**Truth** first.\r\nBe brief."}
    preview = studio.post(address, {**body, "preview": "1"})
    assert "<strong>Truth</strong>" in preview.content.decode()
    assert "change-removed" in preview.content.decode()
    assert told.guideline_versions.count() == 1
    assert studio.post(address, body).status_code == 302
    version = told.guideline_versions.latest("number")
    assert (version.number, version.text) == (2, "**Truth** first.\nBe brief.")
    assert version.author == cast.ada.user
    history = html_of(studio, address)
    assert "Version 2" in history
    assert "Version 1" in history
    assert "ada" in history


def test_two_admins_at_once_do_not_overwrite_each_other(
    cast: Cast, studio: Client, told: Pool
) -> None:
    services.revise_guidelines(told, "Meanwhile.")
    address = reverse("admin:labeling_pool_guidelines", args=[told.pk])
    answer = studio.post(address, {"based_on": 1, "text": "My long text."})
    assert answer.status_code == 422
    assert "My long text." in answer.content.decode()
    assert told.guideline_versions.count() == 2
    with pytest.raises(VersionConflict):
        services.revise_rubric(told, flags("new", "Is new"), based_on=7)


# --- rubrics --------------------------------------------------------------------------------------


def flags(*pairs: str) -> dict[str, Any]:
    listed = [{"name": n, "label": t} for n, t in zip(pairs[::2], pairs[1::2], strict=True)]
    return {"quality": {"low": 1, "high": 5}, "flags": listed}


def test_a_new_pool_has_the_first_version_of_its_rubric(cast: Cast, told: Pool) -> None:
    version = told.rubric_versions.get()
    assert (version.number, version.rubric) == (1, told.rubric)


def test_a_ranking_is_asked_and_checked_by_the_rubric_it_was_handed_out_with(
    cast: Cast, told: Pool
) -> None:
    services.revise_rubric(told, flags("off_topic", "Is off the topic"))
    task = take(cast.ben, told)
    assert task["rubric"] == flags("off_topic", "Is off the topic")
    services.revise_rubric(told, flags("wrong", "Is wrong"))
    # The page was open: what it asked is what it may answer, and nothing else.
    wrong = submission(task, flags={"A": ["wrong"]})
    assert error_code(submit(cast.ben, task, wrong)) == "invalid_rubric"
    too_high = submission(task, ratings={"A": 6})
    assert error_code(submit(cast.ben, task, too_high)) == "invalid_rubric"
    given = submission(task, flags={"A": ["off_topic"]}, ratings={"A": 5})
    assert submit(cast.ben, task, given).status_code == 201
    assert RankedItem.objects.filter(flags=["off_topic"], quality=5).count() == 1
    assert Assignment.objects.get().rubric_version.number == 2
    # The next task is asked by the rubric of now.
    assert take(cast.ben, told)["rubric"] == flags("wrong", "Is wrong")


def test_the_page_of_an_open_task_shows_its_own_rubric(cast: Cast, ben: Client, told: Pool) -> None:
    services.revise_rubric(told, flags("off_topic", "Is off the topic"))
    page = ben.get(f"/pools/{told.pk}/rank/")["Location"]
    services.revise_rubric(told, flags("wrong", "Is wrong"))
    html = html_of(ben, page)
    assert "Is off the topic" in html
    assert "Is wrong" not in html


def rubric_body(based_on: int, *rows: tuple[Any, str, str], **more: Any) -> dict[str, Any]:
    body: dict[str, Any] = {"based_on": based_on, "rows": len(rows), "low": 1, "high": 7, **more}
    for number, (place, name, label) in enumerate(rows):
        body |= {f"place_{number}": place, f"name_{number}": name, f"label_{number}": label}
    return body


def test_an_admin_edits_the_rubric_by_rows(cast: Cast, studio: Client, told: Pool) -> None:
    address = reverse("admin:labeling_pool_rubric", args=[told.pk])
    assert 'value="hallucination"' in html_of(studio, address)
    rows = [(2, "wrong", "Is wrong"), (1, "off_topic", "Is off"), ("", "", "")]
    assert studio.post(address, rubric_body(1, *rows, high=5)).status_code == 302
    told.refresh_from_db()
    assert told.rubric == flags("off_topic", "Is off", "wrong", "Is wrong")
    version = told.rubric_versions.latest("number")
    assert (version.number, version.author) == (2, cast.ada.user)
    # The same again is no new version.
    studio.post(address, rubric_body(2, *rows, high=5))
    assert told.rubric_versions.count() == 2


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([(1, "Off Topic", "Is off")], "is no name"),
        ([(1, "", "Is off")], "not empty"),
        ([(1, "off", "Is off"), (2, "off", "Is on")], "same name"),
        ([(1, "hallucination", "Sees things")], ""),
    ],
)
def test_a_rubric_that_cannot_be_asked_is_refused_with_all_that_was_typed(
    studio: Client, told: Pool, rows: list[tuple[Any, str, str]], why: str
) -> None:
    address = reverse("admin:labeling_pool_rubric", args=[told.pk])
    answer = studio.post(address, rubric_body(1, *rows))
    # A present name may be worded anew; the others are refused.
    assert answer.status_code == (422 if why else 302)
    assert why in answer.content.decode()
    assert told.rubric_versions.count() == (1 if why else 2)


def test_the_api_tells_versions_and_takes_new_ones(cast: Cast, told: Pool) -> None:
    detail = cast.rob.get(f"pools/{told.pk}/").json()
    assert (detail["rubric_version"], detail["guidelines_version"]) == (1, 1)
    assert detail["rubric"] == told.rubric
    body = {"rubric": flags("wrong", "Is wrong"), "based_on": 1}
    made = cast.ada.post(f"pools/{told.pk}/rubric/", body)
    assert made.status_code == 201
    assert made.json()["version"] == 2
    late = {"rubric": flags("off", "Is off"), "based_on": 1}
    again = cast.ada.post(f"pools/{told.pk}/rubric/", late)
    assert (again.status_code, error_code(again)) == (409, "version_conflict")
    texts = cast.ada.post(f"pools/{told.pk}/guidelines/", {"text": "Anew."})
    assert (texts.status_code, texts.json()["author"]) == (201, "ada")
    assert [v["version"] for v in cast.rob.get(f"pools/{told.pk}/guidelines/").json()] == [2, 1]
    for path in ("rubric", "guidelines"):
        assert cast.ben.get(f"pools/{told.pk}/{path}/").status_code == 403
        assert cast.rob.post(f"pools/{told.pk}/{path}/", body).status_code == 403
    assert error_code(cast.ada.post(f"pools/{told.pk}/rubric/", {"rubric": 3})) == "invalid"


def test_rankings_from_before_there_were_versions_are_checked_by_the_pool(
    cast: Cast, told: Pool
) -> None:
    task = take(cast.ben, told)
    Assignment.objects.update(rubric_version=None)
    given = submission(task, flags={"A": ["hallucination"]})
    assert submit(cast.ben, task, given).status_code == 201
    assert Ranking.objects.count() == 1
