"""The labeling pages as a browser without JavaScript meets them."""

from __future__ import annotations

import re
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django import forms
from django.db.models.functions import Now
from django.test import Client
from pytest_django.asserts import assertHTMLEqual

from labeling import services
from labeling.models import Assignment, Pool, RankedItem, Ranking, Slot, User
from labeling.templatetags.podium import as_input
from tests.browser.world import ANSWERS, HOSTILE, PASSWORD, make_labeler, make_pool

pytestmark = pytest.mark.django_db


@pytest.fixture
def mina() -> User:
    return make_labeler()


@pytest.fixture
def browser_of_mina(mina: User) -> Client:
    client = Client(enforce_csrf_checks=False)
    client.force_login(mina)
    return client


def open_task(client: Client) -> tuple[str, str]:
    """Lease a task through the pages: its address and its HTML."""
    response = client.get("/rank/", follow=True)
    assert response.status_code == 200
    return response.redirect_chain[-1][0], response.content.decode()


def hidden(html: str, name: str) -> str:
    match = re.search(rf'name="{name}" value="([^"]+)"', html)
    assert match is not None
    return match[1]


def filled(html: str, ranks: str = "1234", **more: Any) -> dict[str, Any]:
    """The form as posted, with ``ranks`` for A, B, C, D; a blank leaves one out."""
    data = {f"rank_{alias}": rank.strip() for alias, rank in zip("ABCD", ranks, strict=True)}
    tokens = {name: hidden(html, name) for name in ("lease_token", "submission_id")}
    return {**data, **tokens, "note": "", **more}


NOBODYS = "00000000-0000-4000-8000-000000000000"


def end_leases() -> None:
    Slot.objects.filter(state="leased").update(lease_until=Now() - timedelta(seconds=1))


# --- who may come in ------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/rank/", "/pools/1/rank/", f"/assignments/{NOBODYS}/"])
def test_pages_ask_strangers_to_sign_in(client: Client, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 302
    assert response["Location"].startswith("/login/?next=")


def test_signing_in_leads_on_to_the_page_asked_for(client: Client, mina: User) -> None:
    data = {"username": mina.username, "password": PASSWORD, "next": "/rank/"}
    assert client.post("/login/", data)["Location"] == "/rank/"


def test_a_wrong_password_is_told_beside_the_form(client: Client, mina: User) -> None:
    response = client.post("/login/", {"username": mina.username, "password": "wrong"})
    assert response.status_code == 200
    assert 'role="alert"' in response.content.decode()


def test_somebody_elses_assignment_does_not_exist(browser_of_mina: Client) -> None:
    pool = make_pool(ANSWERS)
    foreign = services.lease_next(make_labeler("noah"), pool=pool)
    assert foreign is not None
    assert browser_of_mina.get(f"/assignments/{foreign.pk}/").status_code == 404
    assert browser_of_mina.post(f"/assignments/{foreign.pk}/", {}).status_code == 404
    assert browser_of_mina.post(f"/assignments/{foreign.pk}/skip/", {}).status_code == 404


def test_forms_need_the_csrf_token(mina: User) -> None:
    make_pool(ANSWERS)
    client = Client(enforce_csrf_checks=True)
    client.force_login(mina)
    address, html = open_task(client)
    response = client.post(address, filled(html))
    assert response.status_code == 403
    assert "gone stale" in response.content.decode()
    assert not Ranking.objects.exists()


@pytest.mark.parametrize("path", ["/rank/", "/logout/", "/assignments/{id}/skip/"])
def test_pages_refuse_other_methods(browser_of_mina: Client, path: str) -> None:
    wrong = browser_of_mina.post if path == "/rank/" else browser_of_mina.get
    assert wrong(path.replace("{id}", str(uuid.uuid4()))).status_code == 405


# --- home -----------------------------------------------------------------------------------------


def test_home_shows_open_pools_and_progress(browser_of_mina: Client) -> None:
    make_pool(ANSWERS, ANSWERS[::-1], name="Support")
    make_pool(ANSWERS, name="Closed")
    Pool.objects.filter(name="Closed").update(is_open=False)
    html = browser_of_mina.get("/").content.decode()
    assert "Start ranking" in html
    assert "0 of 2 rankings done" in html
    assert "Closed" not in html
    assert "/admin/" not in html


def test_home_offers_the_task_in_hand(browser_of_mina: Client) -> None:
    make_pool(ANSWERS)
    open_task(browser_of_mina)
    assert "Continue ranking" in browser_of_mina.get("/").content.decode()


def test_home_of_an_admin_links_to_the_admin(client: Client) -> None:
    client.force_login(make_labeler("ada", role="admin"))
    assert "/admin/" in client.get("/").content.decode()


# --- ranking --------------------------------------------------------------------------------------


def test_asking_again_gives_the_same_task(browser_of_mina: Client) -> None:
    make_pool(ANSWERS, ANSWERS[::-1])
    assert open_task(browser_of_mina)[0] == open_task(browser_of_mina)[0]
    assert Assignment.objects.count() == 1


def test_nothing_to_rank_is_said_in_words(browser_of_mina: Client) -> None:
    pool = make_pool(ANSWERS)
    services.lease_next(make_labeler("noah"))
    for path in ["/rank/", f"/pools/{pool.pk}/rank/"]:
        assert "Nothing to rank right now" in browser_of_mina.get(path).content.decode()
    assert browser_of_mina.get("/pools/999/rank/").status_code == 404


def test_page_shows_the_task_and_ranks_nothing_beforehand(browser_of_mina: Client) -> None:
    make_pool(ANSWERS, guidelines="Truth comes first.")
    _, html = open_task(browser_of_mina)
    assert all(answer in html for answer in ANSWERS)
    assert "Prompt 1" in html
    assert "Truth comes first." in html
    assert " selected" not in html.replace('<option value="" selected', "")
    assert " checked" not in html


def test_page_tells_nothing_about_models_or_keys(browser_of_mina: Client) -> None:
    pool = make_pool(ANSWERS)
    task = pool.prompts.get().tasks.get()
    task.completions.update(model="canary-model", seed=424242, template_sha256="canary-hash")
    address, html = open_task(browser_of_mina)
    assert "canary" not in html
    assert "424242" not in html
    assert f"/{task.pk}/" not in address


def test_plain_form_stores_a_ranking_with_ties(browser_of_mina: Client) -> None:
    make_pool(ANSWERS)
    address, html = open_task(browser_of_mina)
    data = filled(html, "2124", quality_A="7", flags_B=["hallucination"], note="Close call.")
    response = browser_of_mina.post(address, data, follow=True)
    assert "Ranking saved" in response.content.decode()
    ranking = Ranking.objects.get()
    assert (ranking.status, ranking.note) == ("counted", "Close call.")
    assert sorted(ranking.items.values_list("rank", flat=True)) == [1, 2, 2, 4]
    assert RankedItem.objects.get(quality=7).rank == 2
    assert RankedItem.objects.get(flags=["hallucination"]).rank == 1


def test_posting_twice_stores_one_ranking(browser_of_mina: Client) -> None:
    make_pool(ANSWERS)
    address, html = open_task(browser_of_mina)
    data = filled(html)
    assert browser_of_mina.post(address, data).status_code == 302
    assert browser_of_mina.post(address, data).status_code == 302
    assert Ranking.objects.count() == 1


def test_another_ranking_after_the_first_is_refused_in_words(browser_of_mina: Client) -> None:
    make_pool(ANSWERS)
    address, html = open_task(browser_of_mina)
    browser_of_mina.post(address, filled(html))
    response = browser_of_mina.post(address, filled(html, "4321"), follow=True)
    assert "already used with another content" in response.content.decode()
    response = browser_of_mina.get(address, follow=True)
    assert response.redirect_chain[-1][0].startswith("/rankings/"), "there it can be changed"
    services.change_pool(Pool.objects.get(), edit_minutes=0)
    response = browser_of_mina.get(address, follow=True)
    assert "already submitted or skipped" in response.content.decode()


def test_a_missing_rank_is_told_beside_the_answer_and_nothing_is_lost(
    browser_of_mina: Client,
) -> None:
    make_pool(ANSWERS)
    address, html = open_task(browser_of_mina)
    data = filled(html, "12 4", quality_B="3", note="<b>typed</b>")
    response = browser_of_mina.post(address, data)
    page = response.content.decode()
    assert response.status_code == 422
    assert page.count("This answer still needs a rank.") == 1
    assert "Nothing you entered is lost" in page
    assert "&lt;b&gt;typed&lt;/b&gt;</textarea>" in page
    assert page.count(" checked") == 1
    assert hidden(page, "submission_id") == data["submission_id"]
    assert not Ranking.objects.exists()


@pytest.mark.parametrize("rank", ["0", "5", "x", "1.5", "-1"])
def test_a_rank_outside_the_board_is_refused(browser_of_mina: Client, rank: str) -> None:
    make_pool(ANSWERS)
    address, html = open_task(browser_of_mina)
    response = browser_of_mina.post(address, filled(html) | {"rank_A": rank})
    assert response.status_code == 422
    assert not Ranking.objects.exists()


def test_a_refusal_of_the_service_is_shown_with_what_was_typed(browser_of_mina: Client) -> None:
    make_pool(ANSWERS)
    address, html = open_task(browser_of_mina)
    data = filled(html, lease_token=str(uuid.uuid4()), note="typed")
    response = browser_of_mina.post(address, data)
    assert response.status_code == 409
    assert "lease token does not belong" in response.content.decode()
    assert "typed</textarea>" in response.content.decode()


def test_a_draft_fills_the_form(browser_of_mina: Client, mina: User) -> None:
    make_pool(ANSWERS)
    open_task(browser_of_mina)
    assignment = Assignment.objects.get()
    draft = {
        "ranks": {"A": 2},
        "ratings": {"B": 6},
        "flags": {"C": ["hallucination"]},
        "note": "so far",
    }
    services.save_draft(mina, assignment.pk, lease_token=assignment.lease_token, draft=draft)
    _, html = open_task(browser_of_mina)
    assert '<option value="2" selected' in html
    assert html.count(" checked") == 2
    assert "so far</textarea>" in html


@pytest.mark.parametrize(
    "draft", [{"ranks": [1], "flags": "x"}, {"ranks": {"Z": 1, "A": None}, "note": None}, {}]
)
def test_an_odd_draft_breaks_no_page(
    browser_of_mina: Client, mina: User, draft: dict[str, Any]
) -> None:
    make_pool(ANSWERS)
    open_task(browser_of_mina)
    assignment = Assignment.objects.get()
    services.save_draft(mina, assignment.pk, lease_token=assignment.lease_token, draft=draft)
    assert "The first answer." in open_task(browser_of_mina)[1]


def test_an_ended_lease_is_taken_anew_on_submit(browser_of_mina: Client) -> None:
    make_pool(ANSWERS)
    address, html = open_task(browser_of_mina)
    end_leases()
    browser_of_mina.post(address, filled(html))
    assert Ranking.objects.get().status == "counted"


def test_late_work_is_kept_and_told_kindly(browser_of_mina: Client) -> None:
    make_pool(ANSWERS)
    address, html = open_task(browser_of_mina)
    end_leases()
    services.lease_next(make_labeler("noah"))
    response = browser_of_mina.post(address, filled(html), follow=True)
    assert "kept for the reviewers" in response.content.decode()
    assert Ranking.objects.get().status == "late"


# --- skipping -------------------------------------------------------------------------------------


def test_skipping_gives_the_task_back_with_the_reason(browser_of_mina: Client) -> None:
    make_pool(ANSWERS)
    address, html = open_task(browser_of_mina)
    data = {
        "lease_token": hidden(html, "lease_token"),
        "reason": "Another reason",
        "detail": "It is in Welsh.",
    }
    response = browser_of_mina.post(f"{address}skip/", data, follow=True)
    assert "Skipped." in response.content.decode()
    assert Assignment.objects.get().skip_reason == "Another reason: It is in Welsh."
    assert Slot.objects.get().state == "free"


@pytest.mark.parametrize("change", [{"reason": ""}, {"lease_token": NOBODYS}])
def test_a_skip_that_is_refused_says_why(browser_of_mina: Client, change: dict[str, str]) -> None:
    make_pool(ANSWERS)
    address, html = open_task(browser_of_mina)
    data = {"lease_token": hidden(html, "lease_token"), "reason": "Another reason"} | change
    response = browser_of_mina.post(f"{address}skip/", data, follow=True)
    assert "message-warning" in response.content.decode()
    assert Assignment.objects.get().state == "open"


# --- hostile text and faults ----------------------------------------------------------------------


def test_hostile_text_is_escaped_everywhere(browser_of_mina: Client) -> None:
    make_pool(HOSTILE, name="<i>Pool</i>", guidelines="<img src=x>")
    html = open_task(browser_of_mina)[1] + browser_of_mina.get("/").content.decode()
    for markup in ["<script>document", "<img", "<iframe", "<style>", "<i>", "onload=alert(1)>"]:
        assert markup not in html
    assert "&lt;script&gt;document" in html
    assert "\u202e" not in html
    assert "\x1b" not in html


def test_a_very_long_answer_folds_and_is_all_there(browser_of_mina: Client) -> None:
    make_pool([*ANSWERS[:3], "word " * 30_000])
    html = open_task(browser_of_mina)[1]
    assert "Show the other 130000 characters" in html
    assert html.count("word ") >= 30_000


def test_white_space_of_an_answer_is_kept(browser_of_mina: Client) -> None:
    make_pool([*ANSWERS[:3], "\n  indented\n\n\ttabbed  "])
    assert 'class="plain">\n  indented\n\n\ttabbed  </div>' in open_task(browser_of_mina)[1]


def test_the_policy_forbids_all_that_is_not_ours(client: Client) -> None:
    for path in ["/login/", "/nowhere/"]:
        policy = client.get(path)["Content-Security-Policy"]
        for part in ["default-src 'none'", "script-src 'self'", "form-action 'self'"]:
            assert part in policy
        assert "unsafe" not in policy


def test_pages_carry_no_inline_script_or_style(browser_of_mina: Client) -> None:
    make_pool(ANSWERS)
    html = open_task(browser_of_mina)[1]
    assert not re.search(r"<script(?![^>]*\ssrc=)", html)
    assert not re.search(r"<style|\sstyle=|\son\w+=", html)


def test_unknown_addresses_get_a_page_of_ours(client: Client) -> None:
    response = client.get("/nowhere/")
    assert response.status_code == 404
    assert "There is nothing here" in response.content.decode()


def test_a_fault_of_ours_gets_a_page_without_details(
    browser_of_mina: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: object, **_options: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr("labeling.selectors.pools_for", fail)
    browser_of_mina.raise_request_exception = False
    response = browser_of_mina.get("/")
    assert response.status_code == 500
    assert "Something broke on our side" in response.content.decode()
    assert "secret detail" not in response.content.decode()


@pytest.mark.parametrize(("cookie", "shown"), [("dark", "dark"), ("light", "light"), ('"><b>', "")])
def test_the_chosen_theme_is_in_the_page(client: Client, cookie: str, shown: str) -> None:
    client.cookies["theme"] = cookie
    assert f'data-theme="{shown}"' in client.get("/login/").content.decode()


def test_inputs_are_those_that_django_writes() -> None:
    class Choices(forms.Form):
        hostile = '"><script>&'
        one = forms.ChoiceField(widget=forms.RadioSelect, choices=[(hostile, "a"), ("2", "b")])
        some = forms.MultipleChoiceField(
            widget=forms.CheckboxSelectMultiple(attrs={"data-kind": hostile}),
            choices=[("rude", "a"), ("off", "b")],
            required=False,
        )

    for form in (Choices(), Choices({"one": "2", "some": ["rude", "off"]})):
        options = [option for name in form.fields for option in form[name]]
        assert len(options) == 4
        for option in options:
            assertHTMLEqual(as_input(option), option.tag())
