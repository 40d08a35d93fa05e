"""``python -m benchmarks.gold_gain MODEL …``: is a model better than the starter model, by gold?

Each model answers the same new prompts of the starter world, four times each at temperature
1, with the same seeds. Printed is the mean gold score and the paired gain over the starter model,
with a 95 % interval over prompts. Gold is what simulated labelers rank by; training never reads it.
"""

from __future__ import annotations

import statistics
import sys
from itertools import islice
from math import sqrt

from benchmarks import STARTER
from benchmarks.answers import answers
from training.jobs.world import draw_tasks

PROMPTS = 240
ANSWERS = 4
# Neither the starter pool nor the starter model's training drew from this seed; families of few
# prompts repeat theirs.
WORLD_SEED = 987_654


def main() -> int:
    models = sys.argv[1:]
    if not models:
        print(__doc__, file=sys.stderr)
        return 2
    base = gold(str(STARTER))
    print(f"starter gold={statistics.fmean(base):.3f}")
    for model in models:
        found = gold(model)
        gains = [ours - before for ours, before in zip(found, base, strict=True)]
        half = 1.96 * statistics.stdev(gains) / sqrt(len(gains))
        print(
            f"{model} gold={statistics.fmean(found):.3f} "
            f"gain={statistics.fmean(gains):+.3f} ci=±{half:.3f}",
            flush=True,
        )
    return 0


def gold(model_folder: str) -> list[float]:
    """Mean gold score of the answers to each prompt."""
    tasks = islice(draw_tasks(WORLD_SEED), PROMPTS)
    prompts = [{"prompt": str(n), "messages": task.messages} for n, task in enumerate(tasks)]
    return [
        statistics.fmean(answer.gold.total for answer in group)
        for group in answers(model_folder, prompts, ANSWERS, seed=0)
    ]


if __name__ == "__main__":
    sys.exit(main())
