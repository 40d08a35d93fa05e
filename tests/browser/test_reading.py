"""Texts as text, as Markdown and raw in a real browser, whatever a hostile model wrote."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Watched, painted
from tests.browser.test_accessibility import DARK, PHONE, findings
from tests.browser.world import ANSWERS, make_labeler, make_pool
from tests.labeling.hostile_texts import ADDRESSES, CHARACTERS, LATEX, MARKUP, NESTED

pytestmark = pytest.mark.django_db(transaction=True)

SignIn = Callable[..., Watched]
VIEWS = ["text", "markdown", "raw"]
RICH = """# A title

Some **bold** words, `code`, and a [link](https://example.org/page).

```python
def double(x):  # twice
    return 2 * x
```

| name | size |
|------|-----:|
| one  |    1 |

$$\\sum_{i=1}^n i = \\frac{n(n+1)}{2}$$
"""
ANSWERS_RICH = [RICH, *ANSWERS[1:]]
# As many answers as a task can have, each of them all tricks of one kind; and one by one the worst.
HOSTILE = [
    "\n\n".join(MARKUP.values()),
    "\n\n".join(text for name, text in ADDRESSES.items() if name != "amplified"),
    "\n\n".join(CHARACTERS[name] for name in ("overrides", "zero width", "tags", "joiners")),
    "\n\n".join(text for text in LATEX.values() if len(text) < 2_000),
    CHARACTERS["combining"],
    CHARACTERS["many marks"],
    NESTED["lists"],
    NESTED["dollars"],
    NESTED["tables"],
]


def choose(page: Page, view: str) -> None:
    link = page.locator(f"[data-views] [data-view={view}]")
    link.click()
    expect(link).to_have_attribute("aria-current", "true", timeout=20_000)


def test_markdown_shows_headings_code_tables_and_formulas(sign_in: SignIn) -> None:
    make_pool(ANSWERS_RICH)
    page = sign_in(make_labeler()).open("/rank/")
    card = page.locator("[data-card]", has_text="twice")
    assert card.locator("math, h3, table").count() == 0
    page.keyboard.press("m")
    expect(card.get_by_role("heading", name="A title")).to_be_visible()
    expect(card.locator("pre .code-c")).to_have_text("# twice")
    expect(card.locator("td.right")).to_have_text("1")
    expect(card.locator("math munderover")).to_have_count(1)
    expect(card.locator(".address")).to_have_text("https://example.org/page")
    assert card.locator("[data-text] a").count() == 0
    assert (card.locator("math").bounding_box() or {"height": 0})["height"] > 30
    assert findings(page) == []


def test_keys_switch_the_view_and_raw_goes_back(sign_in: SignIn) -> None:
    make_pool(ANSWERS_RICH)
    page = sign_in(make_labeler()).open("/rank/")
    now = page.locator("[data-views] [aria-current=true]")
    for key, name in [("r", "Raw"), ("r", "Text"), ("m", "Markdown"), ("r", "Raw"),
                      ("r", "Markdown"), ("m", "Text")]:  # fmt: skip
        page.keyboard.press(key)
        expect(now).to_have_text(name)
    expect(page.locator("[data-announce]")).to_have_text("Texts are shown as text.")
    for key in ["m", "1", "2", "3", "4"]:
        page.keyboard.press(key)
    expect(page.get_by_role("button", name="Submit")).to_be_enabled()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("Show texts as Markdown")


def test_the_view_is_remembered_and_raw_is_not(sign_in: SignIn) -> None:
    make_pool(ANSWERS_RICH, ANSWERS_RICH)
    page = sign_in(make_labeler()).open("/rank/")
    choose(page, "markdown")
    choose(page, "raw")
    page.reload()
    painted(page)
    expect(page.locator("[data-views] [aria-current=true]")).to_have_text("Markdown")
    expect(page.locator("math").first).to_be_visible()


def test_what_is_read_stays_in_place_and_what_was_opened_stays_open(sign_in: SignIn) -> None:
    make_pool([f"{n}\n\n" + "- a line\n" * 60 for n in range(4)])
    page = sign_in(make_labeler()).open("/rank/")
    page.locator("#answer-A [data-more]").click()
    page.locator("#answer-C").evaluate("card => scrollTo(0, card.offsetTop + 100)")
    top = "document.querySelector('#answer-C').getBoundingClientRect().top"
    before = page.evaluate(top)
    page.keyboard.press("m")
    expect(page.locator("[data-views] [aria-current=true]")).to_have_text("Markdown")
    assert abs(page.evaluate(top) - before) <= 2
    expect(page.locator("#answer-A [data-more]")).to_have_text("Show less")
    expect(page.locator("#answer-C [data-more]")).to_have_text("Show all")


def test_without_a_connection_the_view_stays_and_says_so(sign_in: SignIn) -> None:
    make_pool(ANSWERS_RICH)
    watched = sign_in(make_labeler())
    page = watched.open("/rank/")
    page.route("**/texts/*", lambda route: route.abort())
    page.keyboard.press("m")
    expect(page.locator("[data-save-state]")).to_contain_text("could not be loaded")
    expect(page.locator("[data-views] [aria-current=true]")).to_have_text("Text")
    page.unroute("**/texts/*")
    page.keyboard.press("m")
    expect(page.locator("math").first).to_be_visible()
    # Chromium reports the request that was cut.
    watched.forgive("ERR_FAILED")


def test_without_javascript_a_link_shows_markdown_and_is_remembered(sign_in: SignIn) -> None:
    make_pool(ANSWERS_RICH)
    page = sign_in(make_labeler(), java_script_enabled=False).open("/rank/")
    assert page.locator("math").count() == 0
    page.get_by_role("link", name="Markdown").click()
    expect(page.locator("math").first).to_be_visible()
    page.get_by_role("link", name="Raw").click()
    assert page.locator("math").count() == 0
    page.goto(page.url.split("?")[0])
    expect(page.locator("math").first).to_be_visible()


@pytest.mark.parametrize("options", [{}, PHONE | DARK], ids=["wide", "phone"])
def test_hostile_texts_do_nothing_in_any_view(sign_in: SignIn, options: dict[str, object]) -> None:
    make_pool(HOSTILE)
    watched = sign_in(make_labeler(), **options)
    page = watched.open("/rank/")
    for view in ["text", "markdown", "raw", "markdown"]:
        choose(page, view)
        page.wait_for_load_state("networkidle")
        active = "script, img, svg, iframe, object, embed, form, input, style, link, base, a, meta"
        assert page.locator(f"[data-text] :is({active})").count() == 0
        assert page.locator("[data-card]").count() == len(HOSTILE)
        overhang = """() => [...document.querySelectorAll('.answer')].filter(
            card => card.scrollWidth > card.clientWidth + 1).map(card => card.dataset.card)"""
        assert page.evaluate(overhang) == []
        hidden = "/[\\u202a-\\u202e\\u2066-\\u2069\\u0000-\\u0008]/.test(document.body.innerText)"
        assert page.evaluate(hidden) is False
        assert "owned" not in page.title()
    page.evaluate("document.querySelectorAll('[data-more]').forEach(more => more.click())")
    width = page.evaluate("document.documentElement.clientWidth")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert watched.outgoing == []


@pytest.mark.parametrize("view", VIEWS)
def test_a_very_long_line_opens_in_seconds(sign_in: SignIn, settings: Any, view: str) -> None:
    settings.MAX_TEXT_CHARACTERS = 2_000_000
    make_pool(["x" * 1_000_000, "Z" + "\u0336" * 100_000, *ANSWERS[2:]])
    page = sign_in(make_labeler()).open("/rank/")
    began = time.monotonic()
    page.goto(page.url + f"?view={view}")
    page.keyboard.press("1")
    expect(page.locator("[data-placed]")).to_have_count(1)
    assert time.monotonic() - began < 10
    notes = ["Shown as text: it is longer than 50,000 characters."] * 2
    expect(page.locator(".note")).to_have_text(notes if view == "markdown" else [])
