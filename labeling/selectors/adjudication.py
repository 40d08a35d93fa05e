"""Tasks on which labelers disagree, and what was decided about them. For reviewers alone."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from django.db.models import Count, Q, QuerySet

from labeling.errors import NotFound
from labeling.models import (
    Adjudication,
    Comparison,
    Completion,
    Pool,
    RankedItem,
    Ranking,
    Task,
)
from labeling.ordering import ALIASES

# The newest shared tasks are looked through; the worst of them are listed.
MAX_TASKS, MAX_LISTED = 1_000, 50
COUNTED = Q(status=Ranking.Status.COUNTED)


class Disagreement(NamedTuple):
    """A task and the share of pairs on which two of its labelers say the same, 0 to 1."""

    task: Task
    labelers: int
    agreement: float

    @property
    def percent(self) -> int:
        return round(100 * self.agreement)


def disagreements(pool: Pool | None = None) -> list[Disagreement]:
    """Tasks that several labelers ranked differently and nobody decided; the worst come first."""
    tasks = Task.objects.filter(adjudication=None)
    if pool is not None:
        tasks = tasks.filter(prompt__pool=pool)
    counted = Count("rankings", filter=Q(rankings__status=Ranking.Status.COUNTED))
    shared = dict(
        tasks.annotate(labelers=counted)
        .filter(labelers__gte=2)
        .order_by("-pk")
        .values_list("pk", "labelers")[:MAX_TASKS]
    )
    agreements = _agreements(list(shared))
    worst = sorted((agreement, pk) for pk, agreement in agreements.items() if agreement < 1)
    found = Task.objects.select_related("prompt__pool").in_bulk(
        [pk for _, pk in worst[:MAX_LISTED]]
    )
    return [Disagreement(found[pk], shared[pk], agreement) for agreement, pk in worst[:MAX_LISTED]]


def _agreements(tasks: list[int]) -> dict[int, float]:
    """As ``labeling.quality`` counts it: of a tie and a preference, half."""
    rows = (
        Comparison.objects.filter(ranking__task__in=tasks, ranking__status=Ranking.Status.COUNTED)
        .order_by()
        .values_list("ranking__task", "a", "b", "preferred")
        .annotate(said=Count("pk"))
    )
    said_of: dict[tuple[int, int, int], Counter[str]] = defaultdict(Counter)
    for task, a, b, preferred, said in rows:
        said_of[task, a, b][preferred] += said
    shares = defaultdict(list)
    for (task, _, _), said in said_of.items():
        shares[task].append(_alike(said))
    return {task: sum(of_pairs) / len(of_pairs) for task, of_pairs in shares.items()}


def _alike(said: Counter[str]) -> float:
    """The chance that two of those who judged a pair said the same of it."""
    total, ties = said.total(), said["tie"]
    same = sum(count * (count - 1) for count in said.values()) / 2
    return (same + ties * (total - ties) / 2) / (total * (total - 1) / 2)


# --- one task, side by side -----------------------------------------------------------------------


@dataclass(frozen=True)
class Voice:
    """A labeler's ranking. ``name`` is a number until the task is decided."""

    name: str
    note: str
    items: dict[int, RankedItem]


@dataclass(frozen=True)
class Case:
    """A task as a reviewer reads it: which model wrote what is not told here either.

    ``completions``: pairs of alias and completion, in an order that tells nothing.
    """

    task: Task
    completions: list[tuple[str, Completion]]
    voices: list[Voice]
    adjudication: Adjudication | None
    decided: dict[int, int] = field(default_factory=dict)

    @property
    def aliases(self) -> list[str]:
        return [alias for alias, _ in self.completions]


def case_of(task_id: int) -> Case:
    """Raises NotFound, also for a task that fewer than two labelers ranked."""
    task = (
        Task.objects.select_related("prompt__pool", "adjudication__reviewer")
        .filter(pk=task_id)
        .first()
    )
    rankings = list(_rankings(task)) if task else []
    adjudication = getattr(task, "adjudication", None)
    if task is None or (len(rankings) < 2 and adjudication is None):
        raise NotFound("There is no such task that several labelers ranked.")
    completions = sorted(task.completions.all(), key=lambda one: _mixed(task.pk, one.pk))
    voices = [
        Voice(
            name=ranking.labeler.username if adjudication else str(number),
            note=ranking.note,
            items={item.completion_id: item for item in ranking.items.all()},
        )
        for number, ranking in enumerate(rankings, start=1)
    ]
    decided = dict(adjudication.items.values_list("completion", "rank")) if adjudication else {}
    named = list(zip(ALIASES, completions, strict=False))
    return Case(task, named, voices, adjudication, decided)


def _rankings(task: Task) -> list[Ranking]:
    """In an order that is nobody's: not that of names, nor of who was first."""
    rankings = task.rankings.filter(COUNTED).select_related("labeler").prefetch_related("items")
    return sorted(rankings, key=lambda ranking: _mixed(task.pk, ranking.pk))


def _mixed(*numbers: int) -> str:
    return hashlib.sha256(repr(numbers).encode()).hexdigest()


def adjudications(pool: Pool | None = None) -> QuerySet[Adjudication]:
    rows = Adjudication.objects.select_related("task__prompt__pool", "reviewer")
    return rows.filter(task__prompt__pool=pool) if pool is not None else rows


def adjudication_rows(pool: Pool) -> Iterator[dict[str, Any]]:
    """One row an adjudication; labelers' rankings are exported as they stood and stand."""
    rows = adjudications(pool).order_by("pk").prefetch_related("items__completion")
    for row in rows.iterator(chunk_size=200):
        task, prompt = row.task, row.task.prompt
        yield {
            "pool": prompt.pool.name,
            "prompt": prompt.pk,
            "prompt_author": prompt.author,
            "use_case": prompt.use_case,
            "task": task.pk,
            "round": task.round_id,
            "reviewer": row.reviewer.username,
            "messages": prompt.messages,
            "completions": [
                {
                    "number": item.completion.number,
                    "text": item.completion.text,
                    "model": item.completion.model,
                    "rank": item.rank,
                }
                for item in row.items.all()
            ],
            "reason": row.reason,
        }
