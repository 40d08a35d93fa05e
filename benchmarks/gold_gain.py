"""``python -m benchmarks.gold_gain MODEL …``: is a model better than the starter model, by gold?

Each model answers the same held-out prompts of the starter world, four times each at temperature
1, with the same seeds. Printed is the mean gold score and the paired gain over the starter model,
with a 95 % interval over prompts. Gold is what simulated labelers rank by; training never reads it.
"""

from __future__ import annotations

import statistics
import sys
from itertools import islice
from math import sqrt

from benchmarks import STARTER
from training.jobs.world import draw_tasks, score
from training.rlhf.generate import Request, Sampling, completion_seed, generate
from training.rlhf.models import load_policy, load_renderer

PROMPTS = 240
ANSWERS = 4
AT_ONCE = 40
MAX_NEW_TOKENS = 64
# Neither the starter pool nor the starter model's training drew from this seed.
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
    renderer, model = load_renderer(model_folder), load_policy(model_folder)
    how = Sampling(1.0, 1.0, renderer.end_id, renderer.pad_id)
    tasks = list(islice(draw_tasks(WORLD_SEED), PROMPTS))
    requests = [
        Request(
            renderer.prompt_ids(task.messages),
            [completion_seed(0, str(number), k) for k in range(ANSWERS)],
            MAX_NEW_TOKENS,
        )
        for number, task in enumerate(tasks)
    ]
    means = []
    for start in range(0, PROMPTS, AT_ONCE):
        batch = slice(start, start + AT_ONCE)
        answers = generate(model, requests[batch], how)
        for task, group in zip(tasks[batch], answers, strict=True):
            texts = [renderer.text(answer.token_ids) for answer in group]
            means.append(statistics.fmean(score(task.messages, text).total for text in texts))
    return means


if __name__ == "__main__":
    sys.exit(main())
