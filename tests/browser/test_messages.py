"""Words at the head of the page: good news pass, a warning stays until somebody has read it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import MESSAGES, Watched, painted
from tests.browser.test_accessibility import findings
from tests.browser.test_next_task import SECOND, place, ready
from tests.browser.world import ANSWERS, make_labeler, make_pool

pytestmark = pytest.mark.django_db(transaction=True)

SignIn = Callable[..., Watched]
REFUSAL = '{"error": {"code": "edit_closed", "message": "Its time is over.", "data": {}}}'


def refuse_once(page: Page) -> None:
    page.route(
        "**/submit/",
        lambda route: route.fulfill(status=409, body=REFUSAL, content_type="application/json"),
        times=1,
    )


def submit_on(page: Page, *, to_second: bool) -> None:
    ready(page)
    place(page)
    page.keyboard.press("Control+Enter")
    expect(page.get_by_text("Of the second prompt")).to_have_count(8 if to_second else 0)
    page.wait_for_timeout(600)  # longer than the pause that a double click is given


def test_a_warning_stays_beside_later_good_news_until_it_is_closed(sign_in: SignIn) -> None:
    make_pool(ANSWERS, SECOND)
    watched = sign_in(make_labeler())
    watched.forgive("409")
    page = watched.open("/rank/")
    refuse_once(page)
    submit_on(page, to_second=True)
    warning = page.locator(f"{MESSAGES} .message-warning")
    expect(warning).to_contain_text("Its time is over.")
    submit_on(page, to_second=False)
    expect(page.locator(MESSAGES)).to_contain_text("Ranking saved")
    expect(warning).to_contain_text("Its time is over.")
    warning.get_by_role("button", name="Close the message").press("Enter")
    expect(warning).to_have_count(0)
    expect(page.locator("main")).to_be_focused()
    expect(page.locator(MESSAGES)).to_contain_text("Ranking saved")


def test_warnings_left_for_the_next_page_are_all_shown(sign_in: SignIn) -> None:
    make_pool(ANSWERS)
    watched = sign_in(make_labeler())
    page = watched.open("/rank/")
    page.evaluate(
        """async () => {
            const { flashNext } = await import('/static/labeling/js/flash.js');
            for (const text of ['First.', 'Second.']) flashNext({ level: 'warning', text });
        }"""
    )
    page.reload()
    painted(page)
    expect(page.locator(f"{MESSAGES} .message-warning")).to_have_text(["First.", "Second."])
    assert findings(page) == []
    page.reload()
    expect(page.locator(f"{MESSAGES} .message-warning")).to_have_count(0)
