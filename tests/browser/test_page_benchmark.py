"""What measures the ranking page measures that page: ``python -m benchmarks.page``."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Browser

from benchmarks import page as benchmark
from labeling.models import Ranking
from tests.browser.conftest import Watched
from tests.browser.test_first_render import NINE
from tests.browser.test_submissions import wait_for_rankings
from tests.browser.world import make_labeler, make_pool
from tests.labeling.test_page_weight import MAX_BYTES


@pytest.mark.django_db(transaction=True)
def test_a_load_and_a_submission_are_measured(
    browser: Browser, sign_in: Callable[..., Watched]
) -> None:
    make_pool(NINE, NINE, NINE)
    watched = sign_in(make_labeler())
    signed_in, address = watched.page.context.storage_state(), f"{watched.server}/rank/"
    paint, shifted, weight = benchmark.load(browser, signed_in, address)
    assert 0 < paint < 60_000
    assert 0 <= shifted < 0.1
    assert MAX_BYTES / 2 < weight <= MAX_BYTES
    with benchmark.opened(browser, signed_in, address) as page:
        assert 0 < benchmark.submit(page) < 60_000
        wait_for_rankings(page, 1)
    assert Ranking.objects.count() == 1


def test_the_median_is_told_beside_the_limit_and_the_worst(
    capsys: pytest.CaptureFixture[str],
) -> None:
    benchmark.tell("first_render", [240.0, 300.0, 250.0], "ms", 300)
    benchmark.tell("page_scripts", [59_900], "kB", 60, 1 / 1000)
    assert capsys.readouterr().out.splitlines() == [
        "BUDGET first_render measured=250.0ms limit=300ms (worst of 3: 300.0ms)",
        "BUDGET page_scripts measured=59.9kB limit=60kB (worst of 1: 59.9kB)",
    ]
