"""PPO-ptx: pretraining examples whose gradient is added to that of PPO (InstructGPT, equation 2).

It keeps what reinforcement learning would forget. A row of the data file is either pretraining text
(``{"text"}``), of which all tokens learn, or a demonstration in a format of ``demonstrations``, of
which the answer does. Text is cut into pieces that fit; a demonstration that does not fit is
dropped, for half an answer is another answer.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from training.rlhf import distributed
from training.rlhf.batching import passes
from training.rlhf.demonstrations import REASONS, examples_of, turns_of
from training.rlhf.errors import TrainingError
from training.rlhf.job import Job
from training.rlhf.models import tokens_per_pass
from training.rlhf.order import visits
from training.rlhf.rendering import Rendered, Renderer
from training.rlhf.roles import Models
from training.rlhf.rollouts import batch_of, completion_logprobs

# GPT-3's context. A longer piece would set the memory of a whole run.
LONGEST_PIECE = 2048


def load_examples(job: Job, renderer: Renderer, context: int) -> list[Rendered]:
    """The examples of the job's ``ptx`` file, as a prompt that is given and tokens that learn.

    An event counts them, and what was cut or dropped.

    Raises:
        TrainingError: a row is of neither kind, or no example is left.
    """
    examples: list[Rendered] = []
    counts: Counter[str] = Counter()
    dropped = dict.fromkeys(REASONS, 0)
    for number, row in enumerate(job.folder.read_data(job.spec.data["ptx"]), start=1):
        if isinstance(row, Mapping) and isinstance(row.get("text"), str):
            examples += _pieces(row["text"], renderer, min(context, LONGEST_PIECE), counts)
        elif turns := turns_of(row):
            answers = examples_of(renderer, turns, context, dropped)
            examples += [answer.text for answer in answers]
        else:
            raise TrainingError(
                f"row {number} of the ptx data has neither a text nor messages with a completion: "
                "give every row one or the other"
            )
    job.events.write(
        "data",
        part="ptx",
        ptx_examples=len(examples),
        **counts,
        **{f"dropped_{reason}": count for reason, count in dropped.items()},
    )
    if not examples:
        raise TrainingError("no ptx example is left: all rows are empty or too long")
    return examples


def due(
    examples: Sequence[Rendered], ratio: float, first: int, episodes: int, seed: int
) -> list[Rendered]:
    """Those that go with ``episodes`` visits of episodes, ``first`` having been before them."""
    if not examples:
        return []
    begin, end = math.floor(ratio * first), math.floor(ratio * (first + episodes))
    return [examples[i] for i in visits(len(examples), seed, begin, end - begin, of="ptx")]


def add_gradient(models: Models, examples: Sequence[Rendered], coef: float) -> float:
    """Add ``coef`` times the gradient of the mean loss of the examples' tokens to the policy's.

    Every rank does its share; returns this rank's part of the mean, in nats.
    """
    tokens = sum(len(example.completion_ids) for example in examples)
    mine = distributed.share(list(examples))
    mean = 0.0
    for group in passes([len(example) for example in mine], tokens_per_pass()):
        batch = batch_of([mine[row] for row in group], models.renderer.pad_id)
        with models.acting("policy"):
            logprobs = completion_logprobs(models.policy, batch, temperature=1.0)
            loss = -logprobs.sum() / tokens
            (coef * loss).backward()
        mean += loss.item()
    return mean


def _pieces(
    text: str, renderer: Renderer, longest: int, counts: Counter[str]
) -> Iterator[Rendered]:
    """The text as its tokenizer encodes it, cut; the first token of a piece is only given.

    A piece of one token has nothing to learn. Only the last can be one, or the whole text.
    """
    ids = list(renderer.tokenizer(text)["input_ids"])
    counts["texts_cut"] += len(ids) > longest
    counts["texts_dropped_as_empty"] += len(ids) < 2
    for start in range(0, len(ids), longest):
        part = ids[start : start + longest]
        if len(part) > 1:
            yield Rendered(part[:1], part[1:])
