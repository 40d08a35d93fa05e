"""Pools with qualification items, and labelers who go through them."""

from __future__ import annotations

import uuid
from typing import Any

from django.test import Client

from labeling import services
from labeling.models import Pool, Qualification, Trial, User
from tests.conftest import as_lines

SECRET = "because-the-first-is-true"


def item(prompt: str, *ranks: int) -> dict[str, Any]:
    completions = [
        {"text": f"{prompt}: answer {n}", "rank": place}
        for n, place in enumerate(ranks or (1, 2, 3, 4))
    ]
    return {"prompt": prompt, "completions": completions, "explanation": SECRET}


def with_items(pool: Pool, *, training: int = 2, tests: int = 3) -> Pool:
    for kind, count in (("training", training), ("test", tests)):
        rows = as_lines(*(item(f"{kind} {n}") for n in range(count)))
        report = services.import_items(pool, rows, kind=kind)
        assert report.accepted == count, report
    return pool


def answered(trial: Trial, *, right: bool = True) -> dict[str, int]:
    """The expected ranks of a trial by alias, or their reverse."""
    expected = trial.item.rank_of_number
    last = len(expected) + 1
    return {
        alias: expected[number] if right else last - expected[number]
        for alias, number in trial.number_of_alias.items()
    }


def work(labeler: User, pool: Pool, *, right: bool = True) -> int:
    """Rank all items that come until none does; how many came."""
    done = 0
    while trial := services.next_trial(labeler, pool):
        ranks = answered(trial, right=right)
        services.submit_trial(labeler, trial.pk, submission_id=uuid.uuid4(), ranks=ranks)
        done += 1
    return done


def state_of(labeler: User, pool: Pool) -> str:
    return Qualification.objects.get(labeler=labeler, pool=pool).state


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client
