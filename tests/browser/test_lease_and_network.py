"""What the page does when the lease ends, the network fails, or another tab was faster."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db.models.functions import Now
from playwright.sync_api import Page, expect

from labeling import services
from labeling.models import Ranking, Slot
from tests.browser.conftest import Watched
from tests.browser.world import ANSWERS, PASSWORD, make_labeler, make_pool

pytestmark = pytest.mark.django_db(transaction=True)

SignIn = Callable[..., Watched]


def place_all(page: Page) -> None:
    for key in "1234":
        page.keyboard.press(key)
    expect(page.locator("[data-save-state]")).to_have_text("Draft saved")


def end_leases() -> None:
    Slot.objects.filter(state="leased").update(lease_until=Now() - timedelta(seconds=1))


def forgive(watched: Watched, status: str) -> None:
    """Chromium reports every refused request on the console; these are meant."""
    watched.problems = [text for text in watched.problems if status not in text]


def test_an_ended_lease_is_taken_anew_and_the_ranking_counts(sign_in: SignIn) -> None:
    make_pool(ANSWERS)
    watched = sign_in(make_labeler())
    page = watched.open("/rank/")
    place_all(page)
    end_leases()
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_role("status")).to_contain_text("Ranking saved")
    assert Ranking.objects.get().status == "counted"
    forgive(watched, "409")


def test_late_work_is_kept_and_told_kindly(sign_in: SignIn) -> None:
    pool = make_pool(ANSWERS)
    watched = sign_in(make_labeler())
    page = watched.open("/rank/")
    place_all(page)
    end_leases()
    assert services.lease_next(make_labeler("noah"), pool=pool) is not None
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_role("status")).to_contain_text("kept for the reviewers")
    assert Ranking.objects.get().status == "late"
    forgive(watched, "409")


def test_without_a_network_nothing_is_lost(sign_in: SignIn) -> None:
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
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_role("status")).to_contain_text("Ranking saved")
    assert Ranking.objects.get().note == "written offline"
    forgive(watched, "ERR_INTERNET_DISCONNECTED")


def test_a_second_tab_is_told_that_the_prompt_is_done(sign_in: SignIn) -> None:
    make_pool(ANSWERS)
    watched = sign_in(make_labeler())
    page = watched.open("/rank/")
    place_all(page)
    other = page.context.new_page()
    other.goto(page.url)
    other.keyboard.press("Control+Enter")
    expect(other.get_by_role("status")).to_contain_text("Ranking saved")
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_role("alert")).to_contain_text("already submitted")
    expect(page.get_by_role("link", name="Next prompt")).to_be_visible()
    assert Ranking.objects.count() == 1
    forgive(watched, "409")


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
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_role("status")).to_contain_text("Ranking saved")
    forgive(watched, "401")


def test_skip_gives_the_prompt_back(sign_in: SignIn) -> None:
    make_pool(ANSWERS)
    page = sign_in(make_labeler()).open("/rank/")
    page.get_by_text("Skip this prompt…").click()
    page.get_by_label("It is upsetting or harmful").check()
    page.get_by_role("button", name="Skip it").click()
    expect(page.get_by_role("status")).to_contain_text("Skipped")
    assert Slot.objects.get().state == "free"
