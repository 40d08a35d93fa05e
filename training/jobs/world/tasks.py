"""Tasks: a prompt of one family together with what is known about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from training.jobs.world.families import FAMILIES
from training.jobs.world.family import Details, Family
from training.jobs.world.flaws import FLAWS


@dataclass(frozen=True)
class Task:
    """One prompt, its family and its details."""

    family: Family
    details: Details
    messages: list[dict[str, str]]

    def good(self, rng: Random) -> str:
        """A good demonstration."""
        return self.family.good(self.details, rng)

    def flawed(self, flaw: str, rng: Random) -> str:
        """An answer with the named flaw of :data:`FLAWS`."""
        return FLAWS[flaw](self.family, self.details, self.good(rng), rng)


def draw_task(rng: Random, family: str | None = None) -> Task:
    """A new task, of ``family`` or of any."""
    chosen = FAMILIES[family or rng.choice(tuple(FAMILIES))]
    details = chosen.draw(rng)
    return Task(chosen, details, chosen.messages(details, rng))


def draw_tasks(seed: int, families: Sequence[str] = tuple(FAMILIES)) -> Iterator[Task]:
    """Endless tasks, the families in turn; the same seed gives the same tasks."""
    rng = Random(seed)
    while True:
        for family in families:
            yield draw_task(rng, family)
