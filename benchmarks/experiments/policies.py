"""The loop of one seed, and policies measured alike on held-out prompts, whatever made them.

The loop starts where Podium does: at the starter model, SFT. It writes what is ranked, and the
rankings make the reward model.

Each policy writes the same number of answers to the same prompts, at temperature 1. Measured are an
answer's gold; its reward under one reward model; its log-probability under the start (KL:
log(pi / start) summed over its tokens, which of what pi draws itself is an estimate without bias)
and under the base model (its perplexity tells whether the text is still fluent). Texts that nobody
sampled tell what the policy forgot: the held-out language-model loss.
"""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import STARTER
from benchmarks.experiments.reward_models import Answers, right
from benchmarks.experiments.world import AT_ONCE, MAX_NEW_TOKENS, Row, World, gold, hash_of
from benchmarks.jobs import model_of
from benchmarks.world_data import pretraining_texts, ranked
from training.jobs.folder import write_json
from training.rlhf.generate import Request, Sampling, completion_seed, generate
from training.rlhf.models import load_policy, load_renderer
from training.rlhf.rendering import Rendered
from training.rlhf.rollouts import logprobs_and_entropy
from training.rlhf.scoring import Scorer

BASE = STARTER.parent / "base"
# Answers of each held-out prompt that the accuracy of reward models is measured on.
ANSWERS_OF_PAIRS = 4


@dataclass(frozen=True)
class Measured:
    """``gold``: for each prompt that of its answers, in points. ``reward``, ``kl`` (nats),
    ``length`` (tokens) and ``ended`` are means over answers. ``base_loss``: nats a token of the
    answers under the base model; ``text_loss``: of held-out texts under the policy.
    """

    gold: list[list[float]]
    reward: float
    kl: float
    length: float
    ended: float
    base_loss: float
    text_loss: float

    @property
    def mean_gold(self) -> float:
        return statistics.fmean(value for answers in self.gold for value in answers)

    @property
    def spread(self) -> float:
        """Standard deviation of gold over all answers, within and between prompts."""
        return statistics.pstdev([value for answers in self.gold for value in answers])

    def gain_over(self, start: Measured) -> float:
        """In standard deviations of the start's gold."""
        return (self.mean_gold - start.mean_gold) / start.spread

    def perplexity_over(self, start: Measured) -> float:
        """Base-model perplexity of the answers, as a multiple of that of the start's."""
        return math.exp(self.base_loss - start.base_loss)


@dataclass(frozen=True)
class Loop:
    """Rankings of one seed, and the runs of step 3 from them."""

    world: World
    start: Path = STARTER

    def rankings(
        self, wanted: Sequence[Row], count: int, noise: float, *, writer: Path
    ) -> list[dict[str, Any]]:
        """``count`` answers of ``writer`` to each prompt, ranked by one labeler."""
        made = self.world.completions(wanted, count, name=f"by-{hash_of(writer)}", model=writer)
        rows = [row for prompt in wanted for row in made[prompt["prompt"]]]
        return list(ranked(wanted, rows, self.world.labeler(noise)))

    def accuracy(self, reward_model: Path, prompts: int) -> float:
        """Of pairs of the start's answers to held-out prompts, the share ordered as gold does."""
        answers = Answers.of(self.world, "held-out", prompts, ANSWERS_OF_PAIRS)
        scores = answers.scores(reward_model)
        return float(np.concatenate(right(scores, answers.pairs(self.world, noise=0.0))).mean())

    def policy(
        self,
        name: str,
        kind: str,
        data: Mapping[str, Sequence[Row]],
        params: Mapping[str, Any],
        *,
        reward_model: Path | None = None,
        start: Path | None = None,
    ) -> Path:
        """Step 3, by whatever kind of run; from the start, or where another round left off."""
        model = start or self.start
        return model_of(
            self.world.job(name, kind, data, params, model=model, reward_model=reward_model)
        )

    def texts(self, count: int) -> list[dict[str, Any]]:
        """What PPO-ptx keeps likely: text of the kind that the base model was trained on."""
        return list(pretraining_texts(self.world.draw(4), count))


class Examiner:
    """Holds what the policies of one loop are measured against.

    ``prompts`` held-out ones with ``answers`` each, and as many held-out texts of the kind that
    PPO-ptx keeps likely.
    """

    def __init__(self, loop: Loop, reward_model: Path, prompts: int, answers: int) -> None:
        world, start = loop.world, str(loop.start)
        self._world = world
        self._key = f"{prompts}x{answers}-{hash_of(reward_model)}"
        self._prompts = world.held_out(prompts)
        self._answers = answers
        self._renderer = load_renderer(start)
        self._start = load_policy(start, frozen=True)
        self._base = load_policy(str(BASE), frozen=True)
        self._scorer = Scorer.load(str(reward_model))
        self._texts = [
            self._renderer.render(text["messages"], {"text": text["completion"]})
            for text in pretraining_texts(world.draw(3), prompts)
        ]

    def of(self, model: Path, draw: int = 0) -> Measured:
        """A policy on disk; measured once, then read back.

        Policies of the same ``draw`` answer from the same noise, so that gains are of like answers;
        a win is against answers of another, independent draw.
        """
        path = self._world.root / "measured" / f"{self._key}-{hash_of(model)}-{draw}.json"
        if not path.is_file():
            found = self.measure(load_policy(str(model), frozen=True), draw)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, dataclasses.asdict(found))
        return Measured(**json.loads(path.read_text(encoding="utf-8")))

    def measure(self, policy: Any, draw: int = 0) -> Measured:
        """A model in memory, as it is now."""
        written, own = self._write(policy, draw)
        lengths = [len(text.completion_ids) for text in written]
        return Measured(
            gold=self._gold(written),
            reward=float(self._scorer.score(written).mean()),
            kl=(own - self._total(self._start, written)) / len(written),
            length=statistics.fmean(lengths),
            ended=statistics.fmean(
                text.completion_ids[-1] == self._renderer.end_id for text in written
            ),
            base_loss=-self._total(self._base, written) / sum(lengths),
            text_loss=-self._total(policy, self._texts)
            / sum(len(text.completion_ids) for text in self._texts),
        )

    def _write(self, policy: Any, draw: int) -> tuple[list[Rendered], float]:
        """The answers, prompt after prompt, and the sum of their log-probabilities."""
        end = self._renderer.end_id
        how = Sampling(1.0, 1.0, end, self._renderer.pad_id)
        written, total = [], 0.0
        for first in range(0, len(self._prompts), AT_ONCE):
            requests = [self._request(row, draw) for row in self._prompts[first : first + AT_ONCE]]
            for request, answers in zip(requests, generate(policy, requests, how), strict=True):
                for answer in answers:
                    ids = [*answer.token_ids, *([end] if answer.ended else [])]
                    written.append(Rendered(list(request.prompt_ids), ids))
                    total += sum(answer.logprobs or ()) + (answer.end_logprob or 0.0)
        return written, total

    def _request(self, row: Mapping[str, Any], draw: int) -> Request:
        seeds = [completion_seed(draw, row["prompt"], index) for index in range(self._answers)]
        return Request(self._renderer.prompt_ids(row["messages"]), seeds, MAX_NEW_TOKENS)

    def _total(self, model: Any, texts: Sequence[Rendered]) -> float:
        """The sum of log p over the tokens of all completions."""
        logprobs, _ = logprobs_and_entropy(model, texts, self._renderer.pad_id, 1.0)
        return float(logprobs.sum())

    def _gold(self, written: Sequence[Rendered]) -> list[list[float]]:
        texts = iter(written)
        return [
            [gold(row["messages"], self._shown(next(texts))) for _ in range(self._answers)]
            for row in self._prompts
        ]

    def _shown(self, text: Rendered) -> str:
        ids = text.completion_ids
        return self._renderer.text(ids[:-1] if ids[-1] == self._renderer.end_id else ids)
