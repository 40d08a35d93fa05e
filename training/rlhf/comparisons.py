"""Ranked completions as batch elements: a prompt with all its completions and all its pairs.

InstructGPT section 3.5: each completion is encoded once, K passes where a list of pairs takes
K(K-1), and one step sees all comparisons of a prompt together, which is what keeps one epoch from
overfitting.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from training.rlhf.batching import pad
from training.rlhf.errors import TrainingError
from training.rlhf.job import Job
from training.rlhf.rendering import Rendered, Renderer


@dataclass(frozen=True)
class Comparison:
    """A prompt, its K rendered completions, and (winner, loser) pairs of all its rankings."""

    prompt: str
    author: str
    messages: list[dict[str, str]]
    texts: list[Rendered]
    pairs: list[tuple[int, int]]

    def row(self) -> dict[str, Any]:
        """What the splitter looks at."""
        return {"author": self.author, "messages": self.messages}


def load_comparisons(job: Job, renderer: Renderer, max_length: int) -> list[Comparison]:
    """The comparisons of a job that can be learnt from; the rest is counted by reason in an event.

    A completion that does not fit ``max_length`` is dropped with its pairs, not cut: cut, it would
    be judged for an ending that nobody saw.

    Raises:
        TrainingError: none is left.
    """
    dropped: Counter[str] = Counter()
    rows = list(job.rows())
    accepted = [row for row in rows if renderer.accepts(row["messages"])]
    dropped["prompts_refused"] = len(rows) - len(accepted)
    found = [_comparison(row, renderer, max_length, dropped) for row in accepted]
    kept = [comparison for comparison in found if comparison.pairs]
    dropped["prompts_without_pairs"] = len(found) - len(kept)
    job.events.write("data", prompts=len(kept), pairs=sum(len(c.pairs) for c in kept), **dropped)
    if not kept:
        raise TrainingError(
            "no prompt has two different completions that were compared and fit in "
            f"{max_length} tokens ({dict(dropped)})"
        )
    return kept


def _comparison(
    row: dict[str, Any], renderer: Renderer, max_length: int, dropped: Counter[str]
) -> Comparison:
    texts = [renderer.render(row["messages"], completion) for completion in row["completions"]]
    too_long = {i for i, text in enumerate(texts) if len(text) > max_length}
    dropped["completions_too_long"] += len(too_long)
    given = [(winner, loser) for ranking in row["rankings"] for winner, loser in ranking["pairs"]]
    usable = [
        (winner, loser)
        for winner, loser in given
        if not {winner, loser} & too_long and texts[winner].ids != texts[loser].ids
    ]
    dropped["pairs_unusable"] += len(given) - len(usable)
    ranked = sorted({index for pair in usable for index in pair})
    place = {index: position for position, index in enumerate(ranked)}
    return Comparison(
        prompt=row["prompt"],
        author=row.get("author") or "",
        messages=row["messages"],
        texts=[texts[index] for index in ranked],
        pairs=[(place[winner], place[loser]) for winner, loser in usable],
    )


def to_rows(comparisons: Iterable[Comparison]) -> list[dict[str, Any]]:
    """For a ``datasets.Dataset``: ids, where each prompt ends, and pairs."""
    return [
        {
            "ids": [text.ids for text in comparison.texts],
            "prompt_lengths": [len(text.prompt_ids) for text in comparison.texts],
            "pairs": [list(pair) for pair in comparison.pairs],
        }
        for comparison in comparisons
    ]


@dataclass(frozen=True)
class Collator:
    """Rows to one batch of N completions: ids and masks (N, T), pairs (P, 2), weights (P,)."""

    pad_id: int

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        sequences = [ids for row in rows for ids in row["ids"]]
        input_ids, attention_mask = pad(sequences, self.pad_id)
        completion_mask = attention_mask.clone()
        for n, length in enumerate(length for row in rows for length in row["prompt_lengths"]):
            completion_mask[n, :length] = 0
        pairs, weights, offset = [], [], 0
        for row in rows:
            pairs += [[winner + offset, loser + offset] for winner, loser in row["pairs"]]
            weights += [1 / (len(row["pairs"]) * len(rows))] * len(row["pairs"])
            offset += len(row["ids"])
        return {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "completion_mask": completion_mask,
            "pairs": torch.tensor(pairs),
            "weights": torch.tensor(weights),
        }


def tokens_per_prompt(comparisons: Sequence[Comparison]) -> int:
    """Padded tokens of the largest batch element."""
    return max(len(c.texts) * max(map(len, c.texts)) for c in comparisons)
