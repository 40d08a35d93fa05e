"""Labelers, pools and answers for the tests that look at pages."""

from __future__ import annotations

import json

from labeling import services
from labeling.models import Pool, RankedItem, Ranking, User

PASSWORD = "a-long-Password-31"
ANSWERS = ["The first answer.", "The second answer.", "The third answer.", "The fourth answer."]

# What a hostile model may write: markup, outgoing addresses, controls, and text that spills.
HOSTILE = [
    "<script>document.title='owned'</script><img src='//evil.example/a.png' onerror=alert(1)>",
    "![x](https://evil.example/b.png) [link](javascript:alert(1)) <svg onload=alert(1)>",
    '"><iframe src="https://evil.example"></iframe><style>@import "//evil.example/c.css"</style>',
    "invoice\u202efdp.exe zero\u200bwidth \x1b[31mred" + "Z" + "\u0336\u0489" * 300 + "w" * 3000,
]


def make_labeler(name: str = "mina", role: str = "labeler") -> User:
    return services.create_user(username=name, password=PASSWORD, role=role)


def make_pool(
    *answers_of_prompts: list[str],
    name: str = "Support",
    guidelines: str = "Truth first.",
    lease_seconds: int = 1800,
    overlap: int = 1,
) -> Pool:
    """A pool with one ranking task for each list of answers."""
    pool = services.create_pool(
        name=name,
        completions_per_prompt=len(answers_of_prompts[0]),
        guidelines=guidelines,
        lease_seconds=lease_seconds,
        overlap=overlap,
    )
    lines = [
        json.dumps({"prompt": f"Prompt {n}", "completions": [{"text": text} for text in answers]})
        for n, answers in enumerate(answers_of_prompts, start=1)
    ]
    report = services.import_prompts(pool, [line.encode() for line in lines])
    assert report.accepted == len(lines), report
    return pool


def stored_ranks() -> dict[str, int]:
    """Alias → rank of the only ranking."""
    ranking = Ranking.objects.get()
    alias_of = {number: alias for alias, number in ranking.assignment.number_of_alias.items()}
    items = RankedItem.objects.filter(ranking=ranking).select_related("completion")
    return {alias_of[item.completion.number]: item.rank for item in items}
