"""What a reward model thinks of a policy's own answers to held-out prompts (InstructGPT, section
3.5).

The answers are drawn at temperature 1, where PPO starts from, with the same noise at every look:
epochs are told apart by their weights, not by luck.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from training.rlhf.batching import passes
from training.rlhf.demonstrations import Example
from training.rlhf.errors import TrainingError
from training.rlhf.generate import Request, Sampling, completion_seed, generate
from training.rlhf.job import Job
from training.rlhf.models import tokens_per_pass
from training.rlhf.rendering import Rendered, Renderer
from training.rlhf.scoring import Scorer

# Standard error of the mean: 1/8 of the spread of the scores.
MOST_PROMPTS = 64


class Judge:
    """Called with a model, gives the mean score of its answers.

    Of many prompts ``MOST_PROMPTS`` are drawn, told in an event, with how many could not be asked.
    ``limit``: the longest answer; ``context``: the longest text.

    Raises:
        TrainingError: no prompt leaves room for an answer that the scorer can read.
    """

    def __init__(
        self,
        job: Job,
        scorer: Scorer,
        renderer: Renderer,
        examples: Sequence[Example],
        *,
        limit: int,
        context: int,
    ) -> None:
        self._scorer = scorer
        self._renderer = renderer
        self._how = Sampling(1.0, 1.0, renderer.end_id, renderer.pad_id)
        prompts = {tuple(e.text.prompt_ids): e for e in examples}
        room = {ids: min(limit, context - len(ids)) for ids in prompts if len(ids) < context}
        fitting = [
            prompts[ids]
            for ids, most in room.items()
            if not scorer.refusal(prompts[ids].messages, renderer, most)
        ]
        if not fitting:
            raise TrainingError(
                f"no held-out prompt leaves room for an answer in {context} tokens"
                + (" that the reward model can read" if room else "")
            )
        chosen = random.Random(job.spec.seed).sample(fitting, min(MOST_PROMPTS, len(fitting)))
        job.events.write(
            "data",
            part="reward",
            prompts=len(chosen),
            prompts_too_long=len(prompts) - len(room),
            prompts_refused_by_reward_model=len(room) - len(fitting),
            prompts_left_out=len(fitting) - len(chosen),
        )
        self._conversations = [example.messages for example in chosen]
        self._requests = [
            Request(
                example.text.prompt_ids,
                [completion_seed(job.spec.seed, f"held-out {number}", 0)],
                room[tuple(example.text.prompt_ids)],
            )
            for number, example in enumerate(chosen)
        ]

    def __call__(self, model: Any) -> float:
        answers: dict[int, Rendered] = {}
        lengths = [len(request.prompt_ids) + request.limit for request in self._requests]
        for places in passes(lengths, tokens_per_pass()):
            requests = [self._requests[place] for place in places]
            # Not stopped on the way: the checkpoint that a stop asks for comes after the measuring.
            made = generate(model, requests, self._how)
            for place, [completion] in zip(places, made, strict=True):
                end = [self._renderer.end_id] if completion.ended else []
                answers[place] = Rendered(
                    list(self._requests[place].prompt_ids), [*completion.token_ids, *end]
                )
        texts = [answers[place] for place in range(len(self._requests))]
        scores = self._scorer.score_completions(self._conversations, texts, self._renderer)
        return float(scores.mean())
