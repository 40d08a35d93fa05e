"""Two answers side by side, differences from one marked in all."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Watched
from tests.browser.test_accessibility import DARK, PHONE, findings
from tests.browser.test_reading import HOSTILE, choose
from tests.browser.world import ANSWERS, make_labeler, make_pool

pytestmark = pytest.mark.django_db(transaction=True)

SignIn = Callable[..., Watched]
# The page's two short ones have two words of five in common; the last two are almost the same.
TEXTS = ["A red fox runs **fast**.", "A red dog runs slowly.", "It is so.", "it is so"]
LONG = [
    "\n\n".join(f"{n}. A line of the first answer." for n in range(200)),
    "\n\n".join(f"{n}. A line of the second." for n in range(120)),
    *ANSWERS[2:],
]
WIDE: dict[str, Any] = {"viewport": {"width": 1440, "height": 900}}
TOUCH: dict[str, Any] = {**PHONE}


def open_page(sign_in: SignIn, texts: list[str] = TEXTS, **options: Any) -> Page:
    make_pool(texts)
    page = sign_in(make_labeler(), **options).open("/rank/")
    if options.get("java_script_enabled", True):
        expect(page.locator("[data-draggable]")).to_be_attached()
    return page


def alias_of(page: Page, text: str) -> str:
    """The alias of the card that shows ``text``."""
    cards = page.locator("[data-card]")
    found = [card for card in cards.all() if card.locator(".plain").text_content() == text]
    return str(found[0].get_attribute("data-card"))


def focus(page: Page, alias: str) -> None:
    page.locator(f"#answer-{alias}").focus()


def dialog(page: Page) -> Locator:
    return page.locator("dialog[data-beside]")


def beside(page: Page, a: str, b: str, timeout: float = 10_000) -> Locator:
    """Both side by side, by keys."""
    for alias in (a, b):
        focus(page, alias)
        page.keyboard.press("c")
    expect(dialog(page).locator("[data-side]")).to_have_count(2, timeout=timeout)
    return dialog(page)


def ranks(page: Page) -> dict[str, str]:
    fields = page.locator("[data-card] select").all()
    named = {str(field.get_attribute("name"))[-1]: field.input_value() for field in fields}
    return {alias: rank for alias, rank in named.items() if rank}


def test_two_keys_open_two_answers_and_digits_place_them(sign_in: SignIn) -> None:
    page = open_page(sign_in)
    fox, dog = alias_of(page, TEXTS[0]), alias_of(page, TEXTS[1])
    focus(page, fox)
    page.keyboard.press("c")
    expect(page.locator("[data-picked]")).to_contain_text(f"{fox} is picked")
    expect(page.locator("[data-announce]")).to_contain_text(f"{fox} is picked")
    focus(page, dog)
    page.keyboard.press("c")
    expect(dialog(page).get_by_role("heading", name=f"{fox} beside {dog}")).to_be_visible()
    expect(page.locator("[data-picked]")).to_be_hidden()
    expect(dialog(page).locator("del.differs[data-said]")).to_have_text(["fox", "**fast**"])
    expect(dialog(page).locator("ins.differs[data-said]")).to_have_text(["dog", "slowly"])
    page.keyboard.press("2")
    expect(dialog(page).locator("[data-heard]")).to_contain_text(f"{fox} on rank 2.")
    expect(dialog(page).locator("[data-current]")).to_have_attribute("data-side", dog)
    page.keyboard.press("1")
    assert ranks(page) == {fox: "2", dog: "1"}
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("=")
    assert ranks(page) == {fox: "1", dog: "1"}
    page.keyboard.press("u")
    page.keyboard.press("Backspace")
    assert ranks(page) == {dog: "1"}
    page.keyboard.press("Escape")
    expect(dialog(page)).to_be_hidden()
    expect(page.locator(f"#answer-{dog}")).to_be_focused()


def test_a_tie_needs_a_rank_first(sign_in: SignIn) -> None:
    page = open_page(sign_in)
    fox, dog = alias_of(page, TEXTS[0]), alias_of(page, TEXTS[1])
    beside(page, fox, dog)
    page.keyboard.press("=")
    expect(dialog(page).locator("[data-heard]")).to_contain_text("Neither has a rank yet.")
    assert ranks(page) == {}
    page.keyboard.press("ArrowRight")
    page.keyboard.press("3")
    page.keyboard.press("=")
    assert ranks(page) == {fox: "3", dog: "3"}


def test_by_mouse_ranks_ties_marks_and_other_answers(sign_in: SignIn) -> None:
    page = open_page(sign_in)
    fox, dog = alias_of(page, TEXTS[0]), alias_of(page, TEXTS[1])
    other = next(alias for alias in "ABCD" if alias not in (fox, dog))
    page.get_by_role("link", name=f"Compare {fox} with another").click()
    page.get_by_role("link", name=f"Compare {dog} with another").click()
    shown = dialog(page)
    shown.locator(f"[data-side={dog}] select").select_option("4")
    shown.get_by_role("button", name="Tie").click()
    assert ranks(page) == {fox: "4", dog: "4"}
    expect(shown.locator(f"[data-side={fox}] select")).to_have_value("4")
    shown.get_by_role("link", name="Hide the marks").click()
    expect(shown.locator(".differs")).to_have_count(0)
    shown.get_by_role("link", name="Mark the differences").click()
    expect(shown.locator(".differs[data-said]")).to_have_count(4)
    shown.locator(f"[data-side={fox}]").get_by_role("link", name=other).click()
    expect(shown.get_by_role("heading", name=f"{other} beside {dog}")).to_be_visible()
    shown.get_by_role("button", name="Close").click()
    expect(shown).to_be_hidden()


def test_a_pick_is_taken_back(sign_in: SignIn) -> None:
    page = open_page(sign_in)
    ways: list[Callable[[], None]] = [
        lambda: page.keyboard.press("c"),
        lambda: page.keyboard.press("Escape"),
        lambda: page.get_by_role("button", name="Cancel").click(),
    ]
    for undo in ways:
        page.keyboard.press("c")
        expect(page.locator("[data-picked]")).to_be_visible()
        undo()
        expect(page.locator("[data-picked]")).to_be_hidden()
        expect(page.locator("[data-is-picked]")).to_have_count(0)
    expect(dialog(page)).to_be_hidden()


@pytest.mark.parametrize("options", [WIDE, TOUCH], ids=["wide", "phone"])
def test_both_sides_are_equally_high_and_scroll_together(
    sign_in: SignIn, options: dict[str, Any]
) -> None:
    page = open_page(sign_in, LONG, **options)
    sides = beside(page, alias_of(page, LONG[0]), alias_of(page, LONG[1])).locator("[data-side]")
    boxes = [box for side in sides.all() if (box := side.bounding_box())]
    assert abs(boxes[0]["height"] - boxes[1]["height"]) <= 1
    is_phone = options is TOUCH
    assert (boxes[0]["x"] == boxes[1]["x"]) is is_phone
    assert (boxes[0]["y"] == boxes[1]["y"]) is not is_phone
    through = """() => [...document.querySelectorAll('[data-side-text]')].map(
        text => text.scrollTop / (text.scrollHeight - text.clientHeight))"""
    for side, to in ((0, 0.5), (1, 0.9), (0, 0.0)):
        page.evaluate(
            """([side, to]) => {
              const text = document.querySelectorAll('[data-side-text]')[side];
              text.scrollTop = to * (text.scrollHeight - text.clientHeight);
            }""",
            [side, to],
        )
        page.wait_for_timeout(150)
        left, right = page.evaluate(through)
        assert abs(left - to) < 0.01
        assert abs(right - to) < 0.01


def test_escape_goes_back_to_where_one_was(sign_in: SignIn) -> None:
    page = open_page(sign_in, LONG)
    page.locator("#answer-A").focus()
    page.keyboard.press("c")
    page.locator("#answer-C").focus()
    page.evaluate("scrollTo(0, document.querySelector('#answer-C').offsetTop - 200)")
    before = page.evaluate("scrollY")
    page.keyboard.press("c")
    expect(dialog(page)).to_be_visible()
    page.mouse.wheel(0, 500)
    page.keyboard.press("1")
    page.keyboard.press("Escape")
    expect(page.locator("#answer-C")).to_be_focused()
    assert abs(page.evaluate("scrollY") - before) <= 2


def test_differences_from_one_are_marked_in_all_and_unmarked(sign_in: SignIn) -> None:
    page = open_page(sign_in)
    fox, dog = alias_of(page, TEXTS[0]), alias_of(page, TEXTS[1])
    page.keyboard.press("m")
    expect(page.locator("[data-views] [aria-current=true]")).to_have_text("Markdown")
    for off in ("d", "m", "click"):
        focus(page, fox)
        page.keyboard.press("d")
        expect(page.locator(f"#answer-{dog} ins.differs")).to_have_text(["dog", "slowly"])
        expect(page.locator(f"#answer-{fox} .differs")).to_have_count(0)
        expect(page.locator("[data-against]")).to_contain_text(f"what differs from {fox}")
        focus(page, dog)
        if off == "click":
            page.get_by_role("button", name="Stop marking").click()
        else:
            page.keyboard.press(off)
        expect(page.locator(".differs")).to_have_count(0)
        expect(page.locator("[data-against]")).to_be_hidden()
        expect(page.locator("[data-views] [aria-current=true]")).to_have_text("Markdown")
        expect(page.locator(f"#answer-{fox} strong")).to_have_text("fast")
    page.keyboard.press("1")
    assert ranks(page) == {dog: "1"}


def test_what_is_picked_can_be_marked_everywhere(sign_in: SignIn) -> None:
    page = open_page(sign_in)
    fox, dog = alias_of(page, TEXTS[0]), alias_of(page, TEXTS[1])
    page.get_by_role("link", name=f"Compare {fox} with another").click()
    page.get_by_role("button", name="Mark what differs from it everywhere").click()
    expect(page.locator(f"#answer-{dog} ins.differs")).to_have_text(["dog", "slowly"])
    expect(page.locator("[data-picked]")).to_be_hidden()


def test_raw_is_compared_raw_and_markdown_without_marks(sign_in: SignIn) -> None:
    page = open_page(sign_in, ["**a**\tb", "**a**\tc", *ANSWERS[:2]])
    one, two = alias_of(page, "**a**\tb"), alias_of(page, "**a**\tc")
    page.keyboard.press("r")
    expect(page.locator("[data-views] [aria-current=true]")).to_have_text("Raw")
    expect(beside(page, one, two).locator(".raw bdi")).to_have_text(["TAB", "TAB"])
    expect(dialog(page).locator("ins.differs[data-said]")).to_have_text("c")
    page.keyboard.press("Escape")
    page.keyboard.press("m")
    expect(page.locator("[data-views] [aria-current=true]")).to_have_text("Markdown")
    expect(beside(page, one, two)).to_contain_text("Markdown is shown as text here")
    page.keyboard.press("d")
    expect(dialog(page).locator(".markdown strong")).to_have_text(["a", "a"])


def alike(page: Page) -> tuple[str, str]:
    return alias_of(page, TEXTS[2]), alias_of(page, TEXTS[3])


# --- every way in ---------------------------------------------------------------------------------


def test_by_touch_on_a_phone(sign_in: SignIn) -> None:
    page = open_page(sign_in, **TOUCH)
    fox, dog = alias_of(page, TEXTS[0]), alias_of(page, TEXTS[1])
    page.get_by_role("link", name=f"Compare {fox} with another").tap()
    page.get_by_role("link", name=f"Compare {dog} with another").tap()
    shown = dialog(page)
    shown.locator(f"[data-side={fox}] select").select_option("1")
    shown.get_by_role("button", name="Tie").tap()
    assert ranks(page) == {fox: "1", dog: "1"}
    width = page.evaluate("document.documentElement.clientWidth")
    assert shown.evaluate("dialog => dialog.scrollWidth") <= width
    shown.get_by_role("button", name="Close").tap()
    expect(shown).to_be_hidden()


def test_without_javascript_it_is_a_page_of_its_own(sign_in: SignIn) -> None:
    page = open_page(sign_in, java_script_enabled=False)
    fox, dog = alias_of(page, TEXTS[0]), alias_of(page, TEXTS[1])
    one, two = alike(page)
    expect(page.get_by_role("button", name="Tie them")).to_have_count(0)
    page.locator(f"#answer-{one}").get_by_role("link", name=f"{one} beside {two}").click()
    expect(page.locator(".side")).to_have_count(2)
    page.get_by_role("link", name="Back to the ranking").click()
    page.get_by_role("link", name=f"Compare {fox} with another").click()
    expect(page.get_by_role("heading", name=f"Differences from {fox}")).to_be_visible()
    expect(page.locator(f"[data-text={dog}] ins")).to_have_text(["dog", "slowly"])
    page.get_by_role("link", name=f"{fox} beside {dog}").click()
    expect(page.locator(".sides del")).to_have_text(["fox", "**fast**"])
    assert page.locator("main select, main button").filter(visible=True).count() == 0
    page.get_by_role("link", name="Hide the marks").click()
    expect(page.locator(".differs")).to_have_count(0)
    page.locator(f"[data-side={fox}]").get_by_role("link", name=one, exact=True).click()
    expect(page.get_by_role("heading", name=f"{one} beside {dog}")).to_be_visible()


def test_without_a_connection_it_says_so_and_works_again(sign_in: SignIn) -> None:
    make_pool(TEXTS)
    watched = sign_in(make_labeler())
    page = watched.open("/rank/")
    fox, dog = alias_of(page, TEXTS[0]), alias_of(page, TEXTS[1])
    page.route("**/compare/*", lambda route: route.abort())
    for alias in (fox, dog):
        focus(page, alias)
        page.keyboard.press("c")
    expect(page.locator("[data-save-state]")).to_contain_text("could not be loaded")
    focus(page, fox)
    page.keyboard.press("d")
    expect(page.locator("[data-against]")).to_be_hidden()
    page.unroute("**/compare/*")
    beside(page, fox, dog)
    # Chromium reports the requests that were cut.
    watched.forgive("ERR_FAILED")


@pytest.mark.parametrize("options", [WIDE, PHONE | DARK], ids=["wide", "phone"])
def test_hostile_texts_do_nothing_side_by_side_or_marked(
    sign_in: SignIn, options: dict[str, Any]
) -> None:
    make_pool(HOSTILE)
    watched = sign_in(make_labeler(), **options)
    page = watched.open("/rank/")
    active = "script, img, svg, iframe, object, embed, form, input, style, link, base, meta"
    hidden = "/[\\u202a-\\u202e\\u2066-\\u2069\\u0000-\\u0008]/.test(document.body.innerText)"
    for view, pairs in (("text", ["AB", "CD", "EF", "GI"]), ("raw", ["CF"]), ("markdown", ["AC"])):
        choose(page, view)
        for pair in pairs:
            beside(page, pair[0], pair[1], timeout=20_000)
            assert page.locator(f"[data-side-text] :is({active}, a)").count() == 0
            assert page.evaluate(hidden) is False
            page.keyboard.press("Escape")
    for alias in "AC":
        focus(page, alias)
        page.keyboard.press("d")
        marked = page.locator(f"[data-is-against][data-card={alias}]")
        expect(marked).to_be_attached(timeout=20_000)
        assert page.locator(f"[data-text] :is({active}, a)").count() == 0
        assert page.evaluate(hidden) is False
        page.keyboard.press("d")
        expect(page.locator("[data-is-against]")).to_have_count(0, timeout=20_000)
    assert watched.outgoing == []


def test_a_very_long_line_is_shown_without_marks_in_seconds(sign_in: SignIn, settings: Any) -> None:
    settings.MAX_TEXT_CHARACTERS = 2_000_000
    long = ["x" * 1_000_000, "Z" + "\u0336" * 100_000]
    page = open_page(sign_in, [*long, *ANSWERS[2:]])
    aliases = [a for a in "ABCD" if page.locator(f"#answer-{a} .rest").count()]
    began = time.monotonic()
    expect(beside(page, aliases[0], aliases[1])).to_contain_text(
        "Too long to mark the differences."
    )
    page.keyboard.press("1")
    assert len(ranks(page)) == 1
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    "options", [{}, DARK, PHONE, PHONE | DARK], ids=["light", "dark", "phone", "phone-dark"]
)
def test_axe_finds_nothing_while_comparing(sign_in: SignIn, options: dict[str, Any]) -> None:
    page = open_page(sign_in, **options)
    fox, dog = alias_of(page, TEXTS[0]), alias_of(page, TEXTS[1])
    one, _ = alike(page)
    focus(page, one)
    page.keyboard.press("1")
    page.keyboard.press("c")
    assert findings(page) == []
    page.keyboard.press("Escape")
    focus(page, fox)
    page.keyboard.press("d")
    expect(page.locator(".differs").first).to_be_attached()
    assert findings(page) == []
    beside(page, fox, dog)
    page.keyboard.press("2")
    assert findings(page) == []
    address = page.locator("[data-ranking]").get_attribute("data-compare-url")
    for query in (f"?a={fox}", f"?a={fox}&b={dog}"):
        page.goto(page.url.split("/assignments/")[0] + f"{address}{query}")
        expect(page.locator(".differs").first).to_be_attached()
        assert findings(page) == []


def test_what_is_picked_and_what_is_marked_stand_one_above_the_other(sign_in: SignIn) -> None:
    page = open_page(sign_in)
    page.keyboard.press("d")
    against, picked = page.locator("[data-against]"), page.locator("[data-picked]")
    expect(against).to_be_visible()
    page.keyboard.press("c")
    expect(picked).to_be_visible()
    above, below = picked.bounding_box(), against.bounding_box()
    assert above
    assert below
    assert above["y"] + above["height"] <= below["y"]


def test_marks_that_come_late_leave_the_next_task_alone(sign_in: SignIn) -> None:
    make_pool(TEXTS, ANSWERS)
    page = sign_in(make_labeler()).open("/rank/")
    expect(page.locator("[data-next-ready]")).to_be_attached()
    late: list[Any] = []
    page.route("**/compare/?a=*", lambda route: late.append(route))
    for key in ["1", "2", "3", "4", "d"]:
        page.keyboard.press(key)
    page.wait_for_timeout(300)
    page.keyboard.press("Control+Enter")
    expect(page.locator("#answer-A")).to_contain_text(" answer.")
    with page.expect_response("**/compare/?a=*"):
        late[0].continue_()
    page.wait_for_timeout(300)
    expect(page.locator("[data-against]")).to_be_hidden()
    expect(page.locator("[data-is-against]")).to_have_count(0)
