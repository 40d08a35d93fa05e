"""Changing a ranking, and flagging a prompt, in a real browser."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from labeling.models import PromptFlag, Revision
from tests.browser.conftest import MESSAGES, Watched, painted
from tests.browser.test_accessibility import DARK, PHONE, findings
from tests.browser.test_lease_and_network import place_all
from tests.browser.world import ANSWERS, make_labeler, make_pool, stored_ranks

pytestmark = pytest.mark.django_db(transaction=True)

SignIn = Callable[..., Watched]


@pytest.mark.parametrize("options", [{}, PHONE | DARK], ids=["wide", "phone"])
def test_a_ranking_is_found_changed_and_handed_in_again(
    sign_in: SignIn, options: dict[str, object]
) -> None:
    make_pool(ANSWERS)
    watched = sign_in(make_labeler(), **options)
    page = watched.open("/rank/")
    place_all(page)
    page.keyboard.press("Control+Enter")
    expect(page.locator(MESSAGES)).to_contain_text("Ranking saved")
    watched.open("/rankings/")
    assert findings(page) == []
    page.get_by_role("link", name="Change").click()
    painted(page)
    expect(page.locator("[name=rank_C]")).to_have_value("3")
    assert findings(page) == []
    page.locator("#answer-A").focus()
    page.keyboard.press("4")
    page.get_by_role("button", name="Submit again").click()
    page.wait_for_url("**/rankings/")
    expect(page.locator(MESSAGES)).to_contain_text("Ranking saved")
    assert stored_ranks() == {"A": 4, "B": 2, "C": 3, "D": 4}
    assert Revision.objects.count() == 1


def test_flagging_a_prompt_leaves_the_work_alone(sign_in: SignIn) -> None:
    make_pool(ANSWERS)
    page = sign_in(make_labeler()).open("/rank/")
    page.keyboard.press("1")
    page.get_by_text("Flag this prompt…").click()
    flag = page.get_by_role("button", name="Flag it")
    state = page.locator("[data-flag-state]")
    flag.click()
    expect(state).to_contain_text("choose what is wrong")
    page.get_by_label("I have seen the same prompt before").check()
    page.get_by_label("What is wrong with it, in a few words").fill("It was the first today.")
    flag.click()
    expect(state).to_contain_text("Flagged. Thank you")
    assert findings(page) == []
    expect(page.locator("[name=rank_A]")).to_have_value("1")
    stored = PromptFlag.objects.get()
    assert (stored.reason, stored.detail) == ("duplicate", "It was the first today.")


def test_flagging_without_javascript_keeps_what_was_ranked(sign_in: SignIn) -> None:
    make_pool(ANSWERS)
    page = sign_in(make_labeler(), java_script_enabled=False).open("/rank/")
    page.locator("[name=rank_B]").select_option("3")
    page.get_by_text("Flag this prompt…").click()
    page.get_by_label("It cannot be understood").check()
    page.get_by_role("button", name="Flag it").click()
    expect(page.locator(MESSAGES)).to_contain_text("Flagged")
    expect(page.locator("[name=rank_B]")).to_have_value("3")
    assert PromptFlag.objects.get().reason == "unclear"
