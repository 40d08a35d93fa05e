"""Step 3: PPO against the reward model, with a KL penalty to the model it started from.

InstructGPT section 3.5 and appendix C.4: the value model starts as the reward model, no discount,
one batch of episodes an iteration, constant learning rate after a short warm-up. Left out here: the
mixed-in pretraining gradients (PPO-ptx).

Nothing but the weights, the optimisers and the step number is state: prompts, sampling and
shuffling follow from the seed and the step, dropout is off. A run that is killed goes on as if it
had not been.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_model, save_model
from torch import nn

from training.jobs.params import PpoParams
from training.rlhf import artifacts, checkpoints
from training.rlhf.batching import passes
from training.rlhf.errors import Interrupted, TrainingError
from training.rlhf.job import Job
from training.rlhf.losses import logprobs_of, policy_loss_terms, value_loss_terms
from training.rlhf.models import (
    context_length,
    default_learning_rate,
    device,
    load_policy,
    load_renderer,
    load_reward_model,
    parameter_count,
)
from training.rlhf.rollouts import (
    Experience,
    Models,
    collect,
    completion_logits,
    completion_values,
    tokens_for_logits,
)
from training.rlhf.sample import Prompt, fit_prompts
from training.rlhf.scoring import Scorer

STATE = "state.pt"
# The first update sees the weights that wrote the episodes, so the probability ratio is 1. In
# float32 it is, to a few millionths; a larger deviation means that sampling and training disagree.
RATIO_TOLERANCE = 1e-2
WARM_UP_STEPS = 10


@dataclass
class Learner:
    """What changes while training."""

    models: Models
    policy_optimizer: torch.optim.Optimizer
    value_optimizer: torch.optim.Optimizer
    rates: tuple[float, float]
    step: int = 0
    first_reward: float | None = None
    latest: dict[str, float] = field(default_factory=dict)


def run(job: Job) -> None:
    params = job.spec.params
    assert isinstance(params, PpoParams)
    models = _load(job)
    prompts = fit_prompts(
        job,
        models.renderer,
        min(context_length(models.policy), context_length(models.value)),
        [(row, ()) for row in job.rows()],
        params.max_new_tokens,
    )
    learner = new_learner(models, params)
    resume(job, learner)
    job.stop_if_asked()
    while learner.step < params.steps and iterate(job, learner, prompts, params):
        _keep(job, learner, params)
    metrics = {
        **learner.latest,
        "reward_mean_start": learner.first_reward,
        "steps": learner.step,
        "learning_rate": learner.rates[0],
    }
    artifacts.save_model(job, models.policy, models.renderer, metrics)
    artifacts.finish(job, metrics)


def iterate(job: Job, learner: Learner, prompts: Sequence[Prompt], params: PpoParams) -> bool:
    """One step: episodes, then updates. False when the KL budget was spent, before any update."""
    first = learner.step * params.batch_size
    batch = [prompts[i] for i in visits(len(prompts), job.spec.seed, first, params.batch_size)]
    experience, measured = collect(learner.models, batch, params, job.spec.seed, first)
    if learner.first_reward is None:
        learner.first_reward = measured["reward_mean"]
    if params.kl_budget is not None and measured["kl"] > params.kl_budget:
        job.events.write("kl_budget", step=learner.step, total=params.steps, **measured)
        learner.latest = {**learner.latest, **measured}
        return False
    updated = update(learner, experience, params, job.spec.seed)
    learner.step += 1
    learner.latest = {**measured, **updated}
    job.events.write("ppo", step=learner.step, total=params.steps, **learner.latest)
    return True


def update(
    learner: Learner, experience: Experience, params: PpoParams, seed: int
) -> dict[str, float]:
    """``epochs`` passes over the episodes in minibatches; returns the means of the losses.

    Raises:
        TrainingError: a loss is not finite, or the first ratios are not 1.
    """
    _set_rates(learner, params.steps)
    records = []
    for epoch in range(params.epochs):
        for rows in minibatches(
            len(experience.texts), params.minibatch_size, (seed, learner.step, epoch)
        ):
            records.append(_minibatch(learner, experience, rows, params))
    first = records[0]["ratio_error"]
    if device().type == "cpu" and first > RATIO_TOLERANCE:
        raise TrainingError(
            f"the first probability ratios are off 1 by {first:.3g}: "
            "sampling and training see different distributions"
        )
    means = {name: sum(r[name] for r in records) / len(records) for name in records[0]}
    return {**means, "ratio_error": first}


def _minibatch(
    learner: Learner, experience: Experience, rows: Sequence[int], params: PpoParams
) -> dict[str, float]:
    """One optimiser step of policy and value.

    Losses are means over the tokens of the minibatch, however it is cut to fit in memory.
    """
    models = learner.models
    tokens = experience.mask[list(rows)].sum().item()
    sums = dict.fromkeys(("policy_loss", "value_loss", "clip_fraction"), 0.0)
    deviation = 0.0
    lengths = [len(experience.texts[row]) for row in rows]
    for group in passes(lengths, tokens_for_logits(models.policy)):
        batch, old = experience.rows([rows[i] for i in group], models.renderer.pad_id)
        logits = completion_logits(models.policy, batch)
        logprobs = logprobs_of(logits, batch.completions, params.temperature)
        losses, clipped = policy_loss_terms(
            logprobs, old["logprobs"], old["advantages"], params.clip_range
        )
        values = completion_values(models.value, batch, models.scorer.mean, models.scorer.std)
        errors = value_loss_terms(values, old["values"], old["returns"], params.value_clip_range)
        policy_loss = (losses * batch.mask).sum() / tokens
        value_loss = (errors * batch.mask).sum() / tokens
        (policy_loss + params.value_coef * value_loss).backward()
        sums["policy_loss"] += policy_loss.item()
        sums["value_loss"] += value_loss.item()
        sums["clip_fraction"] += ((clipped * batch.mask).sum() / tokens).item()
        change = ((logprobs - old["logprobs"]) * batch.mask).detach().exp() - 1
        deviation = max(deviation, change.abs().max().item())
    norms = _apply(learner, params.max_grad_norm)
    return {**sums, **norms, "ratio_error": deviation}


def _apply(learner: Learner, max_norm: float) -> dict[str, float]:
    """Clip, step and clear both models; returns the gradient norms before clipping."""
    models = learner.models
    norms = {}
    for name, model, optimizer in (
        ("grad_norm", models.policy, learner.policy_optimizer),
        ("value_grad_norm", models.value, learner.value_optimizer),
    ):
        norm = nn.utils.clip_grad_norm_(model.parameters(), max_norm)
        if not torch.isfinite(norm):
            raise TrainingError(
                f"training diverged at step {learner.step + 1}: {name} is {norm.item()}; "
                "lower the learning rate"
            )
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        norms[name] = norm.item()
    return norms


def visits(count: int, seed: int, first: int, size: int) -> list[int]:
    """The prompts of ``size`` episodes from ``first`` on: each once a pass, in a new order each."""
    orders: dict[int, list[int]] = {}
    chosen = []
    for episode in range(first, first + size):
        turn = episode // count
        if turn not in orders:
            orders[turn] = torch.randperm(count, generator=_generator(seed, turn)).tolist()
        chosen.append(orders[turn][episode % count])
    return chosen


def minibatches(count: int, size: int, key: tuple[int, ...]) -> Iterator[list[int]]:
    """A fresh shuffle for each ``key``, cut into parts of ``size``."""
    order = torch.randperm(count, generator=_generator(*key)).tolist()
    for start in range(0, count, size):
        yield order[start : start + size]


def new_learner(models: Models, params: PpoParams) -> Learner:
    """Optimisers as in InstructGPT, epsilon as in Llama 2."""
    rates = (
        params.learning_rate or default_learning_rate("ppo", parameter_count(models.policy)),
        params.value_learning_rate or default_learning_rate("value", parameter_count(models.value)),
    )
    policy, value = (
        torch.optim.AdamW(
            model.parameters(), lr=rate, betas=(0.9, 0.95), eps=1e-5, weight_decay=0.0
        )
        for model, rate in zip((models.policy, models.value), rates, strict=True)
    )
    return Learner(models, policy, value, rates)


def save_state(learner: Learner, folder: Path) -> None:
    """Everything that ``load_state`` needs. The optimisers' file is read as weights only."""
    save_model(learner.models.policy, str(folder / "policy.safetensors"))
    save_model(learner.models.value, str(folder / "value.safetensors"))
    state = {
        "policy_optimizer": learner.policy_optimizer.state_dict(),
        "value_optimizer": learner.value_optimizer.state_dict(),
        "step": learner.step,
        "first_reward": learner.first_reward,
        "latest": learner.latest,
    }
    torch.save(state, folder / STATE)


def load_state(learner: Learner, folder: Path) -> None:
    where = str(device())
    load_model(learner.models.policy, folder / "policy.safetensors", device=where)
    load_model(learner.models.value, folder / "value.safetensors", device=where)
    state = torch.load(folder / STATE, map_location=where, weights_only=True)
    learner.policy_optimizer.load_state_dict(state["policy_optimizer"])
    learner.value_optimizer.load_state_dict(state["value_optimizer"])
    learner.step = state["step"]
    learner.first_reward = state["first_reward"]
    learner.latest = state["latest"]


def resume(job: Job, learner: Learner) -> None:
    """Go on from the newest whole checkpoint, if there is one."""
    newest = checkpoints.newest(job.folder.checkpoints)
    if newest:
        load_state(learner, newest)
        job.events.write("resuming", step=learner.step)


def _keep(job: Job, learner: Learner, params: PpoParams) -> None:
    """A checkpoint every few steps; one more, and the end of the process, when asked to stop."""
    unfinished = learner.step < params.steps
    if unfinished and (job.stopping or learner.step % params.checkpoint_every == 0):
        checkpoints.write(
            job.folder.checkpoints, learner.step, lambda folder: save_state(learner, folder)
        )
        checkpoints.prune(job.folder.checkpoints)
    if unfinished and job.stopping:
        raise Interrupted


def _load(job: Job) -> Models:
    assert job.spec.reward_model
    renderer, scorer = load_renderer(job.spec.model), Scorer.load(job.spec.reward_model)
    scorer.require_vocabulary_of(renderer)
    return Models(
        policy=load_policy(job.spec.model),
        reference=load_policy(job.spec.model, frozen=True),
        value=load_reward_model(job.spec.reward_model, frozen=False),
        scorer=scorer,
        renderer=renderer,
    )


def _set_rates(learner: Learner, steps: int) -> None:
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


def _generator(*key: int) -> torch.Generator:
    """A generator for one purpose, named by numbers."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
