"""What the page does when the lease ends, the network fails, or another tab was faster."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db.models.functions import Now
from playwright.sync_api import Page, Route, expect

from labeling import services
from labeling.models import Assignment, Ranking, Slot
from tests.browser.conftest import MESSAGES, Watched, painted
from tests.browser.world import ANSWERS, PASSWORD, make_labeler, make_pool

pytestmark = pytest.mark.django_db(transaction=True)

SignIn = Callable[..., Watched]
# What the browser holds of work that the server lacks.
KEPT = """() => Object.keys(localStorage).filter(
    key => key.startsWith('podium ') && localStorage[key] != '[]')"""


def place_all(page: Page) -> None:
    for key in "1234":
        page.keyboard.press(key)
    expect(page.locator("[data-save-state]")).to_have_text("Draft saved")


def end_leases() -> None:
    Slot.objects.filter(state="leased").update(lease_until=Now() - timedelta(seconds=1))


def kill(page: Page) -> None:
    """Leave as when the browser is killed: the page has no last word."""
    page.evaluate(
        """() => ['pagehide', 'visibilitychange'].forEach(
            kind => addEventListener(kind, event => event.stopImmediatePropagation(), true))"""
    )
    page.goto("about:blank")


def test_an_ended_lease_is_taken_anew_and_the_ranking_counts(sign_in: SignIn) -> None:
    make_pool(ANSWERS)
    watched = sign_in(make_labeler())
    page = watched.open("/rank/")
    place_all(page)
    end_leases()
    page.get_by_role("button", name="Submit").click()
    expect(page.locator(MESSAGES)).to_contain_text("Ranking saved")
    assert Ranking.objects.get().status == "counted"
    watched.forgive("409")


def test_late_work_is_kept_and_told_kindly(sign_in: SignIn) -> None:
    pool = make_pool(ANSWERS)
    watched = sign_in(make_labeler())
    page = watched.open("/rank/")
    place_all(page)
    end_leases()
    assert services.lease_next(make_labeler("noah"), pool=pool) is not None
    page.get_by_role("button", name="Submit").click()
    expect(page.locator(MESSAGES)).to_contain_text("kept for the reviewers")
    assert Ranking.objects.get().status == "late"
    watched.forgive("409")


def test_without_a_network_nothing_is_lost(sign_in: SignIn) -> None:
    """The submission waits in the browser, and goes by itself when the connection is back."""
    make_pool(ANSWERS)
    watched = sign_in(make_labeler())
    page = watched.open("/rank/")
    place_all(page)
    page.context.set_offline(True)
    page.get_by_label("Note").fill("written offline")
    expect(page.locator("[data-save-state]")).to_contain_text("No connection")
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_role("alert")).to_contain_text("Nothing is lost")
    page.context.set_offline(False)
    expect(page.locator(MESSAGES)).to_contain_text("Ranking saved")
    assert Ranking.objects.get().note == "written offline"
    watched.forgive("ERR_INTERNET_DISCONNECTED")


def test_what_was_placed_offline_outlives_the_page(sign_in: SignIn) -> None:
    """Closed without a connection and opened again: the copy in the browser becomes the draft."""
    make_pool(ANSWERS)
    watched = sign_in(make_labeler())
    page = watched.open("/rank/")
    page.keyboard.press("1")
    expect(page.locator("[data-save-state]")).to_have_text("Draft saved")
    page.context.set_offline(True)
    page.keyboard.press("3")
    page.get_by_label("Note").fill("on a train")
    expect(page.locator("[data-save-state]")).to_contain_text("No connection")
    kill(page)
    page.context.set_offline(False)
    watched.open("/rank/")
    expect(page.locator("[name=rank_B]")).to_have_value("3")
    expect(page.get_by_label("Note")).to_have_value("on a train")
    page.wait_for_function(f"() => ({KEPT})().length === 0")
    assert Assignment.objects.get().draft["note"] == "on a train"
    watched.forgive("ERR_INTERNET_DISCONNECTED")


def test_an_older_copy_gives_way_to_newer_work_from_elsewhere(sign_in: SignIn) -> None:
    make_pool(ANSWERS)
    watched = sign_in(make_labeler())
    page = watched.open("/rank/")
    page.context.set_offline(True)
    page.keyboard.press("1")
    expect(page.locator("[data-save-state]")).to_contain_text("No connection")
    newer = {"ranks": {"A": 4}, "at": page.evaluate("Date.now() + 60000")}
    kill(page)
    Assignment.objects.update(draft=newer)
    page.context.set_offline(False)
    watched.open("/rank/")
    expect(page.locator("[name=rank_A]")).to_have_value("4")
    assert Assignment.objects.get().draft == newer
    watched.forgive("ERR_INTERNET_DISCONNECTED")


def test_a_submission_made_offline_is_sent_by_the_next_page(sign_in: SignIn) -> None:
    make_pool(ANSWERS)
    watched = sign_in(make_labeler())
    page = watched.open("/rank/")
    place_all(page)
    page.route("**/submit/", lambda route: route.abort())
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("alert")).to_contain_text("Nothing is lost")
    assert not Ranking.objects.exists()
    page.unroute("**/submit/")
    page.reload()
    painted(page)
    expect(page.locator(MESSAGES)).to_contain_text("Ranking saved")
    assert Ranking.objects.count() == 1
    assert page.evaluate(KEPT) == []
    watched.forgive("ERR_FAILED")


def test_a_server_that_restarts_costs_nothing(sign_in: SignIn) -> None:
    """Connections that drop in the middle: of drafts, and of a submission that was stored."""
    make_pool(ANSWERS)
    watched = sign_in(make_labeler())
    page = watched.open("/rank/")
    answers: list[int] = []

    def stored_but_not_answered(route: Route) -> None:
        answers.append(route.fetch().status)
        route.abort("connectionreset")

    page.route("**/draft/", lambda route: route.abort("connectionrefused"))
    for key in "1234":
        page.keyboard.press(key)
    expect(page.locator("[data-save-state]")).to_contain_text("No connection")
    page.route("**/submit/", stored_but_not_answered, times=1)
    page.keyboard.press("Control+Enter")
    expect(page.locator(MESSAGES)).to_contain_text("Ranking saved", timeout=15_000)
    assert answers == [201]
    assert Ranking.objects.count() == 1
    watched.forgive("ERR_CONNECTION")


def test_a_second_tab_is_told_that_the_prompt_is_done(sign_in: SignIn) -> None:
    make_pool(ANSWERS)
    watched = sign_in(make_labeler())
    page = watched.open("/rank/")
    place_all(page)
    other = page.context.new_page()
    other.goto(page.url)
    painted(other).keyboard.press("Control+Enter")
    expect(other.locator(MESSAGES)).to_contain_text("Ranking saved")
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_role("alert")).to_contain_text("already submitted")
    expect(page.get_by_role("link", name="Next prompt")).to_be_visible()
    assert Ranking.objects.count() == 1
    watched.forgive("409")


def test_signed_out_meanwhile_is_told_and_mended_in_another_tab(sign_in: SignIn) -> None:
    make_pool(ANSWERS)
    watched = sign_in(make_labeler())
    page = watched.open("/rank/")
    place_all(page)
    page.context.clear_cookies()
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_role("alert")).to_contain_text("You are signed out")
    other = page.context.new_page()
    other.goto(watched.server + "/login/")
    other.get_by_label("Username").fill("mina")
    other.get_by_label("Password").fill(PASSWORD)
    other.get_by_role("button", name="Sign in").click()
    other.wait_for_url(watched.server + "/")
    # The submission was tried again meanwhile, and goes by itself.
    expect(page.locator(MESSAGES)).to_contain_text("Ranking saved", timeout=40_000)
    assert Ranking.objects.count() == 1
    watched.forgive("401")


def test_skip_gives_the_prompt_back(sign_in: SignIn) -> None:
    make_pool(ANSWERS)
    page = sign_in(make_labeler()).open("/rank/")
    page.get_by_text("Skip this prompt…").click()
    page.get_by_label("It is upsetting or harmful").check()
    page.get_by_role("button", name="Skip it").click()
    expect(page.locator(MESSAGES)).to_contain_text("Skipped")
    assert Slot.objects.get().state == "free"


def test_a_task_whose_lease_ran_out_while_it_was_held_is_not_swapped_in(sign_in: SignIn) -> None:
    """The server says what is the labeler's now: the next task comes by a page load."""
    make_pool(ANSWERS, ANSWERS[::-1])
    page = sign_in(make_labeler()).open("/rank/")
    expect(page.locator("[data-next-ready]")).to_be_attached()
    place_all(page)
    page.evaluate(
        "() => { window.same = true; const now = Date.now; Date.now = () => now() + 4e6; }"
    )
    page.keyboard.press("Control+Enter")
    expect(page.locator(MESSAGES)).to_contain_text("Ranking saved")
    painted(page)
    expect(page.locator("[data-progress]")).to_contain_text("0 of 4")
    assert page.evaluate("window.same") is None


def test_a_lost_lease_is_told_and_stays_told(sign_in: SignIn) -> None:
    """Looking at the page again asks for the lease at once, however long nobody did."""
    pool = make_pool(ANSWERS)
    watched = sign_in(make_labeler())
    watched.forgive("409")
    page = watched.open("/rank/")
    expect(page.locator("[data-draggable]")).to_be_attached()
    end_leases()
    assert services.lease_next(make_labeler("noah"), pool=pool) is not None
    page.evaluate(
        """() => { const now = Date.now; Date.now = () => now() + 12 * 60_000;
            document.dispatchEvent(new Event('visibilitychange', {bubbles: true})); }"""
    )
    warning = page.locator(f"{MESSAGES} .message-warning")
    expect(warning).to_contain_text("somebody else has this prompt")
    expect(page.locator("[data-lease-text]")).to_have_text("time is up")
    place_all(page)
    expect(warning).to_be_visible()
    page.keyboard.press("Control+Enter")
    expect(page.locator(MESSAGES)).to_contain_text("kept for the reviewers")
    assert Ranking.objects.get().status == "late"
