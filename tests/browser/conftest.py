"""A real Chromium against a real server, and a watch over what the page tries to do.

Chromium on a busy machine now and then loses a key or a tap: a test that fails is tried once more,
and told as an ``R``; what fails twice has failed.

Without Chromium these tests are skipped, unless PODIUM_REQUIRE_SERVICES=1 says that it must be
there.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect

from labeling.models import User
from tests.browser.world import PASSWORD

CHROMIUM = next(
    filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), ""
)
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

# Playwright's synchronous face runs an event loop in the test's thread, where Django would refuse
# its database; the database's own set-up comes before any fixture of ours.
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.fixture(scope="session")
def browser_type_launch_args() -> dict[str, Any]:
    if not CHROMIUM:
        reason = "no Chromium on PATH (Debian: apt-get install chromium)"
        if os.environ.get("PODIUM_REQUIRE_SERVICES") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return {"executable_path": CHROMIUM, "args": ARGUMENTS}


# What takes a moment on a quiet machine may take longer on one that trains models at once.
PATIENCE_MS = 40_000
expect.set_options(timeout=PATIENCE_MS)

# What the server says on a page, and what its scripts say in its place.
MESSAGES = "[data-messages]"

# Chromium drops keys and clicks on a page that it has not painted yet; its script ran long before.
PAINTED = """new Promise(done => {
    const look = () => performance.getEntriesByName('first-contentful-paint').length
        ? requestAnimationFrame(() => requestAnimationFrame(done)) : requestAnimationFrame(look);
    look();
})"""


def painted(page: Page) -> Page:
    """The page, once a person could see it and it takes input."""
    page.evaluate(PAINTED)
    return page


@dataclass
class Watched:
    """A page with all that went wrong on it, or out of it."""

    page: Page
    server: str
    has_scripts: bool = True
    problems: list[str] = field(default_factory=list)
    outgoing: list[str] = field(default_factory=list)
    forgiven: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("dialog", lambda dialog: self.problems.append(f"dialog: {dialog.message}"))
        self.page.on("request", lambda request: self._request(request.url))

    def open(self, path: str) -> Page:
        self.page.goto(self.server + path)
        # Without scripts nothing on a page waits for a key.
        return painted(self.page) if self.has_scripts else self.page

    def reload(self) -> Page:
        self.page.reload()
        return painted(self.page)

    def forgive(self, *words: str) -> None:
        """Chromium reports every refused or lost request on the console, some only after the test
        has seen what it waited for; those with such a word in them are meant.
        """
        self.forgiven.extend(words)

    def unforgiven(self) -> list[str]:
        return [text for text in self.problems if not any(word in text for word in self.forgiven)]

    def _console(self, message: ConsoleMessage) -> None:
        # A refusal by the content security policy is reported here.
        if message.type in ("error", "warning"):
            self.problems.append(message.text)

    def _request(self, url: str) -> None:
        if not url.startswith((self.server, "data:", "blob:")):
            self.outgoing.append(url)


@pytest.fixture
def sign_in(browser: Browser, live_server: Any) -> Iterator[Callable[..., Watched]]:
    """``sign_in(user, **context options)`` → a watched page of a signed-in browser."""
    contexts: list[BrowserContext] = []
    watched: list[Watched] = []

    def start(user: User, **options: Any) -> Watched:
        context = browser.new_context(**{"viewport": {"width": 1440, "height": 900}} | options)
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        has_scripts = options.get("java_script_enabled", True)
        watched.append(Watched(context.new_page(), live_server.url, has_scripts))
        page = watched[-1].open("/login/")
        page.get_by_label("Username").fill(user.username)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(live_server.url + "/")
        return watched[-1]

    yield start
    for context in contexts:
        context.close()
    for one in watched:
        assert one.unforgiven() == []
        assert one.outgoing == []
