"""Known traps of advantages: the place of the reward, KL, whitening, the value model.

The policies are bigram models, so that what is sampled can also be summed exactly.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.rlhf.conftest import prompts
from tests.rlhf.toys import (
    ASSISTANT,
    CHAIN,
    END,
    PI,
    REF,
    RENDERER,
    UNEVEN,
    VOCABULARY,
    A,
    B,
    Letters,
    MakeModels,
    bigram,
    causal,
    flat,
    models_of,
    outcomes,
    prompt,
    token_values,
    worthless,
)
from training.jobs.params import PpoParams
from training.rlhf import grpo, online, ppo
from training.rlhf.losses import (
    gae,
    kl_rewards,
    policy_loss_terms,
    whiten,
)
from training.rlhf.rendering import Rendered
from training.rlhf.rollouts import collect, logprobs_and_entropy

assert models_of
assert worthless  # fixtures

# --- 5: where the reward lies


def test_trap_05_the_score_lies_on_the_end_token_and_nothing_after_it_counts() -> None:
    """Three tokens and two columns of padding whose numbers are wild; lambda = 1/2, by hand."""
    mask = torch.tensor([[1, 1, 1, 0, 0]]).bool()
    logprobs = torch.tensor([[-1.0, -2.0, -1.5, 99.0, -99.0]])
    reference = torch.tensor([[-1.5, -2.0, -1.0, -50.0, 50.0]])
    values = torch.tensor([[0.3, 0.6, 0.2, 1e3, -1e3]])
    rewards = kl_rewards(logprobs, reference, torch.tensor([2.0]), mask, 0.1)
    assert torch.allclose(rewards, torch.tensor([[-0.05, 0.0, 2.05, 0.0, 0.0]]))
    advantages, returns = gae(rewards, values, mask, gamma=1.0, lam=0.5)
    third = 2.05 - 0.2
    second = (0.0 + 0.2 - 0.6) + 0.5 * third
    first = (-0.05 + 0.6 - 0.3) + 0.5 * second
    assert torch.allclose(advantages, torch.tensor([[first, second, third, 0.0, 0.0]]))
    assert torch.allclose(
        returns, torch.tensor([[first + 0.3, second + 0.6, third + 0.2, 0.0, 0.0]])
    )


def test_trap_05_with_lambda_one_the_advantage_is_the_reward_to_come_less_the_value() -> None:
    torch.manual_seed(0)
    lengths = torch.tensor([1, 3, 7])
    mask = torch.arange(9) < lengths.unsqueeze(1)
    rewards, values = torch.randn(3, 9) * mask, torch.randn(3, 9)
    advantages, returns = gae(rewards, values, mask, gamma=1.0, lam=1.0)
    for row, length in enumerate(lengths.tolist()):
        for t in range(length):
            to_come = rewards[row, t:length].sum()
            assert advantages[row, t].item() == pytest.approx(
                (to_come - values[row, t]).item(), abs=1e-5
            )
            assert returns[row, t].item() == pytest.approx(to_come.item(), abs=1e-5)
        assert not advantages[row, length:].any()


def test_trap_05_episodes_place_it_so(models_of: MakeModels) -> None:
    """Through ``collect``: with lambda = 0 and no value, a return is the reward of its token."""
    params = PpoParams(kl_coef=0.0, gae_lambda=0.0, missing_eos_penalty=0.0)
    short = prompt((1, 3, B), name="ends at once")
    experience, _ = collect(
        models_of(bigram(CHAIN)), [prompt(limit=9), short], params, 0, 0, params.kl_coef
    )
    assert [t.completion_ids for t in experience.texts] == [[A, B, END], [END]]
    assert experience.returns.tolist() == [[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]


# --- 7: the estimate of KL


def exact_kl(steps: int) -> float:
    """Sum over completions of p log(p / q); the completions are those of ``outcomes``."""
    of_reference = {tuple(ids): chance for ids, chance in outcomes(REF, ASSISTANT, steps)}
    return sum(
        chance * math.log(chance / of_reference[tuple(ids)])
        for ids, chance in outcomes(PI, ASSISTANT, steps)
    )


@pytest.mark.parametrize("steps", [1, 2])
def test_trap_07_kl_against_enumeration(models_of: MakeModels, steps: int) -> None:
    """The recorded log-ratios, weighed by exact probabilities, and as ``collect`` samples them."""
    exact = exact_kl(steps)
    listed = outcomes(PI, ASSISTANT, steps)
    texts = [Rendered([1, 3, ASSISTANT], ids) for ids, _ in listed]
    ratios = (
        logprobs_and_entropy(bigram(PI), texts, 0, 1.0)[0]
        - logprobs_and_entropy(bigram(REF), texts, 0, 1.0)[0]
    ).sum(1)
    weights = torch.tensor([chance for _, chance in listed])
    assert (weights * ratios).sum().item() == pytest.approx(exact, abs=1e-5)
    models = models_of(bigram(PI), bigram(REF))
    experience, measured = collect(models, [prompt(limit=steps)] * 2000, PpoParams(), 0, 0, 0.2)
    spread = (weights * (ratios - exact) ** 2).sum().sqrt().item()
    assert measured["kl"] == pytest.approx(exact, abs=4 * spread / math.sqrt(2000))
    written = {tuple(text.completion_ids) for text in experience.texts}
    assert written == {tuple(ids) for ids, _ in listed}


def test_trap_07_the_two_estimates_agree_in_expectation(models_of: MakeModels) -> None:
    """k1 = log r and k3 = 1/r - 1 + log r, a token; E[1/r] = 1 only if nothing was filtered."""
    models = models_of(bigram(PI), bigram(REF))
    experience, measured = collect(models, [prompt(limit=1)] * 2000, PpoParams(), 0, 0, 0.2)
    reference = logprobs_and_entropy(models.reference, experience.texts, 0, 1.0)[0]
    log_ratio = experience.logprobs[:, 0] - reference[:, 0]
    k3 = (-log_ratio).exp() - 1 + log_ratio
    error = ((-log_ratio).exp() - 1).std().item() / math.sqrt(2000)
    assert k3.mean().item() == pytest.approx(measured["kl"], abs=4 * error)
    assert (k3 >= 0).all()


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_trap_07_kl_with_itself_is_zero(models_of: MakeModels, temperature: float) -> None:
    """Another copy of the weights, uneven prompts: padding and batches must cancel."""
    models = models_of(causal("gpt2"), causal("gpt2"))
    assert models.policy is not models.reference
    _, measured = collect(models, UNEVEN, PpoParams(temperature=temperature), 0, 0, 0.2)
    assert measured["kl"] == pytest.approx(0, abs=1e-5)


# --- 8: the gradient of KL


def test_trap_08_kl_in_the_reward_gives_the_gradient_of_the_expectation() -> None:
    """E[R] - beta KL of a softmax policy over two steps, by finite differences of the exact sum."""
    beta, tokens, steps = 0.3, (A, B, END), 2
    listed = outcomes(PI, ASSISTANT, steps)
    scores = torch.tensor([1.0 + ids.count(A) - 0.5 * ids.count(B) for ids, _ in listed]).double()
    free = torch.stack([PI[row, list(tokens)] for row in (ASSISTANT, A, B)]).double()
    fixed = torch.stack([REF[row, list(tokens)] for row in (ASSISTANT, A, B)]).double()

    def of_texts(parameters: Tensor) -> Tensor:
        """(texts, steps) log-probabilities; rows of states, columns of tokens."""
        logs = parameters.log_softmax(-1)
        result = torch.zeros(len(listed), steps).double()
        for n, (ids, _) in enumerate(listed):
            state = 0
            for t, token in enumerate(ids):
                result[n, t] = logs[state, tokens.index(token)]
                state = 1 + tokens.index(token)
        return result

    def objective(parameters: Tensor) -> Tensor:
        logs, reference = of_texts(parameters).sum(1), of_texts(fixed).sum(1)
        return (logs.exp() * (scores - beta * (logs - reference))).sum()

    mask = torch.arange(steps) < torch.tensor([len(ids) for ids, _ in listed]).unsqueeze(1)
    parameters = free.clone().requires_grad_()
    logprobs = of_texts(parameters)
    old = logprobs.detach()
    rewards = kl_rewards(old, of_texts(fixed), scores, mask, beta)
    baseline = torch.tensor([[0.4, -0.2]]).double().expand(len(listed), 2)
    # The value may depend on the state only; the second state is known by its first token.
    seconds = torch.tensor([[0.0, {A: 0.7, B: -0.3, END: 0.0}[ids[0]]] for ids, _ in listed])
    advantages, _ = gae(rewards, baseline + seconds, mask, gamma=1.0, lam=1.0)
    losses, _ = policy_loss_terms(logprobs, old, advantages, 0.2)
    chances = old.sum(1).exp()
    (chances.unsqueeze(1) * losses * mask).sum().backward()
    assert parameters.grad is not None
    for index in range(free.numel()):
        step = torch.zeros(free.numel()).double()
        step[index] = 1e-5
        step = step.view_as(free)
        slope = (objective(free + step) - objective(free - step)) / 2e-5
        assert -parameters.grad.flatten()[index] == pytest.approx(slope.item(), abs=1e-7)


def test_trap_08_grpo_corrects_the_gradient_of_its_kl(
    make_job: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """k3 as a loss has the gradient of KL(ref || pi); times the ratio, that of KL(pi || ref)."""
    seen: dict[str, Any] = {}
    train = online.train

    def record(job: Any, trainer: Any) -> None:
        seen["args"] = trainer.args
        train(job, trainer)

    monkeypatch.setattr(online, "train", record)
    params = {"steps": 1, "batch_size": 4, "n": 2, "max_new_tokens": 3, "kl_coef": 0.3}
    grpo.run(make_job("grpo", {"prompts": prompts(2)}, params))
    assert seen["args"].use_bias_correction_kl
    assert seen["args"].importance_sampling_level == "token"
    assert seen["args"].beta == 0.3


# --- 11: whitening


def test_trap_11_whitening_ignores_padding_and_survives_one_token() -> None:
    torch.manual_seed(0)
    values = torch.randn(3, 5) * 3 + 2
    mask = torch.arange(5) < torch.tensor([[2], [5], [1]])
    expected = values[mask]
    expected = (expected - expected.mean()) / expected.std(unbiased=False)
    assert torch.allclose(whiten(values, mask)[mask], expected, atol=1e-4)
    wild = torch.where(mask, values, torch.full_like(values, 1e6))
    wider = torch.nn.functional.pad(wild, (0, 4), value=-1e9)
    result = whiten(wider, torch.nn.functional.pad(mask, (0, 4)))
    assert torch.allclose(result[:, :5], whiten(values, mask), atol=1e-4)
    assert not result[:, 5:].any()
    alone = whiten(torch.tensor([[7.0, 1e6]]), torch.tensor([[True, False]]))
    assert alone.tolist() == [[0.0, 0.0]]


def test_trap_11_advantages_are_white_over_the_batch_and_not_over_a_minibatch(
    models_of: MakeModels,
) -> None:
    """The second half of the episodes is worse than the first: their mean must stay below 0."""
    good, bad = prompt((1, 3, ASSISTANT), name="good"), prompt((1, 3, B), name="bad")
    params = PpoParams(kl_coef=0.0, gae_lambda=1.0, missing_eos_penalty=0.0)
    experience, _ = collect(
        models_of(bigram(CHAIN)), [good] * 4 + [bad] * 4, params, 0, 0, params.kl_coef
    )
    inside = experience.advantages[experience.mask]
    assert inside.mean().item() == pytest.approx(0, abs=1e-5)
    assert inside.std(unbiased=False).item() == pytest.approx(1, abs=1e-4)
    assert (experience.advantages[4:, 0] < 0).all()
    assert (experience.advantages[:4, :3] > 0).all()


def in_two_processes(work: Callable[[int], Any], folder: Path) -> list[Any]:
    """What ``work`` gives in each of two ranks, forked from here and joined over gloo."""
    children = []
    for rank in range(2):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                where = f"file://{folder / 'meet'}"
                torch.distributed.init_process_group(
                    "gloo", init_method=where, rank=rank, world_size=2
                )
                torch.save(work(rank), folder / f"{rank}.pt")
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


def test_trap_11_two_ranks_whiten_as_one(models_of: MakeModels, tmp_path: Path) -> None:
    """One rank has the good episodes, the other the bad ones, of other lengths and one more."""
    good, bad = prompt((1, 3, ASSISTANT), name="good"), prompt((1, 3, B), name="bad")
    params = PpoParams(kl_coef=0.1, gae_lambda=0.9)
    models = models_of(bigram(CHAIN), bigram(PI))

    def advantages(_rank: int) -> Tensor:
        return collect(models, [good] * 4 + [bad] * 3, params, 0, 0, params.kl_coef)[0].advantages

    alone = advantages(0)
    both = in_two_processes(advantages, tmp_path)
    assert torch.allclose(both[0], alone, atol=1e-6)
    assert torch.equal(both[0], both[1])
    assert alone[4:, 0].mean() < -0.1


# --- 16: the value model


class LastLetter(Letters):
    """2 when the letter before the end is the one, else 0: a reward of the last state alone."""

    def score(self, texts: Sequence[Rendered]) -> Tensor:
        return torch.tensor([2.0 * (t.completion_ids[-2:-1] == [self.token]) for t in texts])


def test_trap_16_values_converge_to_those_of_a_known_process(
    models_of: MakeModels,
) -> None:
    """V of a text by its last token, from the equations of the chain; the policy hardly moves.

    From each state the next token is A, B or the end, as ``PI`` has it. The scale of the scores is
    not the raw one.
    """
    mean, std = 3.0, 2.0
    states, tokens = (ASSISTANT, A, B), [A, B, END]
    moves = torch.stack([PI[s, tokens] for s in states]).double().softmax(-1)
    inner = torch.cat([torch.zeros(3, 1), moves[:, :2]], 1)
    ending = moves[:, 2] * torch.tensor([0.0, 2.0, 0.0])
    exact = torch.linalg.solve(torch.eye(3).double() - inner, ending)
    models = models_of(bigram(PI))
    models.value.model.requires_grad_(False)
    start = (mean + std) / math.sqrt(VOCABULARY)  # every state is worth 1
    torch.nn.init.constant_(models.value.score.weight, start)
    scorer = LastLetter(RENDERER, A)
    scorer.mean, scorer.std = mean, std
    params = PpoParams(
        steps=1000,
        batch_size=64,
        minibatch_size=64,
        learning_rate=1e-9,
        value_learning_rate=3e-3 * std,
        value_clip_range=100.0,
        kl_coef=0.0,
        missing_eos_penalty=0.0,
        max_grad_norm=1e6,
    )
    learner = ppo.new_learner(dataclasses.replace(models, scorer=scorer), params)
    frozen = flat(models.policy)
    texts = [Rendered([1, 3, ASSISTANT], [A, B, END])]
    learnt = []
    for step in range(40):
        batch = [prompt(limit=12)] * params.batch_size
        experience, _ = collect(
            learner.models, batch, params, 0, step * params.batch_size, params.kl_coef
        )
        ppo.update(learner, experience, params, step)
        learner.step += 1
        learnt.append(token_values(learner.models, texts)[0].double())
    average = torch.stack(learnt[-20:]).mean(0)
    assert torch.allclose(average, exact, atol=0.15), (average, exact)
    assert torch.allclose(frozen, flat(models.policy), atol=1e-5)
