"""A submission on its way: what counts as an answer, and what becomes of it until there is one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, Route, expect

from labeling.models import Ranking
from tests.browser.conftest import MESSAGES, Watched
from tests.browser.test_lease_and_network import KEPT, place_all
from tests.browser.test_next_task import SECOND, ready
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
            if (url.endsWith("/submit/")) console.log(`outlives: ${options.keepalive}`);
            return send(url, options); } }"""
    )
    other = page.context.new_page()
    # By the console: the answer may lead to another page before this one can be asked.
    with page.expect_console_message(lambda said: said.text.startswith("outlives")) as said:
        page.keyboard.press("Control+Enter")
    page.close()
    assert said.value.text == "outlives: true"
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


def hold_back(page: Page) -> None:
    """Submit to a server that does not answer."""
    page.route("**/submit/", lambda route: route.abort())
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("alert")).to_contain_text("Nothing is lost")


def test_what_waits_cannot_be_changed_and_is_told_once(sign_in: SignIn) -> None:
    watched = open_placed(sign_in)
    watched.forgive("ERR_FAILED")
    page = watched.page
    page.evaluate(
        """() => { window.told = 0; new MutationObserver(() => { window.told += 1; }).observe(
            document.querySelector('[data-banner-text]'), {childList: true}); }"""
    )
    hold_back(page)
    page.locator("#answer-C").focus()
    for key in ["1", "Backspace", "=", "u", "Shift+Digit3", "t"]:
        page.keyboard.press(key)
    assert page.locator("[name=rank_C]").input_value() == "3"
    expect(page.locator("[name=quality_C]:checked")).to_have_count(0)
    changing = "[data-board], select[name], fieldset.quality, .answer fieldset, [data-source]"
    assert page.locator(changing).evaluate_all("all => all.every(one => one.closest('[inert]'))")
    page.keyboard.press("k")
    expect(page.locator("#answer-B")).to_be_focused()
    page.wait_for_timeout(3_000)  # longer than until the second try
    assert page.evaluate("window.told") == 1
    page.unroute("**/submit/")
    expect(page.locator(MESSAGES)).to_contain_text("Ranking saved")
    assert Ranking.objects.count() == 1


def test_a_tab_goes_on_when_another_one_has_sent_its_work(sign_in: SignIn) -> None:
    watched = open_placed(sign_in)
    watched.forgive("ERR_FAILED")
    page = watched.page
    hold_back(page)
    other = page.context.new_page()
    other.goto(page.url)
    expect(other.locator(MESSAGES)).to_contain_text("Ranking saved")
    expect(page.get_by_role("heading", name="Nothing to rank right now")).to_be_visible()
    assert Ranking.objects.count() == 1


def test_one_submission_that_the_server_stumbles_over_holds_up_no_other(sign_in: SignIn) -> None:
    make_pool(ANSWERS, SECOND)
    watched = sign_in(make_labeler())
    watched.forgive("500")
    page = watched.open("/rank/")
    first = page.url.rstrip("/").rsplit("/", 1)[-1]
    page.route(f"**/{first}/submit/", lambda route: route.fulfill(status=500, body="<h1>Oh</h1>"))
    ready(page)
    place_all(page)
    page.keyboard.press("Control+Enter")
    expect(page.locator("#answer-A")).to_contain_text("second prompt")
    page.wait_for_timeout(600)  # longer than the pause that a double click is given
    # The choice of a language leads back here, not to the task before.
    here = page.evaluate("location.pathname")
    expect(page.locator(".languages [name=next]")).to_have_value(here)
    place_all(page)
    page.keyboard.press("Control+Enter")
    wait_for_rankings(page, 1)
    assert str(Ranking.objects.get().assignment.pk) != first
