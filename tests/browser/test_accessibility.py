"""axe-core finds nothing on any page, light and dark, and the keyboard alone reaches everything."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Watched
from tests.browser.world import ANSWERS, make_labeler, make_pool

pytestmark = pytest.mark.django_db(transaction=True)

SignIn = Callable[..., Watched]
AXE = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"
PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
DARK = {"color_scheme": "dark"}


def findings(page: Page) -> list[str]:
    """What axe has to say; its script comes in as an extension's does, past the page's policy."""
    page.evaluate(AXE.read_text())
    result = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{rule['id']}: {node['html'][:120]} {node['failureSummary']}"
        for rule in result["violations"]
        for node in rule["nodes"]
    ]


@pytest.mark.parametrize(
    "options", [{}, DARK, PHONE, PHONE | DARK], ids=["light", "dark", "phone", "phone-dark"]
)
def test_axe_finds_nothing_on_the_ranking_page(sign_in: SignIn, options: dict[str, object]) -> None:
    make_pool(ANSWERS)
    page = sign_in(make_labeler(), **options).open("/rank/")
    expect(page.locator("[data-draggable]")).to_be_attached()
    for key in ["1", "="]:
        page.keyboard.press(key)
    page.evaluate("for (const fold of document.querySelectorAll('main details')) fold.open = true")
    page.evaluate("document.querySelector('[data-board]').dataset.open = ''")
    page.wait_for_timeout(300)
    assert findings(page) == []


@pytest.mark.parametrize("options", [{}, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("path", ["/", "/login/", "/pools/{id}/rank/"])
def test_axe_finds_nothing_on_the_other_pages(
    sign_in: SignIn, path: str, options: dict[str, object]
) -> None:
    pool = make_pool(ANSWERS)
    pool.slots.update(state="free")
    watched = sign_in(make_labeler(), **options)
    if "{id}" in path:
        pool.slots.all().delete()
    if path == "/login/":
        watched.page.context.clear_cookies()
    page = watched.open(path.replace("{id}", str(pool.pk)))
    assert findings(page) == []


def test_focus_is_seen_and_the_menu_closes_with_escape(sign_in: SignIn) -> None:
    make_pool(ANSWERS)
    page = sign_in(make_labeler()).open("/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_in_viewport()
    page.locator(".menu summary").click()
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Sign out")).to_be_hidden()
    expect(page.locator(".menu summary")).to_be_focused()
