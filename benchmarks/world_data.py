"""Data of the starter world: prompts, rankings of simulated labelers, and text to keep likely."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from random import Random
from typing import Any

from training.jobs.world import SimulatedLabeler, draw_tasks
from training.rlhf.starter import STAGES, documents

# The share of good answers in the text that the starter model was fine-tuned on.
GOOD_SHARE = STAGES[-1].good_share


def prompts(seed: int, count: int, but: Sequence[Mapping[str, Any]] = ()) -> list[dict[str, Any]]:
    """``count`` distinct prompts, none of which is in ``but``."""
    taken = {str(row["messages"]) for row in but}
    found: list[dict[str, Any]] = []
    for task in draw_tasks(seed):
        if len(found) == count:
            break
        if str(task.messages) not in taken:
            taken.add(str(task.messages))
            name = f"{seed}-{len(found)}"
            found.append({"prompt": name, "author": "", "messages": task.messages})
    return found


def demonstrations(seed: int, count: int) -> Iterator[dict[str, Any]]:
    """Text of the kind that the starter model was fine-tuned on."""
    for number, document in enumerate(islice(documents(seed, GOOD_SHARE), count)):
        yield {
            "prompt": f"document-{seed}-{number}",
            "author": "",
            "messages": document.messages,
            "completion": document.answer,
        }


def good_answers(seed: int, count: int) -> Iterator[dict[str, Any]]:
    """Good demonstrations: what a reward model's zero is set by."""
    rng = Random(seed)
    for number, task in enumerate(islice(draw_tasks(seed), count)):
        yield {
            "prompt": f"good-{seed}-{number}",
            "author": "",
            "messages": task.messages,
            "completion": task.good(rng),
        }


def ranked(
    prompt_rows: Sequence[Mapping[str, Any]],
    completions: Sequence[Mapping[str, Any]],
    labeler: SimulatedLabeler,
) -> Iterator[dict[str, Any]]:
    """Rows of comparisons: the completions of each prompt as ``labeler`` ranks them."""
    written: dict[str, list[Mapping[str, Any]]] = {}
    for row in completions:
        written.setdefault(row["prompt"], []).append(row)
    for prompt in prompt_rows:
        group = written[prompt["prompt"]]
        texts = {str(index): row["text"] for index, row in enumerate(group)}
        pairs, ties = pairs_of(labeler.judge(prompt["messages"], texts).ranks)
        if pairs:
            yield {
                **prompt,
                "completions": [
                    {name: row[name] for name in ("text", "token_ids", "finish_reason")}
                    for row in group
                ],
                "rankings": [{"labeler": str(labeler.seed), "pairs": pairs, "ties": ties}],
            }


def pairs_of(ranks: Mapping[str, float]) -> tuple[list[list[int]], int]:
    """[winner, loser] of all that are ranked differently, and how many are ranked alike.

    ``ranks``: by index as text, 1 the best.
    """
    both = list(itertools.combinations(ranks, 2))
    ordered = [sorted(pair, key=lambda name: ranks[name]) for pair in both]
    pairs = [[int(w), int(l)] for w, l in ordered if ranks[w] != ranks[l]]  # noqa: E741
    return pairs, len(both) - len(pairs)
