"""The starter world: endless short assistant tasks, with a gold score for every answer.

    task = draw_task(Random(7))            a prompt, its family and its details
    task.good(rng), task.flawed("rude", rng)
    score(task.messages, text).total       from the prompt text alone, 0..10 for most answers
    starter_prompts(32)                    lines for a pool's import
    SimulatedLabeler(seed=1, noise=0.1)    ranks completions as a person with that error rate would

Gold is for simulated labelers and benchmarks; training never reads it and no page shows it.
"""

from training.jobs.world.families import FAMILIES
from training.jobs.world.family import Family
from training.jobs.world.flaws import FLAWS
from training.jobs.world.habits import Habits
from training.jobs.world.labelers import Judgement, SimulatedLabeler
from training.jobs.world.pool import starter_prompts
from training.jobs.world.scoring import BEST, GoldScore, recognise, score
from training.jobs.world.tasks import Task, draw_task, draw_tasks

__all__ = [
    "BEST",
    "FAMILIES",
    "FLAWS",
    "Family",
    "GoldScore",
    "Habits",
    "Judgement",
    "SimulatedLabeler",
    "Task",
    "draw_task",
    "draw_tasks",
    "recognise",
    "score",
    "starter_prompts",
]
