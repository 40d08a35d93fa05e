"""The equations of the three steps, as pure functions of tensors.

Shapes: B sequences, C completion columns (right-padded), V vocabulary entries, N completions of all
prompts of a batch, P pairs. ``mask`` is (B, C), true where a column holds a completion token,
the end token included. Papers: InstructGPT = 2203.02155, PPO = 1707.06347, GAE = 1506.02438,
DPO = 2305.18290.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


def logprobs_of(logits: Tensor, tokens: Tensor, temperature: float = 1.0) -> Tensor:
    """log p(token) under softmax(logits / T): (..., V), (...) -> (...), in float32.

    The temperature belongs here as well as in sampling: left out, the ratio of PPO starts away from
    1.
    """
    scaled = logits.float() / temperature
    return scaled.gather(-1, tokens.unsqueeze(-1)).squeeze(-1) - scaled.logsumexp(-1)


def entropy_of(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Entropy of softmax(logits / T) in nats: (..., V) -> (...)."""
    logprobs = (logits.float() / temperature).log_softmax(-1)
    return -(logprobs.exp() * logprobs).sum(-1)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the true entries; 0 when there are none."""
    return (values * mask).sum() / mask.sum().clamp(min=1)


def whiten(values: Tensor, mask: Tensor) -> Tensor:
    """Mean 0 and variance 1 over the true entries; the others become 0.

    One entry alone has no spread: it becomes 0, not NaN.
    """
    mean = masked_mean(values, mask)
    variance = masked_mean((values - mean) ** 2, mask)
    return (values - mean) * torch.rsqrt(variance + 1e-8) * mask


def pairwise_loss(
    scores: Tensor,
    pairs: Tensor,
    weights: Tensor,
    margins: Tensor | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """InstructGPT equation 1, and DPO equation 7 when ``scores`` are beta * log(pi / ref).

    Args:
        scores: (N,), one for each completion, encoded once however many pairs it is in; or (N, H),
            of H heads that learn side by side: the mean of their losses.
        pairs: (P, 2), positions of winner and loser in ``scores``.
        weights: (P,), 1 / (pairs of the prompt * prompts of the batch), so that a prompt with nine
            completions weighs as much as one with four; or (P, H), a weight for each head.
        margins: (P,), what the winner has to lead by (Llama 2, equation 2).
        label_smoothing: the share of comparisons that are taken to be the wrong way round.
    """
    heads = scores.unsqueeze(-1) if scores.dim() == 1 else scores
    shares = weights.unsqueeze(-1) if weights.dim() == 1 else weights
    lead = heads[pairs[:, 0]] - heads[pairs[:, 1]]
    ahead = 0 if margins is None else margins.unsqueeze(-1)
    told = -logsigmoid(lead - ahead)
    if label_smoothing:
        reverse = -logsigmoid(-lead - ahead)
        told = (1 - label_smoothing) * told + label_smoothing * reverse
    return (shares * told).mean(-1).sum()


def pair_accuracy(scores: Tensor, pairs: Tensor) -> Tensor:
    """(P,): 1 where the winner scores higher, 0 where lower, 1/2 where equal."""
    return (1 + torch.sign(scores[pairs[:, 0]] - scores[pairs[:, 1]])) / 2


def kl_rewards(
    logprobs: Tensor, ref_logprobs: Tensor, scores: Tensor, mask: Tensor, kl_coef: float
) -> Tensor:
    """InstructGPT equation 2, spread over the tokens: (B, C).

    Each token pays beta * (log pi - log ref); the score (B,) of the whole completion is added at
    its last token (the end token, or the last one before the cut), never on padding.
    """
    rewards = -kl_coef * (logprobs - ref_logprobs) * mask
    last = mask.sum(1).long() - 1
    rewards[torch.arange(len(scores)), last] += scores
    return rewards


def adapted_kl_coef(coef: float, kl: float, target: float, episodes: int, horizon: int) -> float:
    """The next beta, so that KL (nats a completion) goes to ``target``: 1909.08593, section 2.2.

    e = clip(KL / target - 1, -0.2, 0.2); beta <- beta (1 + e episodes / horizon). The paper's
    K_beta = 0.1 is a horizon of ten batches; its code has the horizon.
    """
    error = max(-0.2, min(0.2, kl / target - 1))
    return coef * (1 + error * episodes / horizon)


def gae(
    rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float
) -> tuple[Tensor, Tensor]:
    """GAE equations 11, 12 and 16, (B, C) each: advantages, and returns = advantages + values.

    delta_t = r_t + gamma V_{t+1} - V_t, with V = 0 after the last token;
    A_t = delta_t + gamma lambda A_{t+1}.
    """
    values = values * mask
    advantages = torch.zeros_like(rewards)
    following = torch.zeros_like(rewards[:, 0])
    for t in reversed(range(rewards.shape[1])):
        next_value = values[:, t + 1] if t + 1 < rewards.shape[1] else torch.zeros_like(following)
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        following = (delta + gamma * lam * following) * mask[:, t]
        advantages[:, t] = following
    return advantages, (advantages + values) * mask


def policy_loss_terms(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, clip_range: float
) -> tuple[Tensor, Tensor]:
    """PPO equation 7 (negated), token by token: the losses, and where clipping decides them."""
    ratio = (logprobs - old_logprobs).exp()
    free = -advantages * ratio
    clipped = -advantages * ratio.clamp(1 - clip_range, 1 + clip_range)
    return torch.maximum(free, clipped), (clipped > free).float()


def value_loss_terms(
    values: Tensor, old_values: Tensor, returns: Tensor, clip_range: float
) -> Tensor:
    """Half the squared error, token by token, the larger of the free and the clipped one."""
    clipped = old_values + (values - old_values).clamp(-clip_range, clip_range)
    return 0.5 * torch.maximum((values - returns) ** 2, (clipped - returns) ** 2)


def best_of_n(scores: Sequence[float], n: int) -> float:
    """Expected best score of ``n`` draws, without bias, from N >= n scores (2112.09332, appendix
    I).

    The j-th smallest of N is the best of a random n-subset with probability C(j-1, n-1) / C(N, n).
    """
    ranked = sorted(scores)
    subsets = math.comb(len(ranked), n)
    return sum(math.comb(j, n - 1) / subsets * score for j, score in enumerate(ranked))
