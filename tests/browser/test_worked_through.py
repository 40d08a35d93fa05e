"""Real prompts with real answers, ranked one after another as a new labeler would."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from labeling import services
from labeling.models import Ranking
from labeling.similarity import alike
from tests.browser.conftest import Watched
from tests.browser.hands import drag
from tests.browser.world import make_labeler
from tests.conftest import real_data

pytestmark = pytest.mark.django_db(transaction=True)

SignIn = Callable[..., Watched]
# So many of the answers to each prompt, as long as they are there.
MOST = 9


def real_rows(name: str, count: int) -> Iterator[dict[str, Any]]:
    """Lines to import, of the first ``count`` prompts that have enough answers."""
    with real_data(name).open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    for row in [row for row in rows if len(row["completions"]) >= 4][:count]:
        completions = row["completions"][:MOST]
        yield {
            "prompt": row["prompt"],
            "completions": [{"text": one["text"], "model": one["model"]} for one in completions],
        }


def import_rows(name: str, count: int) -> None:
    pool = services.create_pool(name=name, completions_per_prompt=MOST, guidelines="Truth first.")
    lines = [json.dumps(row).encode() for row in real_rows(name, count)]
    assert services.import_prompts(pool, lines).accepted > 0


def by_keyboard(page: Page) -> int:
    """Rank the task in hand: the first card 1, the next 2, …; what is alike tied. Keys pressed."""
    count = page.locator("[data-card]").count()
    keys = []
    for rank in range(1, count + 1):
        if page.locator("[data-submit]").is_enabled():
            break
        keys.append(str(rank))
        page.keyboard.press(keys[-1])
        if page.locator("[data-alike-tie]:visible").count():
            keys.append("t")
            page.keyboard.press("t")
    keys.append("Control+Enter")
    page.keyboard.press(keys[-1])
    return len(keys)


def by_mouse(page: Page) -> None:
    """Rank the task in hand: one chip by dragging, the others by their fields, ties by click."""
    aliases = [str(card.get_attribute("data-card")) for card in page.locator("[data-card]").all()]
    drag(page, f'.tray .chip[data-alias="{aliases[0]}"]', "[data-drop='1']")
    for rank, alias in enumerate(aliases, start=1):
        tie = page.locator(f"#answer-{alias} [data-alike-tie]")
        if tie.is_visible():
            tie.click()
        elif page.locator(f"#answer-{alias}[data-placed]").count() == 0:
            page.locator(f"#answer-{alias} .answer-head select").select_option(str(rank))
    page.locator("[data-submit]").click()


@pytest.mark.parametrize(
    ("name", "count", "view"),
    [("instructgpt_tldr.jsonl", 20, "text"), ("alpaca_eval_rankings.jsonl", 10, "markdown")],
    ids=["summaries", "assistant"],
)
def test_real_prompts_are_worked_through(sign_in: SignIn, name: str, count: int, view: str) -> None:
    import_rows(name, count)
    page = sign_in(make_labeler()).open("/rank/")
    if view == "markdown":
        page.keyboard.press("m")
        expect(page.locator("[data-views] [aria-current=true]")).to_have_text("Markdown")
    for done in range(count):
        # A second click so soon after the last task is taken for half of a double click.
        page.wait_for_timeout(550)
        form = page.locator("[data-ranking]")
        before = str(form.get_attribute("data-assignment"))
        wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
        assert page.evaluate(wide) is False
        if done % 2:
            by_mouse(page)
        else:
            cards = page.locator("[data-card]").count()
            assert by_keyboard(page) <= 2 * cards + 3
        # The next task is there, or that there is none.
        left = page.locator(f'[data-ranking][data-assignment="{before}"]')
        expect(left).to_have_count(0, timeout=20_000)
    expect(page.locator("[data-ranking]")).to_have_count(0, timeout=20_000)
    assert Ranking.objects.filter(status="counted").count() == count
    for ranking in Ranking.objects.prefetch_related("items__completion"):
        rank_of = {str(item.completion.number): item.rank for item in ranking.items.all()}
        texts = {str(item.completion.number): item.completion.text for item in ranking.items.all()}
        for group in alike(texts):
            assert len({rank_of[number] for number in group}) == 1
