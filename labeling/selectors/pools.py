"""Pools: by name, by id, and how far each has come."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from django.db import models
from django.db.models import Count, Q, QuerySet
from django.db.models.functions import Now

from labeling.errors import NotFound
from labeling.models import Comparison, Pool, Prompt, Ranking, Round, Slot, Task, User

Named = TypeVar("Named", bound=models.Model)
# More digits do not fit the database's integers.
MAX_ID_DIGITS = 19


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
    real = Q(is_control=False)
    counted = Q(status=Ranking.Status.COUNTED)
    late = Q(status=Ranking.Status.LATE)
    counts: list[tuple[type[models.Model], str, dict[str, Count]]] = [
        (Prompt, "pool", {"prompts": Count("pk")}),
        (Task, "prompt__pool", {"tasks": Count("pk")}),
        (
            Slot,
            "pool",
            {
                "open": Count("pk", filter=real & ~(live | done)),
                "leased": Count("pk", filter=real & live),
                "done": Count("pk", filter=real & done),
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
    if not user.is_reviewer:
        _count_own_controls(user, progress)
    return [(pool, progress[pool.pk]) for pool in pools]


def _count_own_controls(labeler: User, progress: dict[int, dict[str, int]]) -> None:
    """Let the labeler's own control tasks move the counts that they see as any other task does.

    Otherwise a count that stands still would tell which task was a control.
    """
    slots = Slot.objects.filter(labeler=labeler, is_control=True, pool__in=progress)
    live = Q(state=Slot.State.LEASED, lease_until__gt=Now())
    own = (
        slots.order_by()
        .values("pool")
        .annotate(
            leased=Count("pk", filter=live), done=Count("pk", filter=Q(state=Slot.State.DONE))
        )
    )
    for row in own:
        counts = progress[row["pool"]]
        for name in ("done", "leased"):
            moved = min(row[name], counts["open"])
            counts["open"] -= moved
            counts[name] += moved


def prompts_to_sample(pool: Pool, round_: Round) -> QuerySet[Prompt]:
    """Prompts of the pool that have no task in the round."""
    return pool.prompts.exclude(tasks__round=round_).order_by("id")
