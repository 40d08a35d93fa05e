"""The registry: every family of the starter world, by name."""

from __future__ import annotations

from training.jobs.world.families.answering import ClosedQuestion, OpenQuestion
from training.jobs.world.families.conversing import Brainstorm, Chat
from training.jobs.world.families.reading import Extraction, Sentiment, Summary
from training.jobs.world.families.sorting import Sorting
from training.jobs.world.families.writing import Note, Rewrite
from training.jobs.world.family import Family

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Note(),
        Rewrite(),
        Summary(),
        Sentiment(),
        Extraction(),
        ClosedQuestion(),
        OpenQuestion(),
        Brainstorm(),
        Chat(),
        Sorting(),
    )
}
