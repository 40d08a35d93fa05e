"""The first half of a PPO step: episodes of the current policy, scored, with their advantages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad as pad_tensor

from training.jobs.params import PpoParams
from training.rlhf.batching import Batch, in_passes, lay_out
from training.rlhf.generate import Request, Sampling, completion_seed, generate
from training.rlhf.losses import (
    entropy_of,
    gae,
    kl_rewards,
    logprobs_of,
    masked_mean,
    whiten,
)
from training.rlhf.models import autocast, device, score_tokens, tokens_per_pass
from training.rlhf.rendering import Rendered, Renderer
from training.rlhf.sample import Prompt
from training.rlhf.scoring import Scorer

# Logits in one pass, in numbers: with a vocabulary of 150,000 they outweigh all other activations.
LOGITS_PER_PASS = {"cpu": 2**26, "cuda": 2**28}


@dataclass(frozen=True)
class Models:
    """The four models of InstructGPT's step 3. Only ``policy`` and ``value`` learn."""

    policy: Any
    reference: Any
    value: Any
    scorer: Scorer
    renderer: Renderer


@dataclass(frozen=True)
class Experience:
    """B episodes. Tensors are (B, C) on the CPU; ``mask`` is true on completion tokens."""

    texts: list[Rendered]
    mask: Tensor
    logprobs: Tensor
    values: Tensor
    advantages: Tensor
    returns: Tensor

    def rows(self, rows: Sequence[int], pad_id: int) -> tuple[Batch, dict[str, Tensor]]:
        """Some episodes laid out for the models, with their tensors cut to the same width."""
        chosen = [self.texts[row] for row in rows]
        batch = lay_out(
            [t.prompt_ids for t in chosen], [t.completion_ids for t in chosen], pad_id, device()
        )
        width = batch.mask.shape[1]
        names = ("logprobs", "values", "advantages", "returns")
        cut = {n: getattr(self, n)[list(rows), :width].to(device()) for n in names}
        return batch, cut


def collect(
    models: Models, prompts: Sequence[Prompt], params: PpoParams, seed: int, first_episode: int
) -> tuple[Experience, dict[str, float]]:
    """One batch of experience.

    1. Write a completion for each prompt.
    2. Score each at its last token; one that did not end pays a penalty.
    3. Log-probabilities under policy and reference, values; all teacher-forced, as in training.
    4. Reward a token: -beta * KL, plus the score at the last one.
    5. Advantages by GAE, whitened over the whole batch.
    """
    texts, ended = _episodes(models, prompts, params, seed, first_episode)
    scores = models.scorer.score(texts)
    penalised = scores - params.missing_eos_penalty * (~ended)
    mask = _mask(texts)
    pad_id = models.renderer.pad_id
    logprobs, entropy = logprobs_and_entropy(models.policy, texts, pad_id, params.temperature)
    reference, _ = logprobs_and_entropy(models.reference, texts, pad_id, params.temperature)
    values = token_values(models, texts)
    rewards = kl_rewards(logprobs, reference, penalised, mask, params.kl_coef)
    advantages, returns = gae(rewards, values, mask, params.gamma, params.gae_lambda)
    experience = Experience(texts, mask, logprobs, values, whiten(advantages, mask), returns)
    return experience, {
        "reward_mean": float(scores.mean()),
        "reward_std": float(scores.std(unbiased=False)),
        "kl": float(((logprobs - reference) * mask).sum(1).mean()),
        "entropy": float(masked_mean(entropy, mask)),
        "length_mean": float(mask.sum(1).float().mean()),
        "eos_share": float(ended.float().mean()),
    }


def _episodes(
    models: Models, prompts: Sequence[Prompt], params: PpoParams, seed: int, first: int
) -> tuple[list[Rendered], Tensor]:
    """Completions with their end tokens, and (B,) whether each ended by itself."""
    requests = [
        Request(prompt.prompt_ids, [completion_seed(seed, prompt.id, first + i)], prompt.limit)
        for i, prompt in enumerate(prompts)
    ]
    end_id, pad_id = models.renderer.end_id, models.renderer.pad_id
    how = Sampling(params.temperature, 1.0, end_id, pad_id)
    written = [answers[0] for answers in generate(models.policy, requests, how)]
    texts = [
        Rendered(prompt.prompt_ids, [*answer.token_ids, *([end_id] if answer.ended else [])])
        for prompt, answer in zip(prompts, written, strict=True)
    ]
    return texts, torch.tensor([answer.ended for answer in written])


def completion_logits(model: Any, batch: Batch) -> Tensor:
    """Logits that predict each completion token, (B, C, V); none for the prompt are computed."""
    with autocast():
        logits: Tensor = model(
            input_ids=batch.input_ids,
            attention_mask=batch.attention_mask,
            position_ids=batch.position_ids,
            use_cache=False,
            logits_to_keep=batch.mask.shape[1] + 1,
        ).logits
    return logits[:, :-1]


def completion_values(value: Any, batch: Batch, mean: float, std: float) -> Tensor:
    """V of the text before each completion token, (B, C), on the scale of the scores.

    The value model starts as the reward model, so at first V is what the text so far would score.
    """
    with autocast():
        raw = score_tokens(value, batch.input_ids, batch.attention_mask)
    return (raw[:, -batch.mask.shape[1] - 1 : -1] - mean) / std


@torch.no_grad()
def logprobs_and_entropy(
    model: Any, texts: Sequence[Rendered], pad_id: int, temperature: float
) -> tuple[Tensor, Tensor]:
    """(B, C) each, 0 on padding."""

    def work(batch: Batch) -> Tensor:
        logits = completion_logits(model, batch)
        logprobs = logprobs_of(logits, batch.completions, temperature)
        return torch.stack([logprobs, entropy_of(logits, temperature)], -1)

    both = _per_token(texts, pad_id, tokens_for_logits(model), work)
    return both[..., 0], both[..., 1]


@torch.no_grad()
def token_values(models: Models, texts: Sequence[Rendered]) -> Tensor:
    """(B, C), 0 on padding."""
    mean, std = models.scorer.mean, models.scorer.std

    def work(batch: Batch) -> Tensor:
        return completion_values(models.value, batch, mean, std).unsqueeze(-1)

    return _per_token(texts, models.renderer.pad_id, tokens_per_pass(), work)[..., 0]


def tokens_for_logits(model: Any) -> int:
    """Padded tokens in one pass of a policy."""
    vocabulary = model.config.get_text_config().vocab_size
    return min(tokens_per_pass(), max(1, LOGITS_PER_PASS[device().type] // vocabulary))


def _per_token(
    texts: Sequence[Rendered], pad_id: int, tokens: int, work: Callable[[Batch], Tensor]
) -> Tensor:
    """``work`` gives (b, c, X) for a group of texts; all groups together are (B, C, X)."""
    width = max(len(text.completion_ids) for text in texts)

    def grouped(group: list[Rendered]) -> Tensor:
        batch = lay_out(
            [t.prompt_ids for t in group], [t.completion_ids for t in group], pad_id, device()
        )
        result = work(batch) * batch.mask.unsqueeze(-1)
        return pad_tensor(result, (0, 0, 0, width - result.shape[1])).float().cpu()

    return in_passes(texts, len, tokens, grouped)


def _mask(texts: Sequence[Rendered]) -> Tensor:
    lengths = torch.tensor([len(text.completion_ids) for text in texts])
    return torch.arange(int(lengths.max())) < lengths.unsqueeze(1)
