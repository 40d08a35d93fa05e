"""The next task is there at once: held ahead, put in place without a load, never at a cost."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, Route, expect

from labeling.models import Assignment, Ranking, Slot
from tests.browser.conftest import MESSAGES, Watched
from tests.browser.test_accessibility import findings
from tests.browser.world import ANSWERS, make_labeler, make_pool

pytestmark = pytest.mark.django_db(transaction=True)

SignIn = Callable[..., Watched]
SECOND = [f"Of the second prompt: {answer}" for answer in ANSWERS]
THIRD = [f"Of the third prompt: {answer}" for answer in ANSWERS]
# From the key that submits to the frame that shows the next task, in milliseconds.
MEASURE = """() => { window.took = null; addEventListener('keydown', event => {
    if (event.key !== 'Enter') return;
    const began = performance.now();
    requestAnimationFrame(function look() {
        if (document.querySelector('.answers').innerText.includes('second prompt')) {
            window.took = performance.now() - began;
        } else requestAnimationFrame(look);
    });
}, {capture: true}) }"""


def ready(page: Page) -> None:
    expect(page.locator("[data-next-ready]")).to_be_attached()


def place(page: Page) -> None:
    for key in "1234":
        page.keyboard.press(key)
    expect(page.get_by_role("button", name="Submit")).to_be_enabled()


def open_first(sign_in: SignIn, *tasks: list[str]) -> Watched:
    make_pool(ANSWERS, *tasks)
    watched = sign_in(make_labeler())
    ready(watched.open("/rank/"))
    return watched


def test_the_next_task_is_there_before_the_server_has_answered(sign_in: SignIn) -> None:
    page = open_first(sign_in, SECOND).page
    held: list[Route] = []
    page.route("**/submit/", lambda route: held.append(route))
    page.evaluate("window.same = true")
    page.evaluate(MEASURE)
    place(page)
    page.keyboard.press("Control+Enter")
    expect(page.locator("#answer-A")).to_contain_text("second prompt")
    assert Ranking.objects.count() == 0, "the answer is held back until here"
    assert page.evaluate("window.same") is True, "no page was loaded"
    # 100 ms is the aim on a quiet machine; one that does other work at once gets longer.
    assert page.evaluate("window.took") < 1_000
    page.keyboard.press("1")
    expect(page.locator("[name=rank_A]")).to_have_value("1")
    held[0].continue_()
    expect(page.locator(MESSAGES)).to_contain_text("Ranking saved")
    expect(page.locator("[name=rank_A]")).to_have_value("1")
    assert Ranking.objects.get().task.prompt.messages[0]["content"] == "Prompt 1"


def test_a_day_of_tasks_needs_one_page_load_and_each_is_stored(sign_in: SignIn) -> None:
    watched = open_first(sign_in, SECOND, THIRD)
    page = watched.page
    page.evaluate("window.same = true")
    for words in ["second prompt", "third prompt"]:
        place(page)
        ready(page)
        page.keyboard.press("Control+Enter")
        expect(page.locator("#answer-A")).to_contain_text(words)
        page.wait_for_timeout(600)  # longer than the pause that a double click is given
    assert page.evaluate("window.same") is True
    expect(page.locator("[data-today]")).to_have_text("2 today")
    assert findings(page) == []
    place(page)
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("heading", name="Nothing to rank right now")).to_be_visible()
    assert Ranking.objects.filter(status="counted").count() == 3
    assert Slot.objects.filter(state="done").count() == 3


def test_a_refused_submission_brings_the_labeler_back_with_nothing_lost(sign_in: SignIn) -> None:
    watched = open_first(sign_in, SECOND)
    page = watched.page
    refusal = '{"error": {"code": "invalid", "message": "The note is not allowed.", "data": {}}}'
    page.route(
        "**/submit/",
        lambda route: route.fulfill(status=400, body=refusal, content_type="application/json"),
        times=1,
    )
    place(page)
    page.get_by_label("Note").fill("a long thought")
    first = page.url
    page.keyboard.press("Control+Enter")
    expect(page.locator(MESSAGES)).to_contain_text("The note is not allowed.")
    assert page.url == first
    expect(page.get_by_label("Note")).to_have_value("a long thought")
    expect(page.locator("[name=rank_D]")).to_have_value("4")
    page.get_by_label("Note").fill("a shorter one")
    page.get_by_role("button", name="Submit").click()
    expect(page.locator(MESSAGES)).to_contain_text("Ranking saved")
    assert Ranking.objects.get().note == "a shorter one"
    watched.forgive("400")


def test_without_a_connection_the_next_task_still_comes(sign_in: SignIn) -> None:
    watched = open_first(sign_in, SECOND)
    page = watched.page
    page.context.set_offline(True)
    place(page)
    page.keyboard.press("Control+Enter")
    expect(page.locator("#answer-A")).to_contain_text("second prompt")
    expect(page.locator("[data-save-state]")).to_contain_text("No connection")
    page.wait_for_timeout(600)
    place(page)
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("alert")).to_contain_text("Nothing is lost")
    page.context.set_offline(False)
    expect(page.get_by_role("heading", name="Nothing to rank right now")).to_be_visible()
    assert Ranking.objects.filter(status="counted").count() == 2
    watched.forgive("ERR_INTERNET_DISCONNECTED")


def test_going_home_gives_the_unseen_task_back(sign_in: SignIn) -> None:
    watched = open_first(sign_in, SECOND)
    page = watched.page
    assert Slot.objects.filter(state="leased").count() == 2
    watched.open("/")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    for _ in range(100):
        if Assignment.objects.count() == 1:
            break
        page.wait_for_timeout(50)
    assert Assignment.objects.get().task.prompt.messages[0]["content"] == "Prompt 1"
    assert Slot.objects.filter(state="free").count() == 1


def test_the_back_button_leads_to_the_ranking_just_handed_in(sign_in: SignIn) -> None:
    page = open_first(sign_in, SECOND).page
    place(page)
    page.keyboard.press("Control+Enter")
    expect(page.locator(MESSAGES)).to_contain_text("Ranking saved")
    page.go_back()
    page.wait_for_url("**/rankings/*/")
    expect(page.locator("[name=rank_B]")).to_have_value("2")
    expect(page.get_by_role("button", name="Submit again")).to_be_visible()


def test_two_tabs_hold_one_task_ahead_between_them(sign_in: SignIn) -> None:
    watched = open_first(sign_in, SECOND, THIRD)
    other = watched.page.context.new_page()
    other.goto(watched.page.url)
    ready(other)
    assert Slot.objects.filter(state="leased").count() == 2
    place(watched.page)
    watched.page.keyboard.press("Control+Enter")
    expect(watched.page.locator(MESSAGES)).to_contain_text("Ranking saved")
    other.bring_to_front()
    other.keyboard.press("1")
    expect(other.locator("[data-save-state]")).to_contain_text("already submitted")
    watched.forgive("409")


def test_a_new_view_is_the_view_of_the_next_task_too(sign_in: SignIn) -> None:
    page = open_first(sign_in, ["**Of the second prompt**", *SECOND[1:]]).page
    with page.expect_response("**/?ahead"):
        page.keyboard.press("m")
    expect(page.locator("[data-views] [aria-current=true]")).to_have_text("Markdown")
    page.wait_for_timeout(300)
    place(page)
    page.keyboard.press("Control+Enter")
    expect(page.locator(".answers strong")).to_have_text("Of the second prompt")


def test_a_page_of_a_newer_server_is_loaded_with_its_own_scripts(sign_in: SignIn) -> None:
    make_pool(ANSWERS, SECOND)
    page = sign_in(make_labeler()).page

    def upgraded(route: Route) -> None:
        answer = route.fetch()
        newer = answer.text().replace('data-version="', 'data-version="newer-')
        route.fulfill(response=answer, body=newer)

    page.route("**/?ahead", upgraded)
    with page.expect_response("**/?ahead"):
        page.goto(page.url + "rank/")
    page.evaluate("window.same = true")
    place(page)
    page.wait_for_timeout(300)
    page.keyboard.press("Control+Enter")
    expect(page.locator("#answer-A")).to_contain_text("second prompt")
    assert page.evaluate("window.same") is None, "no new page was loaded"
