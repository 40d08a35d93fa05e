"""Dragging on the ranking page, by mouse and by finger; and all that must not move anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Watched
from tests.browser.hands import Finger, drag, lift, middle
from tests.browser.world import ANSWERS, make_labeler, make_pool, stored_ranks

pytestmark = pytest.mark.django_db(transaction=True)

SignIn = Callable[..., Watched]
Button = Literal["left", "middle", "right"]
PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
NINE = [f"Answer number {n}. " + "It goes on for a while. " * 12 for n in range(1, 10)]
# Of the chip itself; for a moment after a drop its copy is there too.
CHIP = ".drop .chip[data-alias={}] .chip-go"
GRIP = ".drop .chip[data-alias={}] .grip"


def open_page(sign_in: SignIn, answers: list[str] = ANSWERS, **options: object) -> Page:
    make_pool(answers)
    page = sign_in(make_labeler(), **options).open("/rank/")
    expect(page.locator("[data-draggable]")).to_be_attached()
    return page


def open_sheet(sign_in: SignIn, answers: list[str] = ANSWERS) -> tuple[Page, Finger]:
    """The page on a phone, its board pulled up."""
    page = open_page(sign_in, answers, **PHONE)
    page.locator("[data-board-fold]").tap()
    expect(page.locator(".ranks")).to_be_visible()
    return page, Finger(page)


def ranks(page: Page) -> dict[str, str]:
    """What the form would send, of the placed ones."""
    return page.evaluate(
        """() => Object.fromEntries([...document.querySelectorAll('[data-card]')]
            .map(card => [card.dataset.card, card.querySelector('select').value])
            .filter(([, rank]) => rank))"""
    )


def expect_nothing_carried(page: Page) -> None:
    expect(page.locator(".carried, [data-away], [data-over], [data-dragging]")).to_have_count(0)


# --- by mouse -------------------------------------------------------------------------------------


def test_rank_by_dragging_chips_and_badges(sign_in: SignIn) -> None:
    page = open_page(sign_in)
    drag(page, GRIP.format("A"), "[data-drop='2']")
    drag(page, CHIP.format("C"), "[data-drop='1']")
    drag(page, "#answer-B .badge", "[data-drop='2']")
    drag(page, GRIP.format("D"), "[data-drop='4']")
    expect(page.locator("#answer-A [data-tie]")).to_have_text("tied with B")
    expect(page.locator("#answer-B .badge")).to_have_count(1)
    drag(page, GRIP.format("D"), "[data-drop='']")
    expect(page.get_by_role("button", name="Submit")).to_be_disabled()
    drag(page, GRIP.format("D"), "[data-drop='3']")
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_role("heading", name="Nothing to rank right now")).to_be_visible()
    assert stored_ranks() == {"A": 2, "B": 2, "C": 1, "D": 3}


def test_a_drag_shows_where_it_would_land_and_says_so(sign_in: SignIn) -> None:
    page = open_page(sign_in)
    said = page.locator("[data-announce]")
    lift(page, GRIP.format("A"))
    expect(said).to_have_text("A picked up. Escape puts it back.")
    page.mouse.move(*middle(page, "[data-drop='3']"), steps=5)
    expect(page.locator("[data-over]")).to_have_attribute("data-rank", "3")
    expect(said).to_have_text("Rank 3.")
    assert ranks(page) == {}, "nothing is placed before it is let go"
    page.mouse.up()
    expect(said).to_have_text("A on rank 3. 3 left.")
    expect_nothing_carried(page)
    drag(page, GRIP.format("A"), "[data-drop='3']")
    expect(said).to_have_text("A stays on rank 3.")
    page.keyboard.press("u")
    assert ranks(page) == {}, "the drag that changed nothing left no step to undo"


@pytest.mark.parametrize("how", ["escape", "elsewhere", "lost capture", "cancelled pointer"])
def test_a_drag_that_is_given_up_changes_nothing(sign_in: SignIn, how: str) -> None:
    page = open_page(sign_in)
    drag(page, GRIP.format("B"), "[data-drop='2']")
    lift(page, GRIP.format("B"))
    page.mouse.move(*middle(page, "[data-drop='4']"), steps=5)
    if how == "escape":
        page.keyboard.press("Escape")
    elif how == "elsewhere":
        page.mouse.move(*middle(page, "[data-submit]"), steps=5)
    elif how == "lost capture":
        page.evaluate("document.querySelector('[data-ranking]').releasePointerCapture(1)")
        page.mouse.move(300, 300)
    else:
        page.evaluate("dispatchEvent(new PointerEvent('pointercancel', {pointerId: 1}))")
    if how != "elsewhere":
        expect_nothing_carried(page)
    page.mouse.up()
    expect_nothing_carried(page)
    expect(page.locator("[data-announce]")).to_have_text("B stays on rank 2.")
    assert ranks(page) == {"B": "2"}
    drag(page, GRIP.format("B"), "[data-drop='4']")
    assert ranks(page) == {"B": "4"}, "the next drag works"


def test_other_buttons_and_a_shaking_click_lift_nothing(sign_in: SignIn) -> None:
    page = open_page(sign_in)
    x, y = middle(page, CHIP.format("C"))
    page.evaluate(
        """() => addEventListener('contextmenu',
            event => setTimeout(() => { window.taken = event.defaultPrevented; }))"""
    )
    presses: list[tuple[Button, int]] = [("right", 200), ("middle", 200), ("left", 2)]
    for button, far in presses:
        page.mouse.move(x, y)
        page.mouse.down(button=button)
        page.mouse.move(x - far, y, steps=4)
        expect_nothing_carried(page)
        page.mouse.up(button=button)
    assert page.evaluate("window.taken") is False, "the browser's own menu opens as ever"
    expect(page.locator("#answer-C")).to_be_focused()
    assert ranks(page) == {}


def test_dragging_selects_no_text_and_goes_nowhere(sign_in: SignIn) -> None:
    page = open_page(sign_in)
    page.keyboard.press("ArrowDown")
    drag(page, "#answer-A .badge", "[data-drop='1']")
    drag(page, CHIP.format("D"), "[data-drop='2']")
    assert page.evaluate("getSelection().toString()") == ""
    expect(page.locator("#answer-D")).not_to_be_focused()


def test_keys_pressed_during_a_drag_are_kept(sign_in: SignIn) -> None:
    page = open_page(sign_in)
    lift(page, GRIP.format("A"))
    page.keyboard.press("4")
    page.mouse.move(*middle(page, "[data-drop='2']"), steps=5)
    page.mouse.up()
    expect_nothing_carried(page)
    assert ranks(page) == {"A": "2"}


def test_motion_is_left_out_where_it_is_unwanted(sign_in: SignIn) -> None:
    page = open_page(sign_in, reduced_motion="reduce")
    page.evaluate(
        """() => addEventListener('pointerup', () => setTimeout(() => {
            window.left = [document.querySelectorAll('.carried').length,
                           document.getAnimations().length];
        }))"""
    )
    drag(page, GRIP.format("A"), "[data-drop='2']")
    assert page.evaluate("window.left") == [0, 0]
    assert ranks(page) == {"A": "2"}


def test_a_board_that_is_too_long_scrolls_under_the_chip(sign_in: SignIn) -> None:
    page = open_page(sign_in, NINE, viewport={"width": 1280, "height": 420})
    board = page.locator("[data-board]")
    board.evaluate("board => board.scrollTo(0, 9999)")
    lift(page, GRIP.format("A"))
    x, _ = middle(page, "[data-board]")
    page.mouse.move(x, 70, steps=3)
    expect(board).to_have_js_property("scrollTop", 0)
    page.mouse.move(*middle(page, "[data-drop='1']"), steps=3)
    page.mouse.up()
    assert ranks(page) == {"A": "1"}


# --- by finger ------------------------------------------------------------------------------------


def test_a_finger_drags_by_the_grip(sign_in: SignIn) -> None:
    page, finger = open_sheet(sign_in)
    for alias, rank in {"A": 2, "B": 1}.items():
        finger.down(middle(page, GRIP.format(alias)))
        finger.move(middle(page, f"[data-drop='{rank}']"))
        finger.up()
        expect_nothing_carried(page)
    assert ranks(page) == {"A": "2", "B": "1"}
    finger.down(middle(page, GRIP.format("A")))
    finger.move(middle(page, "[data-drop='']"))
    finger.up()
    expect_nothing_carried(page)
    assert ranks(page) == {"B": "1"}


def test_a_finger_that_scrolls_over_chips_moves_none(sign_in: SignIn) -> None:
    page, finger = open_sheet(sign_in, NINE)
    x, y = middle(page, CHIP.format("A"))
    finger.down((x, y))
    finger.move((x, y - 200))
    finger.up()
    assert page.evaluate("document.querySelector('[data-board]').scrollTop") > 50
    expect(page.locator("[data-announce]")).to_have_text("")
    assert ranks(page) == {}


def test_a_finger_that_scrolls_over_a_badge_moves_nothing(sign_in: SignIn) -> None:
    page = open_page(sign_in, NINE, **PHONE)
    page.clock.install(time=0)
    page.clock.pause_at(1)
    finger = Finger(page)
    x, y = middle(page, "#answer-B .badge")
    finger.down((x, y))
    page.clock.run_for(200)
    finger.move((x, y - 200))
    finger.up()
    page.clock.run_for(1000)
    assert page.evaluate("scrollY") > 100
    expect(page.locator("[data-announce]")).to_have_text("")
    assert ranks(page) == {}


def test_a_finger_that_rests_on_a_badge_lifts_it(sign_in: SignIn) -> None:
    page = open_page(sign_in, NINE[:4], **PHONE)
    finger = Finger(page)
    finger.down(middle(page, "#answer-A .badge"))
    expect(page.locator(".carried")).to_be_visible()
    expect(page.locator(".ranks")).to_be_visible()
    finger.move(middle(page, "[data-drop='3']"))
    expect(page.locator("[data-over]")).to_have_attribute("data-rank", "3")
    finger.up()
    expect_nothing_carried(page)
    expect(page.locator(".ranks")).to_be_hidden()
    assert ranks(page) == {"A": "3"}
    assert page.evaluate("scrollY") == 0, "the page stood still meanwhile"


def test_a_finger_that_only_rests_places_nothing(sign_in: SignIn) -> None:
    """The sheet opens under the finger, which did not ask for the rank that is there now."""
    page = open_page(sign_in, NINE, **PHONE)
    finger = Finger(page)
    page.evaluate("scrollBy(0, document.querySelector('#answer-C').offsetTop - 300)")
    finger.down(middle(page, "#answer-C .badge"))
    expect(page.locator(".carried")).to_be_visible()
    under = "([x, y]) => Boolean(document.elementFromPoint(x, y).closest('.rank'))"
    assert page.evaluate(under, finger.at), "the test needs a rank there"
    finger.up()
    expect_nothing_carried(page)
    assert ranks(page) == {}


def test_a_touch_that_the_system_takes_away_changes_nothing(sign_in: SignIn) -> None:
    page, finger = open_sheet(sign_in)
    finger.down(middle(page, GRIP.format("A")))
    finger.move(middle(page, "[data-drop='2']"))
    expect(page.locator("[data-over]")).to_have_count(1)
    finger.cancel()
    expect_nothing_carried(page)
    expect(page.locator("[data-announce]")).to_have_text("A stays off the board.")
    assert ranks(page) == {}


def test_a_second_finger_carries_nothing(sign_in: SignIn) -> None:
    page, finger = open_sheet(sign_in)
    grips = [middle(page, GRIP.format(alias)) for alias in "AB"]
    finger.down(grips[0])
    finger.move((grips[0][0], grips[0][1] - 30))
    finger.down(finger.at, grips[1])
    expect(page.locator(".carried")).to_have_count(1)
    finger.cancel()
    expect_nothing_carried(page)


def test_the_sheet_scrolls_under_a_finger_at_its_edge(sign_in: SignIn) -> None:
    page, finger = open_sheet(sign_in, NINE)
    board = page.locator("[data-board]")
    board.evaluate("board => board.scrollTo(0, 9999)")
    top = board.bounding_box()
    assert top is not None
    finger.down(middle(page, GRIP.format("I")))
    finger.move((180, top["y"] + 20))
    expect(board).to_have_js_property("scrollTop", 0)
    finger.move(middle(page, "[data-drop='1']"))
    finger.up()
    expect_nothing_carried(page)
    assert ranks(page) == {"I": "1"}
