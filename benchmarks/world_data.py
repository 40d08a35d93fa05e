"""Data of the starter world: prompts, rankings of simulated labelers, and text to keep likely."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from random import Random
from typing import Any

from training.jobs.world import FAMILIES, SimulatedLabeler, Task, draw_tasks
from training.rlhf.starter import BASE
from training.rlhf.starter_corpus import documents

# One prompt in so many is held out of all rankings and runs of step 3.
HELD_OUT_OF = 4


def is_held_out(messages: Sequence[Mapping[str, str]]) -> bool:
    """Whether a prompt is one to measure on. Its text alone decides: no seed trains on what it, or
    another, is measured by.
    """
    return hashlib.sha256(text_of(messages).encode()).digest()[0] % HELD_OUT_OF == 0


def text_of(messages: Sequence[Mapping[str, str]]) -> str:
    """What a prompt says: two that say the same are one prompt."""
    return "\n".join(message["content"] for message in messages)


def prompts(seed: int, count: int, *, held_out: bool = False) -> list[dict[str, Any]]:
    """``count`` prompts to train on, or to measure on, the families in turn.

    A family has its share of either; one of few prompts (questions of knowledge, ideas) repeats
    them under other names, as people ask the same again.
    """

    def wanted(task: Task) -> bool:
        return is_held_out(task.messages) == held_out

    in_turn = zip(*(filter(wanted, draw_tasks(seed, [name])) for name in FAMILIES), strict=False)
    return [
        {"prompt": f"{seed}-{number}", "author": "", "messages": task.messages}
        for number, task in enumerate(islice(itertools.chain.from_iterable(in_turn), count))
    ]


def pretraining_texts(seed: int, count: int) -> Iterator[dict[str, Any]]:
    """Text of the kind that the base model was trained on last."""
    for number, document in enumerate(islice(documents(seed, BASE.reads.good_share), count)):
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
