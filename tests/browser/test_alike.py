"""Ties of what is almost the same: proposed, taken by a key or a click, or dismissed."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.test_comparing import (
    TEXTS,
    TOUCH,
    WIDE,
    SignIn,
    alias_of,
    alike,
    beside,
    focus,
    open_page,
    ranks,
)
from tests.browser.world import make_labeler, make_pool, stored_ranks

pytestmark = pytest.mark.django_db(transaction=True)


def test_nothing_is_tied_until_one_has_a_rank_and_then_by_one_key(sign_in: SignIn) -> None:
    page = open_page(sign_in)
    one, two = alike(page)
    expect(page.locator("[data-alike]:visible")).to_have_count(2)
    expect(page.locator(f"#answer-{one} [data-alike]")).to_contain_text(f"Almost the same: {two}")
    expect(page.get_by_role("button", name="Tie them")).to_have_count(0)
    page.keyboard.press("t")
    assert ranks(page) == {}
    focus(page, two)
    page.keyboard.press("2")
    page.keyboard.press("t")
    assert ranks(page) == {one: "2", two: "2"}
    expect(page.locator("[data-announce]")).to_contain_text(f"{one} on rank 2, tied with {two}.")
    expect(page.locator("[data-alike]:visible")).to_have_count(0)
    left = [alias for alias in "ABCD" if alias not in (one, two)]
    assert page.evaluate("document.activeElement.dataset.card") in left
    page.keyboard.press("u")
    assert ranks(page) == {two: "2"}
    page.keyboard.press("Shift+U")
    focus(page, left[0])
    page.keyboard.press("1")
    page.keyboard.press("4")
    page.keyboard.press("Control+Enter")
    page.get_by_text("Ranking saved").wait_for()
    stored = stored_ranks()
    assert stored[one] == stored[two] == 2


@pytest.mark.parametrize("options", [WIDE, TOUCH], ids=["mouse", "touch"])
def test_a_click_ties_or_dismisses(sign_in: SignIn, options: dict[str, Any]) -> None:
    page = open_page(sign_in, **options)
    one, two = alike(page)
    press = Locator.tap if options is TOUCH else Locator.click
    page.locator(f"#answer-{one} select").select_option("3")
    press(page.locator(f"#answer-{two} [data-alike-tie]"))
    assert ranks(page) == {one: "3", two: "3"}
    page.locator(f"#answer-{two} select").select_option("")
    press(page.locator(f"#answer-{two} [data-alike-dismiss]"))
    expect(page.locator("[data-alike]:visible")).to_have_count(0)
    focus(page, two)
    page.keyboard.press("t")
    assert ranks(page) == {one: "3"}


def test_the_next_task_compares_too(sign_in: SignIn) -> None:
    make_pool(TEXTS, [text.replace("fox", "cat") for text in TEXTS])
    page = sign_in(make_labeler()).open("/rank/")
    expect(page.locator("[data-next-ready]")).to_be_attached()
    first = page.locator("[data-ranking]").get_attribute("data-assignment")
    page.keyboard.press("c")
    for key in ["1", "2", "3", "4", "Control+Enter"]:
        page.keyboard.press(key)
    expect(page.locator(f'[data-ranking]:not([data-assignment="{first}"])')).to_be_attached()
    expect(page.locator("[data-picked]")).to_be_hidden()
    cat, dog = alias_of(page, "A red cat runs **fast**."), alias_of(page, TEXTS[1])
    expect(beside(page, cat, dog).locator("del.differs[data-said]")).to_have_text(
        ["cat", "**fast**"]
    )
    page.keyboard.press("1")
    assert ranks(page) == {cat: "1"}
