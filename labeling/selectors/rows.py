"""Training data and exports: rows of what labelers made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.db.models import QuerySet

from labeling.models import Comparison, Demonstration, Pool, Ranking, User
from labeling.ordering import ALIASES


def counted_rankings(pool: Pool | None = None, labelers: str = "all") -> QuerySet[Ranking]:
    """Rankings that count, oldest first.

    ``labelers``: ``people``, ``simulated`` or ``all``.
    """
    rankings = Ranking.objects.filter(status=Ranking.Status.COUNTED)
    if pool is not None:
        rankings = rankings.filter(task__prompt__pool=pool)
    if labelers != "all":
        rankings = rankings.filter(labeler__is_simulated=labelers == "simulated")
    return rankings.order_by("id")


def ranking_rows(rankings: QuerySet[Ranking]) -> Iterator[dict[str, Any]]:
    """One row a ranking: the prompt, its completions as ranked, in shown order."""
    rows = rankings.select_related(
        "task__prompt__pool", "task__round", "labeler", "assignment"
    ).prefetch_related("items__completion")
    for ranking in rows.iterator(chunk_size=200):
        yield {
            **_provenance(ranking),
            "messages": ranking.task.prompt.messages,
            "completions": _ranked_completions(ranking),
            "note": ranking.note,
        }


def comparison_rows(rankings: QuerySet[Ranking]) -> Iterator[dict[str, Any]]:
    """One row a comparison, ties among them; ``chosen`` and ``rejected`` are null for a tie."""
    rows = rankings.select_related(
        "task__prompt__pool", "task__round", "labeler", "assignment"
    ).prefetch_related("comparisons__a", "comparisons__b")
    for ranking in rows.iterator(chunk_size=200):
        for pair in ranking.comparisons.all():
            chosen, rejected = (pair.b, pair.a) if pair.preferred == "b" else (pair.a, pair.b)
            tie = pair.preferred == Comparison.Preferred.TIE
            yield {
                **_provenance(ranking),
                "messages": ranking.task.prompt.messages,
                "a": pair.a.text,
                "b": pair.b.text,
                "model_a": pair.a.model,
                "model_b": pair.b.model,
                "preferred": pair.preferred,
                "rank_gap": pair.rank_gap,
                "chosen": None if tie else chosen.text,
                "rejected": None if tie else rejected.text,
            }


def demonstration_rows(
    pool: Pool | None = None, labelers: str = "all", *, for_training: bool = False
) -> Iterator[dict[str, Any]]:
    """One row a demonstration; imported ones count as written by people.

    ``for_training`` leaves out what labelers of the held-out group wrote.
    """
    rows = Demonstration.objects.select_related("prompt__pool", "author")
    if for_training:
        rows = rows.exclude(author__labeler_group=User.LabelerGroup.HELD_OUT)
    if pool is not None:
        rows = rows.filter(prompt__pool=pool)
    if labelers == "simulated":
        rows = rows.filter(author__is_simulated=True)
    elif labelers == "people":
        rows = rows.exclude(author__is_simulated=True)
    for row in rows.order_by("id").iterator(chunk_size=500):
        yield {
            "pool": row.prompt.pool.name,
            "prompt": row.prompt_id,
            "prompt_author": row.prompt.author,
            "use_case": row.prompt.use_case,
            "author": row.author.username if row.author else "",
            "simulated": row.author is not None and row.author.is_simulated,
            "messages": row.prompt.messages,
            "completion": row.text,
        }


def _provenance(ranking: Ranking) -> dict[str, Any]:
    prompt = ranking.task.prompt
    return {
        "pool": prompt.pool.name,
        "prompt": prompt.pk,
        "prompt_author": prompt.author,
        "use_case": prompt.use_case,
        "task": ranking.task_id,
        "round": ranking.task.round_id,
        "ranking": ranking.pk,
        "labeler": ranking.labeler.username,
        "labeler_group": ranking.labeler.labeler_group,
        "simulated": ranking.labeler.is_simulated,
    }


def _ranked_completions(ranking: Ranking) -> list[dict[str, Any]]:
    item_of = {item.completion.number: item for item in ranking.items.all()}
    rows = []
    for alias, number in zip(ALIASES, ranking.assignment.shown_order, strict=False):
        item = item_of[number]
        rows.append(
            {
                "alias": alias,
                "number": number,
                "text": item.completion.text,
                "model": item.completion.model,
                "rank": item.rank,
                "quality": item.quality,
                "flags": item.flags,
            }
        )
    return rows
