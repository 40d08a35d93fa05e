"""A submission on its way: what counts as an answer, and what becomes of it until there is one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, Route, expect

from labeling.models import Ranking
from tests.browser.conftest import MESSAGES, Watched
from tests.browser.test_lease_and_network import KEPT, place_all
from tests.browser.world import ANSWERS, PASSWORD, make_labeler, make_pool

pytestmark = pytest.mark.django_db(transaction=True)

SignIn = Callable[..., Watched]


def open_placed(sign_in: SignIn) -> Watched:
    """The ranking page, with everything placed and nothing handed in."""
    make_pool(ANSWERS)
    watched = sign_in(make_labeler())
    place_all(watched.open("/rank/"))
    return watched


def wait_for_rankings(page: Page, count: int) -> None:
    for _ in range(200):
        if Ranking.objects.count() == count:
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"{Ranking.objects.count()} rankings")


@pytest.mark.parametrize(
    "answer",
    [
        {"status": 200, "content_type": "text/html", "body": "<h1>Back in an hour</h1>"},
        {"status": 200, "content_type": "application/json", "body": "{}"},
        {"status": 204},
    ],
    ids=["page", "other", "empty"],
)
def test_only_our_own_answer_counts_as_saved(sign_in: SignIn, answer: dict[str, object]) -> None:
    """A proxy's page, with status 200, must not cost a ranking."""
    page = open_placed(sign_in).page
    page.route("**/submit/", lambda route: route.fulfill(**answer), times=1)
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("alert")).to_contain_text("Nothing is lost")
    assert len(page.evaluate(KEPT)) > 0
    expect(page.locator(MESSAGES)).to_contain_text("Ranking saved")
    assert Ranking.objects.count() == 1


def test_a_draft_that_a_proxy_answered_stays_in_the_browser(sign_in: SignIn) -> None:
    make_pool(ANSWERS)
    page = sign_in(make_labeler()).open("/rank/")
    page.route("**/draft/", lambda route: route.fulfill(body="<h1>Sign in</h1>"), times=1)
    page.keyboard.press("1")
    expect(page.locator("[data-save-state]")).to_contain_text("kept on this computer")
    assert len(page.evaluate(KEPT)) == 1
    expect(page.locator("[data-save-state]")).to_have_text("Draft saved")


def test_a_window_closed_right_after_submitting_still_submits(sign_in: SignIn) -> None:
    page = open_placed(sign_in).page
    # On this machine any request is out before its page is gone: what is asked for is looked at.
    page.evaluate(
        """() => { const send = fetch; window.fetch = (url, options) => {
            window.outlives = options.keepalive; return send(url, options); } }"""
    )
    other = page.context.new_page()
    with page.expect_request("**/submit/"):
        page.keyboard.press("Control+Enter")
    assert page.evaluate("window.outlives") is True
    page.close()
    wait_for_rankings(other, 1)


def test_a_request_that_hangs_is_given_up_and_sent_again(sign_in: SignIn) -> None:
    make_pool(ANSWERS)
    watched = sign_in(make_labeler())
    watched.page.add_init_script(
        """const timeout = AbortSignal.timeout.bind(AbortSignal);
        AbortSignal.timeout = (wait) => timeout(wait / 30);"""
    )
    page = watched.open("/rank/")
    place_all(page)
    hanging: list[Route] = []
    page.route("**/submit/", lambda route: hanging.append(route), times=1)
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("alert")).to_contain_text("Nothing is lost")
    expect(page.locator(MESSAGES)).to_contain_text("Ranking saved")
    assert len(hanging) == 1
    assert Ranking.objects.count() == 1


def sign_in_as(page: Page, server: str, name: str) -> None:
    page.context.clear_cookies()
    page.goto(server + "/login/")
    page.get_by_label("Username").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(server + "/")


def test_work_waits_while_somebody_else_is_signed_in_at_the_same_browser(sign_in: SignIn) -> None:
    watched = open_placed(sign_in)
    page = watched.page
    make_labeler("noah")
    page.route("**/submit/", lambda route: route.abort(), times=1)
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("alert")).to_contain_text("Nothing is lost")
    other = page.context.new_page()
    sign_in_as(other, watched.server, "noah")
    expect(page.get_by_role("alert")).to_contain_text("You are signed out")
    assert not Ranking.objects.exists()
    sign_in_as(other, watched.server, "mina")
    expect(page.locator(MESSAGES)).to_contain_text("Ranking saved")
    assert Ranking.objects.get().assignment.labeler.username == "mina"
    watched.forgive("ERR_FAILED", "401")
