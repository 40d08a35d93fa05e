"""The reads of labeling. What a labeler may see is decided here, by an allow-list."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from django.db import models
from django.db.models import (
    Count,
    DurationField,
    Exists,
    ExpressionWrapper,
    F,
    IntegerField,
    Min,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
)
from django.db.models.functions import Coalesce, Now
from django.utils import timezone

from labeling.errors import NotFound
from labeling.models import (
    Assignment,
    Comparison,
    Demonstration,
    GuidelineVersion,
    Pool,
    Prompt,
    Ranking,
    Round,
    Slot,
    Task,
    User,
    Writing,
)
from labeling.ordering import ALIASES

Named = TypeVar("Named", bound=models.Model)
# More digits do not fit the database's integers.
MAX_ID_DIGITS = 19
MIN_RETRY_SECONDS = 5
MAX_RETRY_SECONDS = 300


def open_pools() -> QuerySet[Pool]:
    return Pool.objects.filter(is_open=True)


def pool_of(pool_id: int) -> Pool:
    pool = Pool.objects.filter(pk=pool_id).first()
    if pool is None:
        raise NotFound(f"There is no pool {pool_id}.")
    return pool


def pool_named(name_or_id: str) -> Pool:
    """By id or by name, as commands take it."""
    found = by_id_or_name(Pool.objects.all(), name_or_id)
    if found is None:
        raise NotFound(f"There is no pool {name_or_id!r}.")
    return found


def by_id_or_name(rows: QuerySet[Named], name_or_id: str) -> Named | None:
    """The row of that id, else of that name; an id wins over a name that looks like one."""
    by_id = None
    if name_or_id.isascii() and name_or_id.isdecimal() and len(name_or_id) < MAX_ID_DIGITS:
        by_id = rows.filter(pk=int(name_or_id)).first()
    return by_id or rows.filter(name=name_or_id).first()


def open_assignments(labeler: User, pools: QuerySet[Pool]) -> QuerySet[Assignment]:
    """What the labeler has begun and not ended, oldest first."""
    return (
        Assignment.objects.filter(
            labeler=labeler, state=Assignment.State.OPEN, task__prompt__pool__in=pools
        )
        .select_related("task__prompt__pool", "labeler")
        .order_by("created_at")
    )


def assignment_of(labeler: User, assignment_id: uuid.UUID) -> Assignment:
    found = (
        Assignment.objects.filter(pk=assignment_id, labeler=labeler)
        .select_related("task__prompt__pool", "guideline_version", "slot")
        .first()
    )
    if found is None:
        raise NotFound("There is no such assignment of yours.")
    return found


def lease_seconds_left(assignment: Assignment) -> int:
    """On database time; 0 when the lease has ended or went to somebody else."""
    left = (
        Slot.objects.filter(
            pk=assignment.slot_id,
            state=Slot.State.LEASED,
            lease_token=assignment.lease_token,
        )
        .annotate(left=ExpressionWrapper(F("lease_until") - Now(), output_field=DurationField()))
        .values_list("left", flat=True)
        .first()
    )
    return max(0, round(left.total_seconds())) if left is not None else 0


def task_payload(assignment: Assignment) -> dict[str, Any]:
    """All that a labeler sees of a task: an allow-list, blind to models, ids, times and other
    people.
    """
    pool = assignment.task.prompt.pool
    text_of = dict(assignment.task.completions.values_list("number", "text"))
    return {
        "assignment": str(assignment.pk),
        "lease_token": str(assignment.lease_token),
        "lease_seconds": lease_seconds_left(assignment),
        "pool": pool.name,
        "prompt": {"messages": assignment.task.prompt.messages},
        "completions": [
            {"alias": alias, "text": text_of[number]}
            for alias, number in assignment.number_of_alias.items()
        ],
        "rubric": pool.rubric,
        "guidelines": _guidelines(assignment.guideline_version),
        "draft": assignment.draft,
    }


def _guidelines(version: GuidelineVersion | None) -> dict[str, Any]:
    return {"version": version.number if version else 0, "text": version.text if version else ""}


def writing_payload(writing: Writing) -> dict[str, Any]:
    """All that a labeler sees of a prompt to write for: an allow-list, as for tasks."""
    return {
        "handle": str(writing.pk),
        "pool": writing.prompt.pool.name,
        "prompt": {"messages": writing.prompt.messages},
        "guidelines": _guidelines(writing.guideline_version),
    }


def open_writings(labeler: User, pools: QuerySet[Pool]) -> QuerySet[Writing]:
    """Prompts the labeler has been handed and has neither written for nor skipped, oldest first."""
    return (
        Writing.objects.filter(labeler=labeler, state=Writing.State.OPEN, prompt__pool__in=pools)
        .select_related("prompt__pool", "guideline_version")
        .order_by("created_at")
    )


def prompts_to_demonstrate(labeler: User, pools: QuerySet[Pool]) -> QuerySet[Prompt]:
    """Prompts the labeler has never been handed, nor written for; the fewest demonstrations first.

    One that somebody is writing for counts as written.
    """
    of_prompt = {"prompt": OuterRef("pk")}
    known = Exists(Writing.objects.filter(labeler=labeler, **of_prompt)) | Exists(
        Demonstration.objects.filter(author=labeler, **of_prompt)
    )
    under_way = Writing.objects.filter(state=Writing.State.OPEN)
    return (
        Prompt.objects.filter(~known, pool__in=pools)
        .annotate(there=_counted(Demonstration.objects.all()) + _counted(under_way))
        .order_by("there", "id")
        .select_related("pool")
    )


def _counted(rows: QuerySet[Any]) -> Coalesce:
    """How many of ``rows`` belong to the outer prompt."""
    per_prompt = rows.filter(prompt=OuterRef("pk")).order_by().values("prompt")
    count = per_prompt.annotate(count=Count("pk")).values("count")
    return Coalesce(Subquery(count, output_field=IntegerField()), 0)


def retry_after(labeler: User, pool: Pool | None) -> int:
    """Seconds until a task may come free: the soonest end of a lease that stands in the way."""
    slots = Slot.objects.filter(pool__in=open_pools(), state=Slot.State.LEASED)
    if pool is not None:
        slots = slots.filter(pool=pool)
    soonest = slots.exclude(task__assignments__labeler=labeler).aggregate(
        left=Min(ExpressionWrapper(F("lease_until") - Now(), output_field=DurationField()))
    )["left"]
    if soonest is None:
        return MAX_RETRY_SECONDS
    return min(max(int(soonest.total_seconds()) + 1, MIN_RETRY_SECONDS), MAX_RETRY_SECONDS)


def pool_progress(pool: Pool) -> dict[str, int]:
    return progress_of_pools([pool])[pool.pk]


def progress_of_pools(pools: Iterable[Pool]) -> dict[int, dict[str, int]]:
    """By pool: what is there and what is done; ``leased`` counts live leases only.

    As many queries for many pools as for one.
    """
    ids = [pool.pk for pool in pools]
    names = ["prompts", "tasks", "open", "leased", "done", "rankings", "comparisons", "late"]
    progress = {pk: dict.fromkeys(names, 0) for pk in ids}
    live = Q(state=Slot.State.LEASED, lease_until__gt=Now())
    done = Q(state=Slot.State.DONE)
    counted = Q(status=Ranking.Status.COUNTED)
    late = Q(status=Ranking.Status.LATE)
    counts: list[tuple[type[models.Model], str, dict[str, Count]]] = [
        (Prompt, "pool", {"prompts": Count("pk")}),
        (Task, "prompt__pool", {"tasks": Count("pk")}),
        (
            Slot,
            "pool",
            {
                "open": Count("pk", filter=~(live | done)),
                "leased": Count("pk", filter=live),
                "done": Count("pk", filter=done),
            },
        ),
        (
            Ranking,
            "task__prompt__pool",
            {"rankings": Count("pk", filter=counted), "late": Count("pk", filter=late)},
        ),
        (
            Comparison,
            "ranking__task__prompt__pool",
            {"comparisons": Count("pk", filter=Q(ranking__status=Ranking.Status.COUNTED))},
        ),
    ]
    for model, path, wanted in counts:
        rows = model._default_manager.filter(**{f"{path}__in": ids}).order_by().values(path)
        for row in rows.annotate(**wanted):
            progress[row.pop(path)].update(row)
    return progress


def pools_for(user: User) -> list[tuple[Pool, dict[str, int]]]:
    """The pools that take work, with their progress; reviewers and admins see closed ones too."""
    pools = list(Pool.objects.all() if user.is_reviewer else open_pools())
    progress = progress_of_pools(pools)
    return [(pool, progress[pool.pk]) for pool in pools]


def rankings_today(user: User) -> int:
    since = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
    return Ranking.objects.filter(labeler=user, created_at__gte=since).count()


def prompts_to_sample(pool: Pool, round_: Round) -> QuerySet[Prompt]:
    """Prompts of the pool that have no task in the round."""
    return pool.prompts.exclude(tasks__round=round_).order_by("id")


# --- training data and exports --------------------------------------------------------------------


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
