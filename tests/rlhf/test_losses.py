"""The equations against values worked out by hand, and against TRL's."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
import torch
from torch.nn.functional import logsigmoid

from tests.rlhf.conftest import compared, random_reward_model
from tests.rlhf.toys import score_tokens
from training.rlhf import batching
from training.rlhf.batching import micro_batch, passes
from training.rlhf.comparisons import Collator, Comparison, load_comparisons, to_rows
from training.rlhf.losses import (
    best_of_n,
    entropy_of,
    gae,
    kl_rewards,
    logprobs_of,
    pair_accuracy,
    pairwise_loss,
    policy_loss_terms,
    value_loss_terms,
    whiten,
)
from training.rlhf.models import score_texts
from training.rlhf.rendering import Rendered
from training.rlhf.rollouts import logprobs_and_entropy


def test_logprob_and_entropy_of_two_tokens() -> None:
    logits = torch.tensor([[0.0, math.log(3)]])
    assert logprobs_of(logits, torch.tensor([1])).exp().item() == pytest.approx(0.75)
    expected = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert entropy_of(logits).item() == pytest.approx(expected)


def test_temperature_is_applied_to_logprobs() -> None:
    logits = torch.tensor([[0.0, math.log(9)]])
    assert logprobs_of(logits, torch.tensor([1]), temperature=2.0).exp().item() == pytest.approx(
        0.75
    )


def test_gae_with_the_score_at_the_end_token() -> None:
    # Three tokens, the last one the end token with score 1; no KL. lambda = 1/2, gamma = 1.
    mask = torch.tensor([[True, True, True, False]])
    rewards = kl_rewards(torch.zeros(1, 4), torch.zeros(1, 4), torch.tensor([1.0]), mask, 0.1)
    assert rewards.tolist() == [[0, 0, 1, 0]]
    values = torch.tensor([[0.5, 0.2, 0.4, 9.0]])
    advantages, returns = gae(rewards, values, mask, gamma=1.0, lam=0.5)
    # delta = (0.2 - 0.5, 0.4 - 0.2, 1 - 0.4) = (-0.3, 0.2, 0.6); A3 = 0.6, A2 = 0.5, A1 = -0.05
    assert torch.allclose(advantages, torch.tensor([[-0.05, 0.5, 0.6, 0.0]]))
    assert torch.allclose(returns, torch.tensor([[0.45, 0.7, 1.0, 0.0]]))


def test_with_lambda_one_advantages_are_return_minus_value() -> None:
    torch.manual_seed(0)
    mask = torch.arange(5) < torch.tensor([[5], [2]])
    rewards, values = torch.randn(2, 5) * mask, torch.randn(2, 5)
    advantages, _ = gae(rewards, values, mask, gamma=1.0, lam=1.0)
    to_go = rewards.flip(1).cumsum(1).flip(1)
    assert torch.allclose(advantages, (to_go - values) * mask, atol=1e-6)


def test_kl_is_paid_token_by_token() -> None:
    mask = torch.tensor([[True, True, False]])
    rewards = kl_rewards(
        torch.tensor([[-1.0, -2.0, -5.0]]),
        torch.tensor([[-1.5, -1.0, 0.0]]),
        torch.tensor([3.0]),
        mask,
        kl_coef=0.1,
    )
    assert torch.allclose(rewards, torch.tensor([[-0.05, 0.1 + 3.0, 0.0]]))


def test_whitening_ignores_padding() -> None:
    values = torch.tensor([[1.0, 2.0, 3.0]])
    short = whiten(values, torch.ones(1, 3, dtype=torch.bool))
    padded = whiten(torch.tensor([[1.0, 2.0, 3.0, 1e6]]), torch.tensor([[True, True, True, False]]))
    assert torch.allclose(short, padded[:, :3])
    assert padded[0, 3] == 0
    assert short.mean().item() == pytest.approx(0, abs=1e-6)
    assert short.pow(2).mean().item() == pytest.approx(1, rel=1e-4)


def test_whitening_one_token_is_not_nan() -> None:
    assert whiten(torch.tensor([[3.0]]), torch.ones(1, 1, dtype=torch.bool)).tolist() == [[0.0]]


def test_policy_loss_is_clipped_on_the_pessimistic_side() -> None:
    logprobs = torch.log(torch.tensor([1.5, 1.5, 0.5, 0.5]))
    advantages = torch.tensor([1.0, -1.0, 1.0, -1.0])
    losses, clipped = policy_loss_terms(logprobs, torch.zeros(4), advantages, 0.2)
    assert torch.allclose(losses, torch.tensor([-1.2, 1.5, -0.5, 0.8]))
    assert clipped.tolist() == [1, 0, 0, 1]


def test_value_loss_takes_the_larger_error() -> None:
    losses = value_loss_terms(
        torch.tensor([1.0, 0.1]), torch.tensor([0.0, 0.0]), torch.tensor([1.0, 1.0]), 0.2
    )
    assert torch.allclose(losses, torch.tensor([0.5 * 0.8**2, 0.5 * 0.9**2]))


def test_best_of_n_has_no_bias() -> None:
    assert best_of_n([1.0, 2.0, 3.0], 1) == pytest.approx(2.0)
    assert best_of_n([3.0, 1.0, 2.0], 2) == pytest.approx((2 + 3 + 3) / 3)
    assert best_of_n([1.0, 2.0, 3.0], 3) == pytest.approx(3.0)


def test_pair_accuracy_counts_ties_half() -> None:
    scores = torch.tensor([1.0, 0.0, 1.0])
    assert pair_accuracy(scores, torch.tensor([[0, 1], [1, 0], [0, 2]])).tolist() == [1, 0, 0.5]


def test_teacher_forced_logprobs_equal_the_models_own_loss(policy: Any) -> None:
    prompt, completion = [1, 3, 70, 71, 4], [80, 81, 82, 2]
    logprobs, _ = logprobs_and_entropy(policy, [Rendered(prompt, completion)], 0, 1.0)
    ids = torch.tensor([prompt + completion])
    labels = torch.tensor([[-100] * len(prompt) + completion])
    assert -logprobs.mean().item() == pytest.approx(
        policy(ids, labels=labels).loss.item(), abs=1e-5
    )


RANKED = [
    compared("p", ["one", "three", "two", ""], [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3)]),
    compared("a longer prompt", ["yes", "no"], [(1, 0)]),
]


@pytest.fixture
def comparisons(make_job: Any, renderer: Any) -> list[Comparison]:
    return list(load_comparisons(make_job("reward", {"comparisons": RANKED}), renderer, 100))


def kwise(model: Any, comparisons: Sequence[Comparison], share: bool) -> torch.Tensor:
    """Our loss of one batch. ``share``: the prompt goes through the model once."""
    batch = Collator(0, share=share)(to_rows(comparisons))
    assert ("prefix_ids" in batch) == share
    return pairwise_loss(score_texts(model, batch), batch["pairs"], batch["weights"])


def pairwise(model: Any, comparisons: Sequence[Comparison]) -> torch.Tensor:
    """TRL's formula: rows of chosen and rejected, encoded apart, mean over the rows of a prompt."""

    def alone(ids: list[int]) -> torch.Tensor:
        row = torch.tensor([ids])
        return score_tokens(model, row, torch.ones_like(row))[0, -1]

    of_prompts = [
        [-logsigmoid(alone(c.texts[i].ids) - alone(c.texts[j].ids)) for i, j in c.pairs]
        for c in comparisons
    ]
    return torch.stack([torch.stack(losses).mean() for losses in of_prompts]).mean()


@pytest.mark.parametrize("share", [False, True])
def test_kwise_loss_and_gradients_equal_the_pairwise_ones(
    policy_folder: str, comparisons: list[Comparison], share: bool
) -> None:
    model = random_reward_model(policy_folder)
    loss = kwise(model, comparisons, share)
    loss.backward()
    ours = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    expected = pairwise(model, comparisons)
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            assert torch.allclose(ours[name], parameter.grad, atol=1e-5), name


def test_reward_models_trained_kwise_and_pairwise_are_the_same(
    policy_folder: str, comparisons: list[Comparison]
) -> None:
    """From the same start, after as many steps."""
    models = [random_reward_model(policy_folder) for _ in range(2)]
    before = {name: p.detach().clone() for name, p in models[0].named_parameters()}
    losses = (partial(kwise, share=True), pairwise)
    for model, loss_of in zip(models, losses, strict=True):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(10):
            optimizer.zero_grad()
            loss_of(model, comparisons).backward()
            optimizer.step()
    ours, theirs = (dict(model.named_parameters()) for model in models)
    assert max((ours[name] - old).abs().max().item() for name, old in before.items()) > 1e-2
    for name, weight in ours.items():
        assert torch.allclose(weight, theirs[name], atol=1e-4), name


def test_passes_cover_every_row_once_within_the_budget() -> None:
    lengths = [3, 9, 1, 4, 4, 30]
    groups = passes(lengths, 12)
    assert sorted(row for group in groups for row in group) == list(range(6))
    assert all(len(g) == 1 or len(g) * max(lengths[r] for r in g) <= 12 for g in groups)


@pytest.mark.parametrize("pass_cost", [0, 2, 7, 100])
def test_passes_cost_least_of_all_cuts(pass_cost: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "PASS_COST", pass_cost)
    lengths = [3, 9, 1, 4, 4, 12, 5, 2]
    ordered, budget = sorted(lengths, reverse=True), 24

    def cost(groups: list[list[int]]) -> int:
        return sum(len(group) * group[0] + pass_cost for group in groups)

    cuts = []
    for inner in itertools.product((False, True), repeat=len(lengths) - 1):
        ends = [at for at, cut in enumerate(inner, 1) if cut] + [len(lengths)]
        groups = [ordered[a:b] for a, b in zip([0, *ends], ends, strict=False)]
        if all(len(group) * group[0] <= budget for group in groups):
            cuts.append(cost(groups))
    found = [[lengths[row] for row in group] for group in passes(lengths, budget)]
    assert cost(found) == min(cuts)


@pytest.mark.parametrize(("batch", "fits", "expected"), [(16, 100, 16), (16, 5, 4), (7, 5, 1)])
def test_micro_batch_divides_the_batch(batch: int, fits: int, expected: int) -> None:
    assert micro_batch(batch, 10, fits * 10) == expected
