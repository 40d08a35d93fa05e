"""What keys do next, what is said of it, and where the focus is after it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import MESSAGES, Watched, painted
from tests.browser.test_comparing import beside, dialog, ranks
from tests.browser.test_lease_and_network import place_all
from tests.browser.world import ANSWERS, make_labeler, make_pool

pytestmark = pytest.mark.django_db(transaction=True)

SignIn = Callable[..., Watched]


def open_page(sign_in: SignIn) -> Page:
    make_pool(ANSWERS)
    page = sign_in(make_labeler()).open("/rank/")
    expect(page.locator("[data-draggable]")).to_be_attached()
    return page


def said(page: Page, text: str) -> None:
    expect(page.locator("[data-announce]")).to_have_text(text)


def test_after_undo_and_redo_the_keys_are_on_the_card_that_moved(sign_in: SignIn) -> None:
    page = open_page(sign_in)
    page.keyboard.press("2")
    page.keyboard.press("u")
    said(page, "Undone: A taken off the board.")
    expect(page.locator("#answer-A")).to_be_focused()
    page.keyboard.press("1")
    assert ranks(page) == {"A": "1"}
    page.keyboard.press("u")
    page.keyboard.press("Shift+U")
    said(page, "Redone: A on rank 1. 3 left.")
    undo = page.get_by_role("button", name="Undo")
    undo.click()
    expect(undo).to_be_disabled()
    assert page.evaluate("document.activeElement.closest('[data-card]')") is None
    expect(page.locator("#answer-A")).to_have_attribute("data-current", "")


def test_undo_beside_each_other_is_said_there(sign_in: SignIn) -> None:
    page = open_page(sign_in)
    beside(page, "A", "B")
    page.keyboard.press("2")
    heard = dialog(page).locator("[data-heard]")
    expect(heard).to_have_text("A on rank 2. 3 left.")
    page.keyboard.press("u")
    expect(heard).to_have_text("Undone: A taken off the board.")
    assert page.evaluate("Boolean(document.activeElement.closest('dialog'))") is True


def test_taking_a_pick_back_is_said_and_leaves_the_keys_on_the_card(sign_in: SignIn) -> None:
    page = open_page(sign_in)
    page.locator("#answer-B").focus()
    page.keyboard.press("c")
    page.get_by_role("button", name="Cancel").press("Enter")
    said(page, "B is no longer picked.")
    expect(page.locator("#answer-B")).to_be_focused()


def test_the_same_rating_key_again_clears_the_rating(sign_in: SignIn) -> None:
    page = open_page(sign_in)
    five = page.locator("[name=quality_A][value='5']")
    page.keyboard.press("Shift+Digit5")
    expect(five).to_be_checked()
    page.keyboard.press("Shift+Digit5")
    expect(five).not_to_be_checked()
    said(page, "A has no quality any more.")


def test_a_lost_connection_is_said_and_a_saved_draft_is_not(sign_in: SignIn) -> None:
    page = open_page(sign_in)
    page.route("**/draft/", lambda route: route.fulfill(status=200, body="<p>Soon</p>"), times=1)
    page.keyboard.press("1")
    said(page, "No connection: kept on this computer. Trying again…")
    expect(page.locator("[data-save-state]")).to_have_text("Draft saved")
    said(page, "No connection: kept on this computer. Trying again…")


def test_the_skip_link_leads_to_the_content_and_changes_nothing(sign_in: SignIn) -> None:
    """On the page of a ranking that is changed there is no draft to lose it from."""
    make_pool(ANSWERS)
    watched = sign_in(make_labeler())
    page = watched.open("/rank/")
    place_all(page)
    page.keyboard.press("Control+Enter")
    expect(page.locator(MESSAGES)).to_contain_text("Ranking saved")
    watched.open("/rankings/")
    page.get_by_role("link", name="Change").click()
    painted(page)
    page.locator("#answer-A").focus()
    page.keyboard.press("4")
    page.evaluate("window.same = true")
    page.get_by_role("link", name="Skip to the content").press("Enter")
    page.wait_for_url("**#content")
    page.wait_for_timeout(300)
    assert page.evaluate("window.same") is True
    expect(page.locator("[name=rank_A]")).to_have_value("4")
