"""The way into a pool in a real browser: keyboard, no JavaScript, phone, dark; new guidelines."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from labeling import services
from labeling.models import GuidelineReading, Pool, Qualification, Trial, User
from tests.browser.conftest import Watched
from tests.browser.hands import drag
from tests.browser.test_accessibility import DARK, PHONE, findings
from tests.browser.world import ANSWERS, HOSTILE, make_labeler, make_pool, stored_ranks

pytestmark = pytest.mark.django_db(transaction=True)

SignIn = Callable[..., Watched]
WHY = "Right before **polite**."
LOOKS = {"light": {}, "dark": DARK, "phone": PHONE, "phone-dark": PHONE | DARK}


def known(prompt: str, texts: list[str] = ANSWERS) -> bytes:
    completions = [{"text": text, "rank": place} for place, text in enumerate(texts, start=1)]
    return json.dumps({"prompt": prompt, "completions": completions, "explanation": WHY}).encode()


def gated_pool(*, training: int = 1, tests: int = 1, texts: list[str] = ANSWERS) -> Pool:
    pool = make_pool(ANSWERS, ANSWERS)
    services.import_items(
        pool, [known(f"Train {n}", texts) for n in range(training)], kind="training"
    )
    services.import_items(pool, [known(f"Test {n}", texts) for n in range(tests)], kind="test")
    return pool


def expected_ranks(page: Page) -> dict[str, int]:
    """Alias → expected rank of the item on the page."""
    trial = Trial.objects.get(pk=page.locator("[data-trial]").get_attribute("data-trial"))
    expected = trial.item.rank_of_number
    return {alias: expected[number] for alias, number in trial.number_of_alias.items()}


def test_the_whole_way_by_keyboard_alone(sign_in: SignIn) -> None:
    gated_pool(training=2, tests=2)
    page = sign_in(make_labeler()).page
    page.get_by_role("link", name="Qualify first for Support").press("Enter")
    page.get_by_role("link", name="Begin the training").press("Enter")
    for number in (1, 2):
        expect(page.get_by_text(f"Training {number} of 2")).to_be_visible()
        expect(page.locator("[data-draggable]")).to_be_attached()
        for rank in expected_ranks(page).values():
            page.keyboard.press(str(rank))
        page.keyboard.press("Control+Enter")
        expect(page.get_by_role("heading", name="Just as expected")).to_be_visible()
        name = "Next one" if number == 1 else "To the overview"
        page.get_by_role("link", name=name).press("Enter")
    page.get_by_role("button", name="Begin the test").press("Enter")
    for number in (1, 2):
        expect(page.get_by_text(f"Test {number} of 2")).to_be_visible()
        expect(page.locator("[data-draggable]")).to_be_attached()
        for rank in expected_ranks(page).values():
            page.keyboard.press(str(rank))
        page.keyboard.press("Control+Enter")
    expect(page.get_by_role("heading", name="You passed")).to_be_visible()
    page.get_by_role("link", name="Start ranking").press("Enter")
    expect(page.locator("form[data-ranking]")).to_be_attached()


def test_the_whole_way_without_javascript(sign_in: SignIn) -> None:
    gated_pool()
    page = sign_in(make_labeler(), java_script_enabled=False).page
    page.get_by_role("link", name="Qualify first for Support").click()
    page.get_by_role("link", name="Begin the training").click()
    for alias, rank in expected_ranks(page).items():
        page.locator(f"[name=rank_{alias}]").select_option(str(rank))
    page.get_by_role("button", name="Submit and compare").click()
    expect(page.locator(".why strong")).to_have_text("polite")
    page.get_by_role("link", name="To the overview").click()
    page.get_by_role("button", name="Begin the test").click()
    for alias in expected_ranks(page):
        page.locator(f"[name=rank_{alias}]").select_option("1")
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_role("heading", name="Not yet")).to_be_visible()
    expect(page.get_by_text("Your last test: 50 %")).to_be_visible()
    assert Qualification.objects.get().state == "failed"


def test_dragging_undo_and_a_reload_that_loses_nothing(sign_in: SignIn) -> None:
    gated_pool()
    page = sign_in(make_labeler()).open("/")
    page.get_by_role("link", name="Qualify first for Support").click()
    page.get_by_role("link", name="Begin the training").click()
    expect(page.locator("[data-draggable]")).to_be_attached()
    drag(page, ".chip[data-alias=C] .grip", "[data-drop='2']")
    expect(page.locator("[data-drop='2'] .chip")).to_have_attribute("data-alias", "C")
    page.keyboard.press("u")
    expect(page.locator("[data-drop='2'] .chip")).to_have_count(0)
    page.keyboard.press("Shift+u")
    page.locator("[name=rank_A]").select_option("1")
    page.reload()
    expect(page.locator("[data-drop='2'] .chip")).to_have_attribute("data-alias", "C")
    expect(page.locator("[data-drop='1'] .chip")).to_have_attribute("data-alias", "A")
    expect(page.get_by_role("button", name="Submit and compare")).to_be_disabled()


def test_nothing_changes_while_an_item_is_on_its_way(sign_in: SignIn) -> None:
    pool = gated_pool()
    page = sign_in(make_labeler()).open(f"/pools/{pool.pk}/qualification/next/")
    expect(page.locator("[data-draggable]")).to_be_attached()
    for rank in range(1, len(ANSWERS) + 1):
        page.keyboard.press(str(rank))
    # As on a network that takes its time: the page has let go of the form, and nothing has come.
    page.evaluate("""document.querySelector('[data-trial]')
        .addEventListener('submit', event => event.preventDefault())""")
    page.keyboard.press("Control+Enter")
    field = page.locator("select[name^=rank_]").first
    expect(field).to_have_js_property("inert", True)
    before = field.input_value()
    for key in ("k", "k", "k", "k", "4", "u"):
        page.keyboard.press(key)
    assert field.input_value() == before
    # Back from the next page, it is the labeler's again.
    page.evaluate("dispatchEvent(new Event('pageshow'))")
    page.keyboard.press("u")
    expect(field).to_have_js_property("inert", False)
    expect(page.locator(".tray .chip")).to_have_count(1)


def test_two_tabs_with_one_test_item_store_one_answer(sign_in: SignIn) -> None:
    pool = gated_pool(training=0)
    watched = sign_in(make_labeler())
    services.begin_test(User.objects.get(username="mina"), pool)
    page = watched.open(f"/pools/{pool.pk}/qualification/next/")
    other = page.context.new_page()
    other.goto(page.url)
    for tab, order in ((page, "1234"), (other, "4321")):
        expect(tab.locator("[data-draggable]")).to_be_attached()
        for key in order:
            tab.keyboard.press(key)
        tab.keyboard.press("Control+Enter")
        expect(tab.get_by_text("Your last test")).to_be_visible()
    given = Trial.objects.get().ranks
    assert [given[alias] for alias in "ABCD"] == [1, 2, 3, 4]


def test_hostile_items_do_nothing(sign_in: SignIn) -> None:
    gated_pool(texts=HOSTILE)
    page = sign_in(make_labeler()).open("/")
    page.get_by_role("link", name="Qualify first for Support").click()
    page.get_by_role("link", name="Begin the training").click()
    expect(page.locator("[data-draggable]")).to_be_attached()
    for key in "1234":
        page.keyboard.press(key)
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("heading", name="Expected order")).to_be_visible()
    assert "owned" not in page.title()


@pytest.mark.parametrize("look", LOOKS)
def test_axe_finds_nothing_on_the_way(sign_in: SignIn, look: str) -> None:
    pool = gated_pool(training=1)
    services.revise_guidelines(pool, "Truth always first.\n\nBe brief.")
    page = sign_in(make_labeler(), **LOOKS[look]).open("/")
    assert findings(page) == []
    page.get_by_role("link", name="Qualify first for Support").click()
    assert findings(page) == []
    page.get_by_role("link", name="Begin the training").click()
    expect(page.locator("[data-draggable]")).to_be_attached()
    page.evaluate("for (const fold of document.querySelectorAll('main details')) fold.open = true")
    page.evaluate("document.querySelector('[data-prompt]').dataset.open = ''")
    assert findings(page) == []
    for key in "1234":
        page.keyboard.press(key)
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("heading", name="Expected order")).to_be_visible()
    assert findings(page) == []
    wide = page.evaluate("document.documentElement.scrollWidth > innerWidth")
    assert not wide
    page.goto(page.url.split("/trials/")[0] + f"/pools/{pool.pk}/guidelines/")
    assert findings(page) == []


def test_a_change_of_the_guidelines_is_read_without_leaving_the_page(sign_in: SignIn) -> None:
    pool = make_pool(ANSWERS, ANSWERS, guidelines="Truth first.")
    labeler = make_labeler()
    services.mark_guidelines_read(labeler, pool.guideline_versions.get())
    services.revise_guidelines(pool, "Truth always first.")
    page = sign_in(labeler).open("/rank/")
    expect(page.locator("[data-draggable]")).to_be_attached()
    expect(page.locator(".change-added ins")).to_have_text("always")
    assert findings(page) == []
    page.keyboard.press("1")
    page.get_by_role("button", name="I have read it").press("Enter")
    expect(page.locator("[data-guideline-news]")).to_have_count(0)
    expect(page.locator("[data-drop='1'] .chip")).to_have_count(1)
    assert GuidelineReading.objects.filter(version__number=2).count() == 1
    for key in "234":
        page.keyboard.press(key)
    page.keyboard.press("Control+Enter")
    # The task that was held ready meanwhile knows it too, or is not taken.
    expect(page.locator("[data-drop='1'] .chip")).to_have_count(0)
    expect(page.locator("[data-guideline-news]")).to_have_count(0)
    page.wait_for_timeout(500)
    assert sorted(stored_ranks().values()) == [1, 2, 3, 4]
