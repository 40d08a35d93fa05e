"""The starter pool: prompts of every family as lines of the import format."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from random import Random
from typing import Any

from training.jobs.world.tasks import Task, draw_tasks

AUTHORS = 4
REFERENCE_SHARE = 0.5


def starter_prompts(count: int = 32, seed: int = 1) -> list[dict[str, Any]]:
    """``count`` distinct prompts, the families in turn, about half with a good demonstration.

    A prompt of one user message is given as ``prompt``, a conversation as ``messages``. The same
    seed gives the same lines, and a longer pool begins with the shorter one.
    """
    rng = Random(seed + 1)
    return [_line(number, task, rng) for number, task in enumerate(islice(_distinct(seed), count))]


def _distinct(seed: int) -> Iterator[Task]:
    seen = set()
    for task in draw_tasks(seed):
        key = str(task.messages)
        if key not in seen:
            seen.add(key)
            yield task


def _line(number: int, task: Task, rng: Random) -> dict[str, Any]:
    single = len(task.messages) == 1
    line: dict[str, Any] = {"prompt": task.messages[0]["content"]} if single else {}
    line |= {} if single else {"messages": task.messages}
    line |= {
        "use_case": task.family.use_case,
        "source": "starter",
        "author": f"starter-{number % AUTHORS + 1}",
    }
    reference = task.good(rng)
    return line | ({"reference": reference} if rng.random() < REFERENCE_SHARE else {})
