"""What changes while PPO trains: weights, optimisers, their running mean, the KL coefficient.

All of it is in a checkpoint; everything else follows from the seed and the step. Each rank holds
all of it, and the sum of all ranks' gradients moves each of them alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from training.jobs.params import PpoParams
from training.rlhf import distributed, lora
from training.rlhf.ema import Ema
from training.rlhf.errors import TrainingError
from training.rlhf.models import default_learning_rate, device, parameter_count
from training.rlhf.rendering import Rendered
from training.rlhf.roles import Models

STATE = "state.pt"
WARM_UP_STEPS = 10


@dataclass
class Learner:
    """``rates``: the full learning rates of policy and value. ``kl_coef``: beta at this moment.

    ``losses``: those of the last update. ``latest``: what was measured of the policy last, with the
    losses of the update before. ``within``: the weights to keep, with ``latest``, if the next batch
    shows that the KL budget was overspent. ``compared``: whether this process has seen that all
    ranks train alike.
    """

    models: Models
    policy_optimizer: torch.optim.Optimizer
    value_optimizer: torch.optim.Optimizer
    rates: tuple[float, float]
    kl_coef: float
    ema: Ema | None
    ptx: Sequence[Rendered] = ()
    step: int = 0
    first_reward: float | None = None
    losses: dict[str, float] = field(default_factory=dict)
    latest: dict[str, float] = field(default_factory=dict)
    within: dict[str, Tensor] = field(default_factory=dict)
    compared: bool = False

    @property
    def policy(self) -> dict[str, nn.Parameter]:
        return self.models.trainable("policy")

    @property
    def value(self) -> dict[str, nn.Parameter]:
        return self.models.trainable("value")

    def remember(self) -> None:
        """The policy as it is now spent no more than the budget."""
        self.within = {n: t.detach().clone() for n, t in self.policy.items()}

    def go_back(self) -> None:
        """To what was remembered, and to the step that it was made by."""
        copy_weights(self.within, self.policy)
        self.step -= 1


def new_learner(models: Models, params: PpoParams, ptx: Sequence[Rendered] = ()) -> Learner:
    """Optimisers as in InstructGPT, epsilon as in Llama 2."""
    rate_for = lora.learning_rate if params.lora_rank else default_learning_rate
    rates = (
        params.learning_rate or rate_for("ppo", parameter_count(models.policy)),
        params.value_learning_rate or rate_for("value", parameter_count(models.value)),
    )
    policy, value = (
        torch.optim.AdamW(
            models.trainable(role).values(),
            lr=rate,
            betas=(0.9, 0.95),
            eps=1e-5,
            weight_decay=0.0,
            fused=True,
        )
        for role, rate in zip(("policy", "value"), rates, strict=True)
    )
    ema = Ema(models.trainable("policy"), params.ema_decay) if params.ema_decay else None
    return Learner(models, policy, value, rates, params.kl_coef, ema, ptx)


def set_rates(learner: Learner, steps: int) -> None:
    """Constant, after a linear warm-up of the policy over ten steps or a quarter of the run.

    The value model takes its full rate at once: until it has learnt what a prompt is worth, the
    advantages are mostly noise, and the policy would only drift.
    """
    warm_up = min(WARM_UP_STEPS, steps // 4)
    share = min(1.0, 0.1 + 0.9 * learner.step / warm_up) if warm_up else 1.0
    for optimizer, rate in (
        (learner.policy_optimizer, learner.rates[0] * share),
        (learner.value_optimizer, learner.rates[1]),
    ):
        for group in optimizer.param_groups:
            group["lr"] = rate


def apply_gradients(learner: Learner, max_norm: float) -> dict[str, float]:
    """Sum the gradients of all ranks, clip, step and clear; returns the norms before clipping.

    Raises:
        TrainingError: a gradient is not finite.
    """
    norms = {}
    for name, parameters, optimizer in (
        ("grad_norm", learner.policy, learner.policy_optimizer),
        ("value_grad_norm", learner.value, learner.value_optimizer),
    ):
        sum_over_ranks(parameters.values())
        norm = nn.utils.clip_grad_norm_(parameters.values(), max_norm)
        if not torch.isfinite(norm):
            raise TrainingError(
                f"training diverged at step {learner.step + 1}: {name} is {norm.item()}; "
                "lower the learning rate"
            )
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        norms[name] = norm.item()
    if learner.ema:
        learner.ema.update(learner.policy)
    return norms


def sum_over_ranks(parameters: Iterable[nn.Parameter]) -> None:
    """Each rank has the gradient of its rows alone before, and that of all rows after."""
    if distributed.world_size() == 1:
        return
    for parameter in parameters:  # one at a time: all at once would be another copy of the model
        own = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        parameter.grad = distributed.total(own)


def check_ranks_agree(learner: Learner) -> None:
    """Raises TrainingError when the ranks hold different weights: they would train on apart."""
    if distributed.world_size() == 1:
        return
    digest = hashlib.sha256()
    for parameter in [*learner.policy.values(), *learner.value.values()]:
        digest.update(parameter.detach().cpu().numpy().tobytes())
    if len(set(distributed.gather([digest.hexdigest()]))) > 1:
        raise TrainingError(
            "the processes hold different weights after the same step: "
            "start them all from the same files and versions"
        )


def save_state(learner: Learner, folder: Path) -> None:
    """Everything that ``load_state`` needs. The optimisers' file is read as weights only."""
    _save(learner.policy, folder / "policy.safetensors")
    _save(learner.value, folder / "value.safetensors")
    if learner.ema:
        _save(learner.ema.mean, folder / "ema.safetensors")
    if learner.within:
        _save(learner.within, folder / "within.safetensors")
    state = {
        "policy_optimizer": learner.policy_optimizer.state_dict(),
        "value_optimizer": learner.value_optimizer.state_dict(),
        "kl_coef": learner.kl_coef,
        "step": learner.step,
        "first_reward": learner.first_reward,
        "losses": learner.losses,
        "latest": learner.latest,
    }
    torch.save(state, folder / STATE)


def load_state(learner: Learner, folder: Path) -> None:
    """Raises TrainingError when the checkpoint is of other models or settings."""
    _load(learner.policy, folder / "policy.safetensors")
    _load(learner.value, folder / "value.safetensors")
    if learner.ema:
        _load(learner.ema.mean, folder / "ema.safetensors")
    if (folder / "within.safetensors").is_file():
        learner.remember()
        _load(learner.within, folder / "within.safetensors")
    state: dict[str, Any] = torch.load(
        folder / STATE, map_location=str(device()), weights_only=True
    )
    learner.policy_optimizer.load_state_dict(state["policy_optimizer"])
    learner.value_optimizer.load_state_dict(state["value_optimizer"])
    learner.kl_coef = state["kl_coef"]
    learner.step = state["step"]
    learner.first_reward = state["first_reward"]
    learner.losses = state["losses"]
    learner.latest = state["latest"]


@torch.no_grad()
def copy_weights(source: Mapping[str, Tensor], parameters: Mapping[str, Tensor]) -> None:
    for name, parameter in parameters.items():
        parameter.copy_(source[name])


def _save(tensors: Mapping[str, Tensor], path: Path) -> None:
    save_file({name: t.detach().contiguous() for name, t in tensors.items()}, path)


def _load(tensors: Mapping[str, Tensor], path: Path) -> None:
    stored = load_file(path)
    if {n: t.shape for n, t in stored.items()} != {n: t.shape for n, t in tensors.items()}:
        raise TrainingError(
            f"the checkpoint {path.parent.name} is of another model or rank: "
            "start the run anew, with an empty folder"
        )
    copy_weights(stored, tensors)
