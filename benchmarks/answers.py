"""What a policy answers to prompts of the starter world, and what the answers are worth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from training.jobs.world import GoldScore, score
from training.rlhf.generate import Completion, Request, Sampling, completion_seed, generate
from training.rlhf.models import load_policy, load_renderer
from training.rlhf.rendering import Rendered, Renderer
from training.rlhf.rollouts import logprobs_and_entropy

AT_ONCE = 40
MAX_NEW_TOKENS = 64

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Answer:
    """One completion, as ids with its prompt's, as text, and with its gold score."""

    rendered: Rendered
    text: str
    ended: bool
    gold: GoldScore


def answers(
    model_folder: str, prompts: Sequence[Row], count: int, *, seed: int, temperature: float = 1.0
) -> list[list[Answer]]:
    """``count`` answers to each prompt. The same seed draws from the same noise, so that answers of
    two policies that differ little differ little.
    """
    renderer, model = load_renderer(model_folder), load_policy(model_folder, frozen=True)
    how = Sampling(temperature, 1.0, renderer.end_id, renderer.pad_id)
    requests = [
        Request(
            renderer.prompt_ids(row["messages"]),
            [completion_seed(seed, row["prompt"], k) for k in range(count)],
            MAX_NEW_TOKENS,
        )
        for row in prompts
    ]
    written: list[list[Completion]] = []
    for first in range(0, len(requests), AT_ONCE):
        written += generate(model, requests[first : first + AT_ONCE], how)
    return [
        [_answer(renderer, row, request, completion) for completion in group]
        for row, request, group in zip(prompts, requests, written, strict=True)
    ]


def _answer(renderer: Renderer, row: Row, request: Request, completion: Completion) -> Answer:
    text = renderer.text(completion.token_ids)
    end = [renderer.end_id] if completion.ended else []
    rendered = Rendered(list(request.prompt_ids), [*completion.token_ids, *end])
    return Answer(rendered, text, completion.ended, score(row["messages"], text))


def perplexity(model_folder: str, written: Sequence[Sequence[Answer]]) -> float:
    """Of the first answer to each prompt, by a model that knows the language: a measure of fluency.

    exp of the mean negative log-likelihood a token, the end token included. The model has to share
    the tokenizer of the one that wrote them.
    """
    renderer, model = load_renderer(model_folder), load_policy(model_folder, frozen=True)
    texts = [group[0].rendered for group in written]
    total = 0.0
    for first in range(0, len(texts), AT_ONCE):
        batch = texts[first : first + AT_ONCE]
        logprobs, _ = logprobs_and_entropy(model, batch, renderer.pad_id, 1.0)
        total += float(logprobs.sum())
    return math.exp(-total / sum(len(text.completion_ids) for text in texts))
