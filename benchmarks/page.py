"""What the ranking page costs a labeler: weight, first render, the next task, a very long answer.

A server on a fresh folder, a headless Chromium on the same machine, nine answers of 2,000
characters each. Prints ``BUDGET case measured limit``: the median of so many loads or tasks, and
the worst of them in brackets. First render is first contentful paint by the browser's own clock,
with nothing in its cache, in a window that has been open for a while; the next task, from the key
that submits to the frame that shows it.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from benchmarks.budgets import STARTER
from benchmarks.server import Installation, ServerError, serving
from training.management.client import ApiClient

NAMES = ("chromium", "chromium-browser", "google-chrome")
NINE = 9
CHARACTERS = 2000
MEGABYTE = 1_000_000
LOADS = 9
TASKS = 9
LABELER = "reader"
# A new window is busy with itself at first (its address bar is a page too), on the same two cores.
WINDOW_SETTLES_MS = 1500

# Until a card is bound to its scripts the page takes no key.
READY = "[data-draggable]"
PAINT = """() => new Promise(done => new PerformanceObserver(list => {
    const paint = list.getEntriesByName('first-contentful-paint')[0];
    if (paint) done(paint.startTime);
}).observe({type: 'paint', buffered: true}))"""
SCRIPTS = """() => performance.getEntriesByType('resource')
    .filter(entry => new URL(entry.name).pathname.endsWith('.js'))
    .reduce((total, entry) => total + entry.decodedBodySize, 0)"""
SHIFT = """window.shifted = 0; new PerformanceObserver(list => {
    for (const shift of list.getEntries()) window.shifted += shift.value;
}).observe({type: 'layout-shift', buffered: true});"""
SHOW_ALL = """button => new Promise(done => {
    button.click();
    requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now())));
})"""
NEXT = """() => { window.next = new Promise(done => addEventListener('keydown', function on(event) {
    if (event.key !== 'Enter') return;
    removeEventListener('keydown', on, {capture: true});
    const began = performance.now(), before = document.querySelector('[data-assignment]');
    requestAnimationFrame(function look() {
        const now = document.querySelector('[data-assignment]');
        if (now && now !== before) done(performance.now() - began);
        else requestAnimationFrame(look);
    });
}, {capture: true})) }"""


def main() -> int:
    chromium = next(filter(None, map(shutil.which, NAMES)), None)
    if chromium is None:
        print("no Chromium on PATH (Debian: apt-get install chromium)", file=sys.stderr)
        return 1
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder), model=STARTER, MAX_TEXT_CHARACTERS=f"{2 * MEGABYTE}") as made,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        measure(made, browser)
        browser.close()
    return 0


def measure(made: Installation, browser: Browser) -> None:
    nine, long = make_pools(made)
    signed_in = sign_in(made, browser)
    rank = f"{made.url}/pools/{nine}/rank/"
    paints, shifts, weights = zip(
        *(load(browser, signed_in, rank) for _ in range(LOADS)), strict=True
    )
    tell("page_scripts", weights, "kB", 60, 1 / 1000)
    tell("first_render", paints, "ms", 300)
    tell("layout_shift", shifts, "", 0.01)
    with opened(browser, signed_in, rank) as page:
        tell("next_task", [submit(page) for _ in range(TASKS)], "ms", 100)
    address = f"{made.url}/pools/{long}/rank/"
    opens = [open_long(browser, signed_in, address) for _ in range(3)]
    tell("megabyte_opens", opens, "ms", 2000)


def make_pools(made: Installation) -> tuple[int, int]:
    """Pools of nine answers to each prompt, and of one megabyte among four answers."""
    sentence = "It goes on, and says a little more. "
    answers = [
        (f"Answer {n}. " + sentence * (CHARACTERS // len(sentence) + 1))[:CHARACTERS]
        for n in range(NINE)
    ]
    long = ["x" * MEGABYTE, *answers[:3]]
    tasks = {"nine": [answers] * (TASKS + 2), "long": [long]}
    with ApiClient(made.url, made.manage("issue_token", "admin").strip()) as api:
        made_pools = [_pool(made, api, name, texts) for name, texts in tasks.items()]
    return made_pools[0], made_pools[1]


def _pool(made: Installation, api: ApiClient, name: str, tasks: Sequence[Sequence[str]]) -> int:
    body = {"name": name, "completions_per_prompt": len(tasks[0]), "overlap": 1}
    pool = api.post("pools/", body)
    file = made.folder / f"{name}.jsonl"
    lines = [
        {"prompt": f"Prompt {n}", "completions": [{"text": text} for text in texts]}
        for n, texts in enumerate(tasks)
    ]
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    made.manage("import_prompts", str(file), "--pool", name)
    return int(pool["id"])


def sign_in(made: Installation, browser: Browser) -> Any:
    """The cookies of a new labeler.

    Raises:
        ServerError: the account's password was not told.
    """
    said = made.manage("create_user", LABELER)
    _, told, password = said.strip().rpartition("password ")
    if not told:
        raise ServerError(f"create_user said no password: {said}")
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{made.url}/login/")
    page.get_by_label("Username").fill(LABELER)
    page.get_by_label("Password").fill(password)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{made.url}/")
    state = context.storage_state()
    context.close()
    return state


@contextmanager
def opened(browser: Browser, signed_in: Any, address: str) -> Iterator[Page]:
    """The page in a browser with an empty cache, once it takes keys."""
    context: BrowserContext = browser.new_context(
        viewport={"width": 1440, "height": 900}, storage_state=signed_in
    )
    page = context.new_page()
    page.add_init_script(SHIFT)
    page.wait_for_timeout(WINDOW_SETTLES_MS)
    page.goto(address)
    page.wait_for_selector(READY, state="attached")
    yield page
    context.close()


def load(browser: Browser, signed_in: Any, address: str) -> tuple[float, float, float]:
    """Milliseconds to the first contentful paint, layout shift, bytes of scripts."""
    with opened(browser, signed_in, address) as page:
        return page.evaluate(PAINT), page.evaluate("window.shifted"), page.evaluate(SCRIPTS)


def submit(page: Page) -> float:
    """Rank nine answers by keys: milliseconds from the last key to the next task."""
    page.wait_for_selector("[data-next-ready]", state="attached")
    page.evaluate(NEXT)
    for rank in range(1, NINE + 1):
        page.keyboard.press(str(rank))
    page.keyboard.press("Control+Enter")
    took = float(page.evaluate("window.next"))
    # A second submission within half a second would be taken for a double click.
    page.wait_for_timeout(700)
    return took


def open_long(browser: Browser, signed_in: Any, address: str) -> float:
    """Milliseconds from asking for the page to the frame that shows all of a megabyte."""
    with opened(browser, signed_in, address) as page:
        more = page.locator("[data-card]").filter(has_text="xxxxxx").locator("[data-more]")
        return float(more.evaluate(SHOW_ALL))


def tell(case: str, found: Sequence[float], unit: str, limit: float, scale: float = 1.0) -> None:
    middle, worst = statistics.median(found) * scale, max(found) * scale
    digits = 3 if limit < 1 else 1
    print(
        f"BUDGET {case} measured={middle:.{digits}f}{unit} limit={limit:g}{unit} "
        f"(worst of {len(found)}: {worst:.{digits}f}{unit})",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
