"""The models of InstructGPT's step 3, and which of them share a body.

Full training: four bodies. Policy and value learn; the reference is what the policy was, the scorer
stays what it is.

Adapters (``lora_rank``): two bodies, whose own weights stay as they are. On the first lie policy
(adapter on) and reference (adapter off), on the second value model (adapter on, a head of its own)
and scorer (adapter off). One body for all, when the reward model is itself an adapter on the very
weights that the policy starts from.

The value model starts as the reward model. One that gives no score to a policy's token (an encoder,
or a model with another tokenizer) cannot lend its weights: the value model then starts from the
policy's body, and says at first what the mean text is worth.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from training.jobs.params import PpoParams
from training.rlhf import lora
from training.rlhf.job import Job
from training.rlhf.models import (
    load_policy,
    load_renderer,
    load_reward_model,
    read_card,
    scores_every_token,
)
from training.rlhf.rendering import Renderer
from training.rlhf.score_heads import ScoreHead
from training.rlhf.scoring import Scorer


@dataclass(frozen=True)
class Models:
    """Who plays what. ``value`` has a body (``base_model``) and a head (``score``).

    ``adapters``: by role, the adapter that acts in its body; roles that are not named play without.
    """

    policy: Any
    reference: Any
    value: Any
    scorer: Scorer
    renderer: Renderer
    adapters: Mapping[str, str] = field(default_factory=dict)

    def acting(self, role: str) -> AbstractContextManager[None]:
        """The block in which the body of ``role`` computes as that role.

        Raises:
            TrainingError: another role has left its adapter on.
        """
        if not self.adapters:
            return nullcontext()
        return lora.using(self._body(role), self.adapters.get(role))

    def trainable(self, role: str) -> dict[str, nn.Parameter]:
        """What learns of ``policy`` or ``value``, by name: all of it, or adapter and head."""
        model = getattr(self, role)
        if role not in self.adapters:
            return dict(model.named_parameters())
        adapter = lora.parameters_of(model.base_model, self.adapters[role])
        head = (
            {f"score.{k}": p for k, p in model.score.named_parameters()} if role == "value" else {}
        )
        return adapter | head

    def _body(self, role: str) -> nn.Module:
        model = self.scorer.model if role == "scorer" else getattr(self, role)
        body: nn.Module = model.base_model
        return body


class ValueModel(nn.Module):
    """A body that may be another role's as well, and a head that is nobody else's."""

    def __init__(self, body: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.base_model = body
        self.score = head.float().requires_grad_(True)
        self.config = body.config


def load_models(job: Job, params: PpoParams) -> Models:
    """The cast of a run; an event says where the value model comes from and who shares a body.

    Raises:
        TrainingError: the reward model has no score head, or one only and ``pessimism`` is asked.
    """
    assert job.spec.reward_model
    scorer = Scorer.load(job.spec.reward_model, pessimism=params.pessimism)
    renderer = load_renderer(job.spec.model)
    lends = scores_every_token(scorer.model) and scorer.renderer.same_vocabulary(renderer)
    cast = _adapters if params.lora_rank else _whole
    models, bodies = cast(job, params, scorer, renderer, lends)
    source = "reward model" if lends else "policy"
    job.events.write("models", value_starts_as=source, bodies=bodies)
    return models


def _whole(
    job: Job, _params: PpoParams, scorer: Scorer, renderer: Renderer, lends: bool
) -> tuple[Models, int]:
    if lends:
        assert job.spec.reward_model
        value = load_reward_model(job.spec.reward_model, frozen=False)
    else:
        body = load_policy(job.spec.model).base_model
        value = ValueModel(body, _mean_head(body, scorer))
    policy, reference = load_policy(job.spec.model), load_policy(job.spec.model, frozen=True)
    return Models(policy, reference, value, scorer, renderer), 4


def _adapters(
    job: Job, params: PpoParams, scorer: Scorer, renderer: Renderer, lends: bool
) -> tuple[Models, int]:
    policy = load_policy(job.spec.model, frozen=True)
    size = (params.lora_rank, params.lora_alpha)
    lora.add_adapter(policy.base_model, "policy", *size, job.spec.seed)
    adapters = {"policy": "policy", "value": "value"}
    folder = _adapter_on_policy(job) if lends else None
    if folder:
        _share(policy, scorer, folder)
        adapters["scorer"] = "reward"
    body = scorer.model.base_model if lends else policy.base_model
    if not folder:
        lora.add_adapter(body, "value", *size, job.spec.seed)
    head = copy.deepcopy(scorer.model.score) if lends else _mean_head(body, scorer)
    models = Models(policy, policy, ValueModel(body, head), scorer, renderer, adapters)
    return models, 1 if folder else 2


def _adapter_on_policy(job: Job) -> Path | None:
    """The reward model's adapter, if what it lies on is the policy's own weights."""
    assert job.spec.reward_model
    adapter = read_card(job.spec.reward_model).get("adapter")
    own = lora.weights_sha256(job.spec.model)
    if not adapter or own is None or adapter["base_sha256"] != own:
        return None
    return Path(job.spec.reward_model) / adapter["folder"]


def _share(policy: Any, scorer: Scorer, folder: Path) -> None:
    """Put the scorer's head on the policy's body, with its adapter there for it and for the value.

    Both start as the adapter that the reward model was trained with, of that one's rank.
    """
    setattr(scorer.model, scorer.model.base_model_prefix, policy.base_model)
    for name in ("reward", "value"):
        lora.load_adapter(scorer.model, name, folder)


def _mean_head(body: Any, scorer: Scorer) -> nn.Linear:
    """A head that gives every text the mean score: 0 on the scale of the scores."""
    head = ScoreHead(body.config.get_text_config().hidden_size, 1)
    nn.init.zeros_(head.weight)
    nn.init.constant_(head.bias, scorer.mean)
    return head.to(next(body.parameters()).device, torch.float32)
