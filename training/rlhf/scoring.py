"""Scores of a trained reward model, on the scale that was stored with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from training.rlhf.batching import in_passes, pad
from training.rlhf.errors import TrainingError
from training.rlhf.models import (
    at_last_token,
    autocast,
    device,
    load_renderer,
    load_reward_model,
    read_card,
    score_tokens,
    tokens_per_pass,
)
from training.rlhf.rendering import Rendered, Renderer


class Scorer:
    """A reward model with its tokenizer and its normalisation: score = (raw - mean) / std."""

    def __init__(self, model: Any, renderer: Renderer, mean: float = 0.0, std: float = 1.0) -> None:
        self.model = model
        self.renderer = renderer
        self.mean = mean
        self.std = std

    @classmethod
    def load(cls, name: str) -> Scorer:
        """Raises TrainingError without a score head. Models made elsewhere keep their own scale."""
        card = read_card(name)
        return cls(
            load_reward_model(name),
            load_renderer(name),
            float(card.get("reward_mean", 0.0)),
            float(card.get("reward_std", 1.0)),
        )

    def score(self, texts: Sequence[Rendered]) -> Tensor:
        """(len(texts),) float32 on the CPU."""
        return (
            raw_scores(self.model, [t.ids for t in texts], self.renderer.pad_id) - self.mean
        ) / self.std

    def require_vocabulary_of(self, renderer: Renderer) -> None:
        """Raises TrainingError when token ids of a policy would mean something else here."""
        if not self.renderer.same_vocabulary(renderer):
            raise TrainingError(
                "the reward model has another vocabulary or chat template than the policy: "
                "train a reward model that starts from this policy"
            )


@torch.no_grad()
def raw_scores(model: Any, sequences: Sequence[Sequence[int]], pad_id: int) -> Tensor:
    """What the head says at the last token of each sequence: (N,) float32 on the CPU."""

    def work(group: list[Sequence[int]]) -> Tensor:
        ids, mask = (tensor.to(device()) for tensor in pad(group, pad_id))
        with autocast():
            return at_last_token(score_tokens(model, ids, mask), mask)

    if not sequences:
        return torch.empty(0)
    return in_passes(sequences, len, tokens_per_pass(), work).float().cpu()
