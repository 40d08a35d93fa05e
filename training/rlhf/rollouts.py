"""The first half of a PPO step: episodes of the current policy, scored, with their advantages."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from training.jobs.params import PpoParams
from training.rlhf import distributed
from training.rlhf.agreement import check_agreement
from training.rlhf.batching import Batch, lay_out, pad, passes
from training.rlhf.errors import TrainingError
from training.rlhf.generate import Completion, Request, Sampling, completion_seed, generate
from training.rlhf.heads import body_of, token_logprobs, token_logprobs_and_entropy
from training.rlhf.losses import gae, kl_rewards, masked_mean, whiten
from training.rlhf.models import autocast, device, tokens_per_pass
from training.rlhf.prefix import encode
from training.rlhf.rendering import Rendered
from training.rlhf.roles import Models
from training.rlhf.sample import Prompt


@dataclass(frozen=True)
class Episode:
    """One completion, as the rank that wrote it knows it. Tensors are (c,), one entry a token.

    ``sampled``: the log-probabilities that the tokens were drawn with.
    """

    text: Rendered
    ended: bool
    sampled: Tensor
    score: float
    logprobs: Tensor
    reference: Tensor
    values: Tensor
    entropy: Tensor


@dataclass(frozen=True)
class Experience:
    """The B episodes of all ranks, the same on each. Tensors are (B, C) on the CPU, 0 on padding;
    ``mask`` is true on completion tokens. ``seconds``: what writing and judging them took here.
    """

    texts: list[Rendered]
    mask: Tensor
    logprobs: Tensor
    values: Tensor
    advantages: Tensor
    returns: Tensor
    seconds: dict[str, float]

    def of(self, rows: Sequence[int]) -> dict[str, Tensor]:
        """The tensors of some episodes, token after token: (M,) each, on the device."""
        chosen = list(rows)
        inside = self.mask[chosen]
        names = ("logprobs", "values", "advantages", "returns")
        return {name: getattr(self, name)[chosen][inside].to(device()) for name in names}


def collect(
    models: Models,
    prompts: Sequence[Prompt],
    params: PpoParams,
    seed: int,
    first_episode: int,
    kl_coef: float,
) -> tuple[Experience, dict[str, float]]:
    """One batch of experience. Every rank writes and scores its share; all of them know it all.

    1. Write a completion for each prompt.
    2. Score each at its last token; one that did not end pays a penalty.
    3. Log-probabilities under policy and reference, values; all teacher-forced, as in training.
    4. Reward a token: -beta * KL, plus the score at the last one.
    5. Advantages by GAE, whitened over the whole batch.

    ``kl_coef``: beta at this moment.

    Raises:
        TrainingError: the completions were drawn from another distribution than the one that will
            be trained, or something is not finite.
    """
    begun = time.monotonic()
    mine = distributed.share(list(enumerate(prompts, start=first_episode)))
    answers = _write(models, mine, params, seed)  # 1
    written = time.monotonic()
    episodes = distributed.gather(_judge(models, mine, answers, params.temperature))  # 2, 3
    judged = time.monotonic()

    mask = pad([e.text.completion_ids for e in episodes], 0)[1].bool()
    logprobs, sampled, reference, values, entropy = (
        _columns([getattr(e, name) for e in episodes], mask)
        for name in ("logprobs", "sampled", "reference", "values", "entropy")
    )
    scores = torch.tensor([e.score for e in episodes])
    unfinished = ~torch.tensor([e.ended for e in episodes])
    penalised = scores - params.missing_eos_penalty * unfinished
    rewards = kl_rewards(logprobs, reference, penalised, mask, kl_coef)  # 4
    advantages, returns = gae(rewards, values, mask, params.gamma, params.gae_lambda)  # 5
    if not torch.isfinite(returns).all():
        raise TrainingError(
            "log-probabilities or values are not finite numbers: training diverged; look at "
            "reward_mean and kl of the last steps, and lower the learning rate"
        )
    check_agreement(sampled, logprobs, mask)
    texts = [e.text for e in episodes]
    seconds = {"generate": written - begun, "score": judged - written}
    white = whiten(advantages, mask)
    experience = Experience(texts, mask, logprobs, values, white, returns, seconds)
    return experience, {
        "reward_mean": float(scores.mean()),
        "reward_std": float(scores.std(unbiased=False)),
        "kl": float(((logprobs - reference) * mask).sum(1).mean()),
        "entropy": float(masked_mean(entropy, mask)),
        "length_mean": float(mask.sum(1).float().mean()),
        "eos_share": 1 - float(unfinished.float().mean()),
        "sampling_error": float((logprobs - sampled).abs().max()),
    }


def _write(
    models: Models, prompts: Sequence[tuple[int, Prompt]], params: PpoParams, seed: int
) -> list[Completion]:
    requests = [
        Request(prompt.prompt_ids, [completion_seed(seed, prompt.id, episode)], prompt.limit)
        for episode, prompt in prompts
    ]
    how = Sampling(params.temperature, 1.0, models.renderer.end_id, models.renderer.pad_id)
    with models.acting("policy"):
        return [answers[0] for answers in generate(models.policy, requests, how)]


def _judge(
    models: Models,
    prompts: Sequence[tuple[int, Prompt]],
    answers: Sequence[Completion],
    temperature: float,
) -> list[Episode]:
    """What each of the four models says of the completions, their end tokens included."""
    if not answers:
        return []
    end_id, pad_id = models.renderer.end_id, models.renderer.pad_id
    texts = [
        Rendered(prompt.prompt_ids, [*answer.token_ids, *([end_id] if answer.ended else [])])
        for (_, prompt), answer in zip(prompts, answers, strict=True)
    ]
    with models.acting("scorer"):
        conversations = [prompt.messages for _, prompt in prompts]
        scores = models.scorer.score_completions(conversations, texts, models.renderer)
    with models.acting("policy"):
        policy = _per_text(texts, pad_id, _logprobs_and_entropy(models.policy, temperature))
    with models.acting("reference"):
        reference = _per_text(texts, pad_id, _logprobs(models.reference, temperature))
    with models.acting("value"):
        values = _per_text(texts, pad_id, lambda batch: completion_values(models, batch)[:, None])
    return [
        Episode(text, answer.ended, _drawn_with(answer), score, p[:, 0], r[:, 0], v[:, 0], p[:, 1])
        for text, answer, score, p, r, v in zip(
            texts, answers, scores.tolist(), policy, reference, values, strict=True
        )
    ]


def _drawn_with(answer: Completion) -> Tensor:
    assert answer.logprobs is not None  # our own sampler always tells
    return torch.tensor([*answer.logprobs, *([answer.end_logprob] if answer.ended else [])])


def hidden_states(body: Any, batch: Batch) -> Tensor:
    """The states that predict the completion tokens: (M, d)."""
    with autocast():
        return encode(body, batch.inputs, batch.mask)[batch.mask]


def completion_logprobs(model: Any, batch: Batch, temperature: float) -> Tensor:
    """log p of each completion token: (M,)."""
    hidden = hidden_states(body_of(model), batch)
    with autocast():
        return token_logprobs(model, hidden, batch.targets, temperature)


def completion_values(models: Models, batch: Batch) -> Tensor:
    """V of the text before each completion token, on the scale of the scores: (M,) float32.

    Where the value model starts as the reward model, V is at first what the text so far would
    score.
    """
    hidden = hidden_states(models.value.base_model, batch)
    raw: Tensor = models.value.score(hidden.float()).mean(-1)
    return (raw - models.scorer.mean) / models.scorer.std


def logprobs_and_entropy(
    model: Any, texts: Sequence[Rendered], pad_id: int, temperature: float
) -> tuple[Tensor, Tensor]:
    """(B, C) each, 0 on padding."""
    mask = pad([text.completion_ids for text in texts], 0)[1].bool()
    both = _per_text(texts, pad_id, _logprobs_and_entropy(model, temperature))
    return _columns([b[:, 0] for b in both], mask), _columns([b[:, 1] for b in both], mask)


def _logprobs(model: Any, temperature: float) -> Callable[[Batch], Tensor]:
    return lambda batch: completion_logprobs(model, batch, temperature).unsqueeze(-1)


def _logprobs_and_entropy(model: Any, temperature: float) -> Callable[[Batch], Tensor]:
    def work(batch: Batch) -> Tensor:
        hidden = hidden_states(body_of(model), batch)
        with autocast():
            return torch.stack(
                token_logprobs_and_entropy(model, hidden, batch.targets, temperature), -1
            )

    return work


@torch.no_grad()
def _per_text(
    texts: Sequence[Rendered], pad_id: int, work: Callable[[Batch], Tensor]
) -> list[Tensor]:
    """``work`` gives (M, X) for the completion tokens of a group of texts; cut up, (c, X) each."""
    results: list[Tensor] = [torch.empty(0)] * len(texts)
    for group in passes([len(text) for text in texts], tokens_per_pass()):
        batch = batch_of([texts[row] for row in group], pad_id)
        lengths = [len(texts[row].completion_ids) for row in group]
        parts = work(batch).float().cpu().split(lengths)
        for row, part in zip(group, parts, strict=True):
            results[row] = part.clone()
    return results


def batch_of(texts: Sequence[Rendered], pad_id: int) -> Batch:
    prompts, completions = [t.prompt_ids for t in texts], [t.completion_ids for t in texts]
    return lay_out(prompts, completions, pad_id, device())


def _columns(parts: Sequence[Tensor], mask: Tensor) -> Tensor:
    """(c,) of each text to (B, C), 0 on padding."""
    return torch.zeros(mask.shape).masked_scatter(mask, torch.cat(list(parts)))
