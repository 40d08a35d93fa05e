"""Ranked completions as batch elements: a prompt with all its completions and all its pairs.

InstructGPT section 3.5: each completion is encoded once, K passes where a list of pairs takes
K(K-1), and one step sees all comparisons of a prompt together, which is what keeps one epoch from
overfitting.

Where several rounds asked about the same conversation, each round's task, with completions of its
own, is an element of its own, and "a prompt" here means one of these.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch

from training.rlhf.demonstrations import are_messages
from training.rlhf.errors import TrainingError
from training.rlhf.job import Job
from training.rlhf.prefix import encoded_tokens, lay_out_groups
from training.rlhf.rendering import Rendered, Renderer


class Judgement(NamedTuple):
    """One pair of one ranking: which of two completions the labeler put before the other.

    gap: how many competition ranks (1 + how many are better) lie between them, 1 for neighbours.
    among: how many completions the ranking compares. held_out: the labeler must not train a model.
    """

    winner: int
    loser: int
    labeler: str
    gap: int
    among: int
    held_out: bool

    @property
    def distance(self) -> float:
        """From 0 for neighbours to 1 for the first and the last; 0 where only two were compared."""
        return max(0, self.gap - 1) / (self.among - 2) if self.among > 2 else 0.0


@dataclass(frozen=True)
class Comparison:
    """A prompt, its K rendered completions, and what was judged about them in all rankings."""

    prompt: str
    author: str
    messages: list[dict[str, str]]
    texts: list[Rendered]
    judgements: list[Judgement]

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """(winner, loser), once for each time it was judged."""
        return [(judged.winner, judged.loser) for judged in self.judgements]

    @property
    def best(self) -> list[int]:
        """The completions that win the largest share of their pairs."""
        won = Counter(judged.winner for judged in self.judgements)
        lost = Counter(judged.loser for judged in self.judgements)
        shares = [won[i] / max(1, won[i] + lost[i]) for i in range(len(self.texts))]
        return [i for i, share in enumerate(shares) if share == max(shares)]

    def row(self) -> dict[str, Any]:
        """What the splitter looks at."""
        return {"author": self.author, "messages": self.messages}

    def kept(self, judgements: Sequence[Judgement]) -> Comparison:
        """With these judgements alone, and the completions that they are about."""
        ranked = sorted({i for judged in judgements for i in (judged.winner, judged.loser)})
        place = {index: position for position, index in enumerate(ranked)}
        return replace(
            self,
            texts=[self.texts[index] for index in ranked],
            judgements=[
                judged._replace(winner=place[judged.winner], loser=place[judged.loser])
                for judged in judgements
            ],
        )


def load_comparisons(
    job: Job, renderer: Renderer, max_length: int, *, held_out_labelers: bool = False
) -> list[Comparison]:
    """The comparisons of a job that can be learnt from; the rest is counted by reason in an event.

    A completion that does not fit ``max_length`` is dropped with its pairs, not cut: cut, it would
    be judged for an ending that nobody saw. Rankings of held-out labelers are left out unless they
    are asked for.

    Raises:
        TrainingError: a row is not of the format, a ranking is about completions that are not
            there, or nothing is left.
    """
    dropped: Counter[str] = Counter()
    rows = [_checked(row, number) for number, row in enumerate(job.rows(), start=1)]
    accepted = [row for row in rows if renderer.accepts(row["messages"])]
    dropped["prompts_refused"] = len(rows) - len(accepted)
    found = [_comparison(row, renderer, max_length, held_out_labelers, dropped) for row in accepted]
    kept = [comparison for comparison in found if comparison.judgements]
    dropped["prompts_without_pairs"] = len(found) - len(kept)
    job.events.write("data", prompts=len(kept), pairs=sum(len(c.pairs) for c in kept), **dropped)
    if not kept:
        raise TrainingError(
            "no prompt has two different completions that were compared and fit in "
            f"{max_length} tokens ({dict(dropped)})"
        )
    return kept


def without_held_out_labelers(comparisons: Iterable[Comparison]) -> list[Comparison]:
    """What a model may learn from: the labelers it is measured on have not taught it."""
    kept = [c.kept([j for j in c.judgements if not j.held_out]) for c in comparisons]
    return [comparison for comparison in kept if comparison.judgements]


def _checked(row: object, number: int) -> dict[str, Any]:
    """Raises TrainingError when the row, which a person may have written, lacks what is read."""
    if not isinstance(row, dict):
        raise TrainingError(f"row {number} of comparisons.jsonl is no JSON object: mend it")
    fault = next(_faults(row), None)
    if fault:
        raise TrainingError(f"row {number} of comparisons.jsonl: {fault}; mend it or take it out")
    return row


def _faults(row: Mapping[str, Any]) -> Iterator[str]:
    yield from _wrong(row, "", ROW)
    for name, checks in (("completions", COMPLETION), ("rankings", RANKING)):
        for place, part in enumerate(row[name]):
            yield from _wrong(part, f"{name}[{place}].", checks)


def _wrong(part: Mapping[str, Any], where: str, checks: Sequence[Check]) -> Iterator[str]:
    for name, fits, wanted in checks:
        if not fits(part.get(name)):
            yield f"{where}{name} must be {wanted}"


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _are_objects(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, dict) for one in value)


def _are_numbers(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, int) for one in value)


def _are_pairs(value: object) -> bool:
    return isinstance(value, list) and all(_are_numbers(one) and len(one) == 2 for one in value)


def _are_numbers_or_none(value: object) -> bool:
    return value is None or _are_numbers(value)


def _is_number_or_none(value: object) -> bool:
    return value is None or isinstance(value, int)


# A field, whether its value will do, and what it must be.
Check = tuple[str, Callable[[object], bool], str]
ROW: Sequence[Check] = (
    ("prompt", _is_text, "a text that names the prompt"),
    ("messages", are_messages, "a list of messages, each with a role and a content"),
    ("completions", _are_objects, "a list of objects"),
    ("rankings", _are_objects, "a list of objects"),
)
COMPLETION: Sequence[Check] = (
    ("text", _is_text, "a text"),
    ("token_ids", _are_numbers_or_none, "a list of whole numbers, or null"),
)
RANKING: Sequence[Check] = (
    ("pairs", _are_pairs, "a list of pairs [winner, loser], two numbers each"),
    ("ties", _is_number_or_none, "a whole number, if it is there"),
)


def _comparison(
    row: dict[str, Any],
    renderer: Renderer,
    max_length: int,
    held_out_labelers: bool,
    dropped: Counter[str],
) -> Comparison:
    texts = [renderer.render(row["messages"], completion) for completion in row["completions"]]
    too_long = {i for i, text in enumerate(texts) if len(text) > max_length}
    dropped["completions_too_long"] += len(too_long)
    dropped["completions_duplicate"] += len(texts) - len({tuple(text.ids) for text in texts})
    dropped["completions_empty"] += sum(not completion["text"] for completion in row["completions"])
    rankings = [r for r in row["rankings"] if held_out_labelers or not r.get("held_out")]
    dropped["rankings_held_out"] += len(row["rankings"]) - len(rankings)
    dropped["ties_dropped"] += sum(ranking.get("ties") or 0 for ranking in rankings)
    given = [
        judged for ranking in rankings for judged in _judgements(row["prompt"], ranking, len(texts))
    ]
    usable = [
        judged
        for judged in given
        if not {judged.winner, judged.loser} & too_long
        and texts[judged.winner].ids != texts[judged.loser].ids
    ]
    dropped["pairs_unusable"] += len(given) - len(usable)
    author = row.get("author") or ""
    return Comparison(row["prompt"], author, row["messages"], texts, usable).kept(usable)


def _judgements(prompt: str, ranking: Mapping[str, Any], completions: int) -> list[Judgement]:
    pairs = [(winner, loser) for winner, loser in ranking["pairs"]]
    for pair in pairs:
        if len({*pair} & {*range(completions)}) != 2:
            raise TrainingError(
                f"a ranking of prompt {prompt} compares {pair[0]} with {pair[1]}, and there are "
                f"completions 0 to {completions - 1}: mend the row in comparisons.jsonl"
            )
    better = Counter(loser for _, loser in pairs)
    return [
        Judgement(
            winner,
            loser,
            labeler=str(ranking.get("labeler") or ""),
            gap=better[loser] - better[winner],
            among=len({index for pair in pairs for index in pair}),
            held_out=bool(ranking.get("held_out")),
        )
        for winner, loser in pairs
    ]


def to_rows(
    comparisons: Sequence[Comparison],
    labeler_weights: Mapping[str, float] | None = None,
    resamples: Sequence[Sequence[int]] | None = None,
) -> list[dict[str, Any]]:
    """For a ``datasets.Dataset``: ids and pairs, for each pair a weight and the ranks' distance.

    ``labeler_weights`` are 1 where they are not given. ``resamples``: for each comparison how often
    each head of an ensemble counts it; a pair then has a weight for each head.
    """
    weigh = labeler_weights or {}
    return [
        {
            "prompt_ids": comparison.texts[0].prompt_ids,
            "completions": [text.completion_ids for text in comparison.texts],
            "pairs": [list(pair) for pair in comparison.pairs],
            "weights": [
                [weigh.get(judged.labeler, 1.0) * times for times in resamples[number]]
                if resamples
                else weigh.get(judged.labeler, 1.0)
                for judged in comparison.judgements
            ],
            "distances": [judged.distance for judged in comparison.judgements],
            "best": comparison.best,
        }
        for number, comparison in enumerate(comparisons)
    ]


@dataclass(frozen=True)
class Collator:
    """Rows to one batch of N completions of G prompts with P pairs.

    ``share`` lets the prompts be encoded once (see ``prefix.lay_out_groups``, whose entries the
    batch has). Also: pairs (P, 2); distances (P,) between their ranks; shares (P,), with which a
    sum over pairs is the mean over prompts of the mean over pairs; weights (P,) or (P, H), the
    shares times what the rows weigh their pairs by; best (N,), which sums to 1 over the best
    completions; prompts (), which is G less the rows that do not count.
    """

    pad_id: int
    share: bool = False

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        groups = [(row["prompt_ids"], row["completions"]) for row in rows]
        pairs: list[list[int]] = []
        offset = 0
        for row in rows:
            pairs += [[winner + offset, loser + offset] for winner, loser in row["pairs"]]
            offset += len(row["completions"])
        # Rows that only fill up the last step of an epoch (``steps.CountedRows``) weigh nothing.
        counts = [bool(row.get("counts", True)) for row in rows]
        prompts = max(1, sum(counts))
        shares = [
            counted / (len(row["pairs"]) * prompts)
            for row, counted in zip(rows, counts, strict=True)
        ]
        weights = [
            torch.tensor(row["weights"]) * share for row, share in zip(rows, shares, strict=True)
        ]
        best = [
            counted * (index in row["best"]) / (len(row["best"]) * prompts)
            for row, counted in zip(rows, counts, strict=True)
            for index in range(len(row["completions"]))
        ]
        batch = lay_out_groups(groups, self.pad_id, share=self.share)
        filling = [not c for c, row in zip(counts, rows, strict=True) for _ in row["completions"]]
        batch["completion_mask"][torch.tensor(filling)] = 0
        return batch | {
            "pairs": torch.tensor(pairs),
            "shares": torch.tensor(
                [share for share, row in zip(shares, rows, strict=True) for _ in row["pairs"]]
            ),
            "weights": torch.cat(weights),
            "distances": torch.tensor([far for row in rows for far in row["distances"]]),
            "best": torch.tensor(best),
            "prompts": torch.tensor(sum(counts)),
        }


def tokens_per_prompt(comparisons: Sequence[Comparison], *, share: bool = False) -> int:
    """Encoded tokens of a batch element with the most and the longest completions of all.

    One such element bounds what each takes up in a batch, where all are padded to the longest.
    """
    prompt = max((c.texts[0].prompt_ids for c in comparisons), key=len)
    completion = max((t.completion_ids for c in comparisons for t in c.texts), key=len)
    most = max(len(c.texts) for c in comparisons)
    return encoded_tokens([(prompt, [completion] * most)], share=share)
