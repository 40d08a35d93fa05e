"""Rejection sampling: n completions a prompt, keep the best by reward, fine-tune on it (Llama 2).

The fine-tuning is that of step 1, on the winners' own token ids.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from training.jobs.params import RejectionParams
from training.rlhf import artifacts
from training.rlhf.job import Job
from training.rlhf.losses import best_of_n
from training.rlhf.models import context_length, load_policy, load_renderer
from training.rlhf.rendering import CUT_OFF, Rendered, Renderer
from training.rlhf.sample import (
    COMPLETIONS,
    Prompt,
    fit_prompts,
    read_completions,
    write_completions,
)
from training.rlhf.scoring import Scorer
from training.rlhf.sft import fine_tune


@dataclass(frozen=True)
class Candidate:
    """A completion of a prompt with its reward."""

    text: Rendered
    ended: bool
    score: float


def run(job: Job) -> None:
    params = job.spec.params
    assert isinstance(params, RejectionParams)
    assert job.spec.reward_model
    renderer, model = load_renderer(job.spec.model), load_policy(job.spec.model)
    scorer = Scorer.load(job.spec.reward_model)
    scorer.require_vocabulary_of(renderer)
    wanted = [(row, range(params.n)) for row in job.rows()]
    context = min(context_length(model), context_length(scorer.model))
    prompts = fit_prompts(job, renderer, context, wanted, params.max_new_tokens)
    path = job.folder.checkpoints / COMPLETIONS
    write_completions(job, model, renderer, prompts, params, path)
    candidates = _score(scorer, renderer, prompts, list(read_completions(path)))
    winners = [best(group) for group in candidates]
    rewards = _rewards(candidates, winners)
    curve: dict[str, Any] = {**rewards, **_curve(candidates)}
    job.events.write("best_of_n", **curve)
    metrics = fine_tune(
        job,
        model,
        renderer,
        [winner.text for winner in winners],
        [],
        epochs=params.epochs,
        batch_size=params.batch_size,
        learning_rate=params.learning_rate,
    )
    metrics |= rewards
    artifacts.save_model(job, model, renderer, metrics)
    artifacts.finish(job, metrics)


def best(candidates: Sequence[Candidate]) -> Candidate:
    """The highest reward among those that ended; a cut one wins only when all were cut.

    A model fine-tuned on answers without an end unlearns to stop.
    """
    return max(candidates, key=lambda candidate: (candidate.ended, candidate.score))


def _score(
    scorer: Scorer, renderer: Renderer, prompts: Sequence[Prompt], rows: Sequence[dict[str, Any]]
) -> list[list[Candidate]]:
    """One group a prompt; ``rows`` are in the order of the prompts."""
    messages = {prompt.id: prompt.messages for prompt in prompts}
    texts = [renderer.render(messages[row["prompt"]], row) for row in rows]
    scores = scorer.score(texts).tolist()
    candidates = [
        (row["prompt"], Candidate(text, row["finish_reason"] != CUT_OFF, score))
        for row, text, score in zip(rows, texts, scores, strict=True)
    ]
    grouped = itertools.groupby(candidates, key=lambda item: item[0])
    return [[candidate for _, candidate in group] for _, group in grouped]


def _rewards(
    candidates: Sequence[Sequence[Candidate]], winners: Sequence[Candidate]
) -> dict[str, float]:
    scores = [candidate.score for group in candidates for candidate in group]
    return {
        "reward_mean": sum(scores) / len(scores),
        "reward_best": sum(winner.score for winner in winners) / len(winners),
    }


def _curve(candidates: Sequence[Sequence[Candidate]]) -> dict[str, float]:
    """Expected best reward of 1, 2, 4, ... completions: what a larger n would still bring."""
    most = min(map(len, candidates))
    sizes = [2**power for power in range(most.bit_length()) if 2**power <= most]
    scores = [[candidate.score for candidate in group] for group in candidates]
    return {
        f"best_of_{n}": sum(best_of_n(group, n) for group in scores) / len(scores) for n in sizes
    }
