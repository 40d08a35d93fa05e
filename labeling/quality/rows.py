"""Rankings as rows, and how they group by task."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

# Fewer tasks tell nothing of a labeler or a pool: no figure is better than a wild one.
MIN_TASKS = 10


class RankingRow(NamedTuple):
    """One labeler's ranking of one task.

    ``ranks``, ``lengths``: by number of the completion (K); 1 is best, equal ranks tie.
    ``shown``: numbers of the completions in the order in which this labeler saw them.
    """

    task: int
    labeler: int
    guidelines: int | None
    ranks: tuple[int, ...]
    shown: tuple[int, ...]
    lengths: tuple[int, ...]


Tasks = Mapping[int, list[RankingRow]]


def by_task(rows: Iterable[RankingRow]) -> dict[int, list[RankingRow]]:
    """Task → its rankings, both in ascending order: what follows is the same every time."""
    tasks: dict[int, list[RankingRow]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: (row.task, row.labeler)):
        tasks[row.task].append(row)
    return dict(tasks)


def shared(tasks: Tasks) -> dict[int, list[RankingRow]]:
    """The tasks that at least two labelers ranked."""
    return {task: rows for task, rows in tasks.items() if len(rows) > 1}
