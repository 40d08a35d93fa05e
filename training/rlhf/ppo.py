"""Step 3: PPO against the reward model, with a KL penalty to the model it started from.

InstructGPT, section 3.5 and appendix C.4; the order of this file is that of a run:

1. The cast: policy, reference, value model (it starts as the reward model) and scorer (``roles``).
2. A batch of episodes by the policy, scored; KL penalty, advantages (``rollouts``).
3. Updates: PPO's clipped loss in minibatches, the value loss, and, mixed in, the gradient of
   pretraining examples (``ptx``); no discount, a constant rate after a short warm-up.
4. The KL coefficient moves towards its target, if it has one.
5. A checkpoint now and then (``learner``); the model that is kept is the running mean, if asked.
6. One more batch of episodes, by the policy that is kept: the result tells its figures.

Prompts, sampling, shuffling and pretraining examples follow from the seed and the step, dropout is
off, and the rest is in the checkpoint: a run that is killed goes on as if it had not been. Several
processes share the episodes of a batch and the rows of a minibatch, and add their gradients up: the
result is that of one.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from training.jobs.params import PpoParams
from training.rlhf import artifacts, checkpoints, distributed, lora, ptx
from training.rlhf.batching import passes
from training.rlhf.errors import Interrupted, TrainingError
from training.rlhf.job import Job
from training.rlhf.learner import (
    Learner,
    apply_gradients,
    check_ranks_agree,
    copy_weights,
    load_state,
    new_learner,
    save_state,
    set_rates,
)
from training.rlhf.losses import adapted_kl_coef, policy_loss_terms, value_loss_terms
from training.rlhf.models import context_length, device, tokens_per_pass
from training.rlhf.order import minibatches, visits
from training.rlhf.roles import Models, load_models
from training.rlhf.rollouts import (
    Experience,
    batch_of,
    collect,
    completion_logprobs,
    completion_values,
)
from training.rlhf.sample import Prompt, fit_prompts

# The first update sees the weights that judged the episodes, so the probability ratio is 1 at each
# token: to a few millionths in float32. In bfloat16, which GPUs compute in, texts laid out
# otherwise are rounded otherwise, and the worst of thousands of tokens is off by tens of percent.
RATIO_TOLERANCE = {"cpu": 1e-2, "cuda": 1.0}


def run(job: Job) -> None:
    params = job.spec.params
    assert isinstance(params, PpoParams)
    models = load_models(job, params)
    prompts = fit_prompts(
        job,
        models.renderer,
        models.scorer.room(models.renderer, models.policy, models.value),
        [(row, ()) for row in job.rows()],
        params.max_new_tokens,
        models.scorer,
    )
    context = context_length(models.policy)
    examples = ptx.load_examples(job, models.renderer, context) if params.ptx_coef else []
    learner = new_learner(models, params, examples)
    resume(job, learner)
    job.stop_if_asked()
    while iterate(job, learner, prompts, params):
        _keep(job, learner, params)
    _finish(job, learner, params)


def iterate(job: Job, learner: Learner, prompts: Sequence[Prompt], params: PpoParams) -> bool:
    """One step: episodes, then updates. False when there is no update: all steps are done, or the
    KL budget was found spent. The policy is then the one to keep, and ``latest`` is about it.
    """
    done = learner.step >= params.steps
    if done and learner.ema:
        copy_weights(learner.ema.mean, learner.policy)
    experience, measured = _episodes(job, learner, prompts, params)
    if done or experience is None:
        return False
    begun = time.monotonic()
    learner.losses = update(learner, experience, params, job.spec.seed)
    seconds = {**experience.seconds, "train": time.monotonic() - begun}
    if params.kl_target is not None:
        learner.kl_coef = adapted_kl_coef(
            learner.kl_coef,
            measured["kl"],
            params.kl_target,
            params.batch_size,
            params.kl_horizon,
        )
    learner.step += 1
    speed = _speed(experience, seconds, params.epochs)
    job.events.write("speed", step=learner.step, total=params.steps, **speed)
    figures = {**measured, **learner.losses}
    job.events.write("ppo", step=learner.step, total=params.steps, **figures)
    return True


def _episodes(
    job: Job, learner: Learner, prompts: Sequence[Prompt], params: PpoParams
) -> tuple[Experience | None, dict[str, float]]:
    """Episodes of the policy as it is, and what was measured of them.

    None when they spent more than the KL budget: the policy is then again the one before.
    """
    first = learner.step * params.batch_size
    batch = [prompts[i] for i in visits(len(prompts), job.spec.seed, first, params.batch_size)]
    beta = learner.kl_coef
    experience, measured = collect(learner.models, batch, params, job.spec.seed, first, beta)
    measured["kl_coef"] = beta
    if learner.first_reward is None:
        learner.first_reward = measured["reward_mean"]
    latest = {**learner.losses, **measured}
    if params.kl_budget is not None:
        if measured["kl"] > params.kl_budget:
            job.events.write("kl_budget", step=learner.step, total=params.steps, **measured)
            if learner.within:
                learner.go_back()
            else:  # a budget below rounding, which the start itself spends
                learner.latest = latest
            return None, measured
        learner.remember()
    learner.latest = latest
    return experience, measured


def update(
    learner: Learner, experience: Experience, params: PpoParams, seed: int
) -> dict[str, float]:
    """``epochs`` passes over the episodes in minibatches; returns the means of the losses.

    Raises:
        TrainingError: a gradient is not finite, the first ratios are not 1, or the ranks hold
            different weights after the first update of this process.
    """
    set_rates(learner, params.steps)
    count = len(experience.texts)
    losses: list[dict[str, float]] = []
    norms: list[dict[str, float]] = []
    for epoch in range(params.epochs):
        visited = (learner.step * params.epochs + epoch) * count
        for rows in minibatches(count, params.minibatch_size, (seed, learner.step, epoch)):
            examples = ptx.due(learner.ptx, params.ptx_ratio, visited, len(rows), seed)
            losses.append(gradients(learner, experience, rows, params, examples))
            norms.append(apply_gradients(learner, params.max_grad_norm))
            visited += len(rows)
            if not learner.compared:
                check_ranks_agree(learner)
                learner.compared = True
    first = torch.tensor(distributed.gather([losses[0]["ratio_error"]])).max().item()
    if not first <= RATIO_TOLERANCE[device().type]:
        raise TrainingError(
            f"the first probability ratios are off 1 by {first:.3g}: the policy gave its episodes "
            "other log-probabilities when they were judged than now that it is trained on them"
        )
    return {**_means(losses), **_mean_of_each(norms), "ratio_error": first}


def gradients(
    learner: Learner,
    experience: Experience,
    rows: Sequence[int],
    params: PpoParams,
    examples: Sequence[Any] = (),
) -> dict[str, float]:
    """The gradients of one optimiser step, left in the parameters: this rank's part of them.

    Losses are means over the tokens of the minibatch, however it is cut to fit in memory and
    whoever does which part. Returned is this rank's part of the losses, which add up over ranks,
    and how far a ratio was from 1.

    Activations are kept, not made again in the backward pass: transformers does that for models in
    training mode alone, and these stay in evaluation mode, without dropout.
    """
    models = learner.models
    tokens = experience.mask[list(rows)].sum().item()
    mine = distributed.share(list(rows))
    sums = dict.fromkeys(("policy_loss", "value_loss", "clip_fraction"), 0.0)
    deviations = [torch.zeros(1)]
    for group in passes([len(experience.texts[row]) for row in mine], tokens_per_pass()):
        chosen = [mine[i] for i in group]
        batch = batch_of([experience.texts[row] for row in chosen], models.renderer.pad_id)
        old = experience.of(chosen)
        with models.acting("policy"):
            logprobs = completion_logprobs(models.policy, batch, params.temperature)
            losses, clipped = policy_loss_terms(
                logprobs, old["logprobs"], old["advantages"], params.clip_range
            )
            policy_loss = losses.sum() / tokens
            policy_loss.backward()
        with models.acting("value"):
            values = completion_values(models, batch)
            errors = value_loss_terms(
                values, old["values"], old["returns"], params.value_clip_range
            )
            value_loss = errors.sum() / tokens
            value_loss.backward()
        sums["policy_loss"] += policy_loss.item()
        sums["value_loss"] += value_loss.item()
        sums["clip_fraction"] += (clipped.sum() / tokens).item()
        change = (logprobs - old["logprobs"]).detach().exp() - 1
        deviations.append(change.abs().cpu())
    if params.ptx_coef and examples:
        sums["ptx_loss"] = ptx.add_gradient(models, examples, params.ptx_coef)
    return {**sums, "ratio_error": torch.cat(deviations).max().item()}


def resume(job: Job, learner: Learner) -> None:
    """Go on from the newest whole checkpoint, if there is one."""
    newest = checkpoints.newest(job.folder.checkpoints)
    if newest:
        load_state(learner, newest)
        job.events.write("resuming", step=learner.step)


def _keep(job: Job, learner: Learner, params: PpoParams) -> None:
    """A checkpoint every few steps; one more, and the end of the process, when asked to stop.

    After the last step, which the artifact follows soon, only when asked to stop.
    """
    stopping = job.any_rank_stopping()
    if stopping or (learner.step % params.checkpoint_every == 0 and learner.step < params.steps):
        check_ranks_agree(learner)
        checkpoints.write(
            job.folder.checkpoints, learner.step, lambda folder: save_state(learner, folder)
        )
        checkpoints.prune(job.folder.checkpoints)
    if stopping:
        raise Interrupted


def _finish(job: Job, learner: Learner, params: PpoParams) -> None:
    """The artifact: the policy as ``iterate`` left it; adapters are merged and kept beside."""
    models = learner.models
    metrics = {
        **learner.latest,
        "reward_mean_start": learner.first_reward,
        "steps": learner.step,
        "learning_rate": learner.rates[0],
    }
    record: dict[str, Any] = {"weights": "ema" if learner.ema else "last"}
    if params.lora_rank:
        adapter = _merge(models, job.spec.model)
        record["adapter"] = {
            "folder": lora.ADAPTER,
            "base_sha256": lora.weights_sha256(job.spec.model),
        }
        record["beside"] = lambda folder: _save_adapter(adapter, models, folder / lora.ADAPTER)
    artifacts.save_model(job, models.policy, models.renderer, metrics, **record)
    artifacts.finish(job, metrics)


def _merge(models: Models, base: str) -> lora.Adapter:
    """Merge the policy's adapter into its body, in float32 and where there is room: on the CPU."""
    adapter = lora.take(models.policy, models.adapters["policy"], base)
    models.policy.to("cpu", torch.float32)
    lora.merge(models.policy.base_model, models.adapters["policy"])
    models.policy.requires_grad_(True)
    return adapter


def _save_adapter(adapter: lora.Adapter, models: Models, folder: Path) -> None:
    """With its tokenizer and chat template: an adapter used with others is another policy."""
    adapter.save(folder)
    models.renderer.tokenizer.save_pretrained(folder)


def _speed(experience: Experience, seconds: dict[str, float], epochs: int) -> dict[str, float]:
    """Seconds of each part of a step, and tokens a second: those written, scored, trained on."""
    written = int(experience.mask.sum())
    whole = sum(map(len, experience.texts))
    tokens = {"generate": written, "score": whole, "train": epochs * whole}
    rates = {f"tokens_per_second_{n}": tokens[n] / max(s, 1e-9) for n, s in seconds.items()}
    return {f"seconds_{name}": spent for name, spent in seconds.items()} | rates


def _means(records: Sequence[dict[str, float]]) -> dict[str, float]:
    """Means over the optimiser steps of what ranks know in part.

    A step without pretraining examples has no loss of them, on any rank.
    """
    names = [name for name in dict.fromkeys(n for r in records for n in r) if name != "ratio_error"]
    summed = distributed.total(
        torch.tensor([[r.get(n, 0.0) for n in names] for r in records], dtype=torch.float64)
    )
    counts = [sum(name in record for record in records) for name in names]
    totals = summed.sum(0).tolist()
    return {name: total / n for name, total, n in zip(names, totals, counts, strict=True)}


def _mean_of_each(records: Sequence[dict[str, float]]) -> dict[str, float]:
    """Means of what every rank knows in whole."""
    return {name: sum(r[name] for r in records) / len(records) for name in records[0]}
