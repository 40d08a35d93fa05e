"""Ranking in a real browser: by keyboard, by selects, without JavaScript."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from labeling.models import Assignment, RankedItem, Ranking
from tests.browser.conftest import MESSAGES, Watched, painted
from tests.browser.world import ANSWERS, HOSTILE, make_labeler, make_pool, stored_ranks

pytestmark = pytest.mark.django_db(transaction=True)

SignIn = Callable[..., Watched]
PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}


def wait_for_draft(page: Page, **expected: object) -> None:
    """Until the stored draft has these parts."""
    for _ in range(200):
        draft = Assignment.objects.get().draft or {}
        if {key: draft.get(key) for key in expected} == expected:
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"{draft} lacks {expected}")


def test_rank_by_keyboard(sign_in: SignIn) -> None:
    make_pool(ANSWERS, ANSWERS[::-1])
    page = sign_in(make_labeler()).open("/rank/")
    submit = page.get_by_role("button", name="Submit")
    expect(submit).to_be_disabled()
    for key in ["2", "1", "=", "Shift+5"]:
        page.keyboard.press(key)
    expect(submit).to_be_disabled()
    for key in ["Backspace", "4"]:
        page.keyboard.press(key)
    expect(submit).to_be_enabled()
    page.keyboard.press("Control+Enter")
    expect(page.locator(MESSAGES)).to_contain_text("Ranking saved")
    assert stored_ranks() == {"A": 2, "B": 1, "C": 1, "D": 4}
    assert Ranking.objects.get().status == "counted"
    assert RankedItem.objects.filter(quality=5).count() == 1


def test_nine_answers_take_few_keys_and_each_move_is_announced(sign_in: SignIn) -> None:
    """K = 9 with ties in any order: a digit an answer and the two of Ctrl+Enter, under 2K + 3."""
    make_pool([f"Answer {n}" for n in range(1, 10)])
    page = sign_in(make_labeler()).open("/rank/")
    page.evaluate("addEventListener('keydown', () => { window.keys = (window.keys ?? 0) + 1; })")
    wanted = dict(zip("ABCDEFGHI", [5, 2, 9, 2, 1, 7, 2, 8, 3], strict=True))
    said = page.locator("[data-announce]")
    placed: list[str] = []
    for alias, rank in wanted.items():
        expect(page.locator(f"#answer-{alias}")).to_have_attribute("data-current", "")
        page.keyboard.press(str(rank))
        ties = ", ".join(other for other in placed if wanted[other] == rank)
        placed.append(alias)
        left = f"{9 - len(placed)} left." if len(placed) < 9 else "All placed."
        tied = f", tied with {ties}" if ties else ""
        expect(said).to_have_text(f"{alias} on rank {rank}{tied}. {left}")
    keys_of_submit = 2
    assert page.evaluate("window.keys") + keys_of_submit <= 2 * 9 + 3
    page.keyboard.press("Control+Enter")
    expect(page.locator(MESSAGES)).to_contain_text("Ranking saved")
    assert stored_ranks() == wanted


def test_keys_move_undo_and_redo(sign_in: SignIn) -> None:
    make_pool(ANSWERS)
    page = sign_in(make_labeler()).open("/rank/")
    for key in ["1", "2", "3", "k", "k", "Shift+ArrowDown"]:
        page.keyboard.press(key)
    rank_of = {alias: page.locator(f"[name=rank_{alias}]") for alias in "ABC"}
    expect(page.locator("#answer-B")).to_be_focused()
    expect(rank_of["B"]).to_have_value("3")
    expect(rank_of["C"]).to_have_value("2")
    page.keyboard.press("u")
    expect(rank_of["B"]).to_have_value("2")
    page.keyboard.press("Shift+U")
    expect(rank_of["B"]).to_have_value("3")
    expect(page.locator("[data-announce]")).to_have_text("Redone: B on rank 3. 1 left.")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()


def test_rank_without_javascript(sign_in: SignIn) -> None:
    make_pool(ANSWERS)
    watched = sign_in(make_labeler(), java_script_enabled=False)
    page = watched.open("/rank/")
    expect(page.locator(".ranks")).to_be_hidden()
    for alias, rank in {"A": "3", "B": "1", "C": "3"}.items():
        page.locator(f"[name=rank_{alias}]").select_option(rank)
    page.locator("#answer-A .pip").nth(6).click()
    page.get_by_label("Note").fill("Two of them are alike.")
    page.get_by_role("button", name="Submit").click()
    expect(page.locator("#answer-D .field-error").first).to_have_text(
        "This answer still needs a rank."
    )
    expect(page.get_by_label("Note")).to_have_value("Two of them are alike.")
    page.locator("[name=rank_D]").select_option("4")
    page.get_by_role("button", name="Submit").click()
    expect(page.locator(MESSAGES)).to_contain_text("Ranking saved")
    assert stored_ranks() == {"A": 3, "B": 1, "C": 3, "D": 4}
    assert RankedItem.objects.filter(quality=7).count() == 1
    # Chromium reports the form that came back with its faults.
    watched.forgive("422")


def test_reload_keeps_what_was_entered(sign_in: SignIn) -> None:
    make_pool(ANSWERS)
    page = sign_in(make_labeler()).open("/rank/")
    page.keyboard.press("2")
    page.locator("#answer-B .pip").nth(2).click()
    page.locator("#answer-C summary").click()
    page.locator("#answer-C [data-flags] input").first.check()
    page.get_by_label("Note").fill("half done")
    wait_for_draft(page, ranks={"A": 2}, ratings={"B": 3}, note="half done")
    page.reload()
    painted(page)
    expect(page.locator("[name=rank_A]")).to_have_value("2")
    expect(page.locator("[data-drop='2'] .chip")).to_have_attribute("data-alias", "A")
    expect(page.locator("[name=quality_B]").nth(2)).to_be_checked()
    expect(page.locator("#answer-C [data-flags] input").first).to_be_checked()
    expect(page.get_by_label("Note")).to_have_value("half done")


def test_a_second_click_takes_a_rating_back(sign_in: SignIn) -> None:
    make_pool(ANSWERS)
    page = sign_in(make_labeler()).open("/rank/")
    pip = page.locator("#answer-B .pip").nth(4)
    pip.click()
    expect(pip.locator("input")).to_be_checked()
    wait_for_draft(page, ratings={"B": 5})
    pip.click()
    expect(pip.locator("input")).not_to_be_checked()
    wait_for_draft(page, ratings={})


def test_leaving_at_once_still_saves_the_draft(sign_in: SignIn) -> None:
    make_pool(ANSWERS)
    watched = sign_in(make_labeler())
    page = watched.open("/rank/")
    page.keyboard.press("3")
    watched.open("/")
    wait_for_draft(page, ranks={"A": 3})


def test_phone_ranks_by_its_selects_and_never_scrolls_sideways(sign_in: SignIn) -> None:
    make_pool([*HOSTILE[:3], "word " * 400])
    page = sign_in(make_labeler(), **PHONE).open("/rank/")
    expect(page.get_by_role("button", name="Submit")).to_be_in_viewport()
    expect(page.locator("#prompt-body")).to_be_hidden()
    for rank, alias in enumerate("ABCD", start=1):
        page.locator(f"[name=rank_{alias}]").select_option(str(rank))
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    page.locator("[data-board-fold]").click()
    expect(page.locator("[data-drop='4'] .chip")).to_be_visible()
    page.get_by_role("button", name="Submit").click()
    expect(page.locator(MESSAGES)).to_contain_text("Ranking saved")
    assert stored_ranks() == {"A": 1, "B": 2, "C": 3, "D": 4}


@pytest.mark.parametrize("path", ["/", "/rank/", "/login/", "/nowhere/"])
def test_no_page_scrolls_sideways_on_a_phone(sign_in: SignIn, path: str) -> None:
    make_pool(HOSTILE, name="A pool with quite a long name, as they come")
    watched = sign_in(make_labeler("a" * 60), **PHONE)
    page = watched.open(path)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    # Chromium reports the 404 of the page itself.
    watched.forgive("404")


def test_hostile_answers_stay_text(sign_in: SignIn) -> None:
    make_pool(HOSTILE)
    watched = sign_in(make_labeler())
    page = watched.open("/rank/")
    page.wait_for_load_state("networkidle")
    assert page.locator("[data-text] :is(script, img, svg, iframe, style, a)").count() == 0
    assert "owned" not in page.title()
    expect(page.locator(".unseen")).to_have_text(["RLO", "ZWSP", "ESC"])
    overhang = """() => [...document.querySelectorAll('.answer')].some(
        card => card.scrollWidth > card.clientWidth + 1)"""
    assert page.evaluate(overhang) is False
    assert watched.outgoing == []


def test_dark_is_followed_and_the_choice_remembered(sign_in: SignIn) -> None:
    make_pool(ANSWERS)
    watched = sign_in(make_labeler(), color_scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    page = watched.open("/rank/")
    dark = page.evaluate(ground)
    page.get_by_role("button", name="Switch between light and dark").click()
    light = page.evaluate(ground)
    assert light != dark
    page.reload()
    painted(page)
    assert page.evaluate(ground) == light


def test_double_click_on_submit_stores_one_ranking(sign_in: SignIn) -> None:
    make_pool(ANSWERS, ANSWERS[::-1])
    page = sign_in(make_labeler()).open("/rank/")
    for key in "1234":
        page.keyboard.press(key)
    page.get_by_role("button", name="Submit").dblclick()
    expect(page.locator(MESSAGES)).to_contain_text("Ranking saved")
    assert Ranking.objects.count() == 1
