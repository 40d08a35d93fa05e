"""The same seed does the same again, from the first demonstration to the last ranking."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from random import Random
from typing import Any

import pytest
from django.core.management import call_command

from labeling.models import Assignment, Demonstration, Ranking
from labeling.services import create_pool, create_user, import_prompts
from tests.jobs.test_simulated_labelers_command import line, simulate
from training.jobs.world import draw_tasks

pytestmark = pytest.mark.django_db(transaction=True)
PROMPTS = 10
HABITS = {
    "labelers": 4, "spammers": 2, "rankings": 16, "demonstrations": 4, "noise": 0.2,
    "position_bias": 2, "length_bias": 1, "fatigue": 0.03, "skips": 0.2, "drafts": 0.5,
}  # fmt: skip


def installation(*, older: bool) -> None:
    """A database with nothing but the pool, or one that had others before, so that no key of a row
    is the same.
    """
    call_command("flush", interactive=False, verbosity=0)
    rng = Random(1)
    lines = [line(task, rng) for task in islice(draw_tasks(1), PROMPTS + 2)]
    if older:
        create_user(username="somebody", password=None, role="labeler")
        import_prompts(create_pool(name="zero"), lines[PROMPTS:])
    import_prompts(create_pool(name="first", overlap=2), lines[:PROMPTS])


def done() -> dict[str, list[Any]]:
    """All that labelers were given and made of it, in the order in which they did it, in words that
    hold in any installation: no key, no time, no token.
    """
    assignments = Assignment.objects.select_related("labeler", "task__prompt")
    written = Demonstration.objects.select_related("author", "prompt").order_by("pk")
    rankings = Ranking.objects.select_related("labeler", "task__prompt").order_by("pk")
    return {
        "given": [
            (a.labeler.username, a.task.prompt.digest, a.shown_order, a.state, a.skip_reason)
            for a in assignments.order_by("created_at")
        ],
        "drafts": [a.draft for a in assignments.order_by("created_at")],
        "rankings": [(*whose(r), r.status, *items(r)) for r in rankings],
        "comparisons": [(*whose(r), *comparisons(r)) for r in rankings],
        "demonstrations": [(d.author.username, d.prompt.digest, d.text) for d in written],
    }


def whose(ranking: Ranking) -> tuple[str, str]:
    return ranking.labeler.username, ranking.task.prompt.digest


def items(ranking: Ranking) -> Iterator[tuple[Any, ...]]:
    for item in ranking.items.select_related("completion").order_by("completion__number"):
        yield item.completion.text, item.rank, item.quality, tuple(item.flags)


def comparisons(ranking: Ranking) -> Iterator[tuple[int, int, str]]:
    for pair in ranking.comparisons.order_by("a__number", "b__number"):
        yield pair.a.number, pair.b.number, pair.preferred


def whole_run(url: str, *, older: bool = False, **changes: Any) -> tuple[dict[str, list[Any]], str]:
    """What was done, and what the command told, without the time that it took."""
    installation(older=older)
    told = simulate(url, **{**HABITS, **changes})
    return done(), re.sub(r"[\d.]+ seconds", "", told)


def test_the_same_seed_does_the_same_in_two_installations(live_server: Any) -> None:
    first, told = whole_run(live_server.url)
    again, told_again = whole_run(live_server.url, older=True)
    assert again.keys() == first.keys()
    for what, made in first.items():
        assert again[what] == made, what
    assert told_again == told
    everything_happened(first)
    other, _ = whole_run(live_server.url, seed=2, rankings=4, demonstrations=0)
    given = zip(other["given"], first["given"], strict=False)
    assert any(order != before for (_, _, order, *_), (_, _, before, *_) in given)


def everything_happened(made: dict[str, list[Any]]) -> None:
    """Else there was nothing to compare."""
    assert (len(made["rankings"]), len(made["demonstrations"])) == (16, 4)
    states = Counter(state for *_, state, _ in made["given"])
    assert states["skipped"] > 0
    assert len({tuple(order) for _, _, order, *_ in made["given"]}) > 6
    assert any(made["drafts"])
    by_spammers = [r for r in made["rankings"] if r[0][-1] in "34"]
    assert {quality for _, _, _, *rows in by_spammers for _, _, quality, _ in rows} == {None}
    flags = {flag for _, _, _, *rows in made["rankings"] for *_, found in rows for flag in found}
    assert flags
    assert len({who for who, *_ in made["rankings"]}) == 4
