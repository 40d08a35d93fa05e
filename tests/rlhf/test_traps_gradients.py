"""Known traps of the gradient: how batches are cut, what weighs what, what must not move.

Gradients are recorded before clipping and compared with those of the formula, written down here for
one text at a time on the library's own models.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from tests.rlhf.conftest import compared, prompts, said
from tests.rlhf.toys import Gradients, causal, flat, gradients, pairs_of
from training.rlhf import dpo, learner, ppo, ptx, reward, rollouts, sft, trainers
from training.rlhf.ema import Ema
from training.rlhf.models import load_policy, load_renderer
from training.rlhf.prefix import lay_out_groups
from training.rlhf.rendering import Rendered, Renderer
from training.rlhf.roles import load_models
from training.rlhf.sample import fit_prompts

assert gradients  # a fixture

ONE_STEP = {"epochs": 1, "learning_rate": 1e-6}


def ranked(count: int) -> list[dict[str, Any]]:
    """Prompts of several lengths with two to five completions, ties among them."""
    rows = []
    for n in range(count):
        texts = [chr(97 + n + k) * (1 + (3 * n + k) % 7) for k in range(2 + n % 4)]
        ranks = [1 + (k + n) % (2 + n % 4) // (1 + n % 2) for k in range(len(texts))]
        rows.append(compared("q" * (1 + 5 * n % 17) + str(n), texts, pairs_of(ranks)))
    return rows


def shown(count: int) -> list[dict[str, Any]]:
    return [
        {"prompt": f"d{n}", "author": "", "messages": said("q" * (1 + n)), "completion": "ab" * n}
        for n in range(1, count + 1)
    ]


def gradient(model: Any, loss: Tensor) -> Tensor:
    model.zero_grad()
    loss.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def log_likelihood(model: Any, text: Rendered) -> Tensor:
    """Of the completion, from logits as the library gives them for one text alone."""
    logits = model(torch.tensor([text.ids])).logits[0].log_softmax(-1)
    first = len(text.prompt_ids)
    places = torch.arange(first - 1, len(text.ids) - 1)
    return logits[places, torch.tensor(text.completion_ids)].sum()


def mean_over_pairs(row: dict[str, Any], scores: Sequence[Tensor]) -> Tensor:
    [ranking] = row["rankings"]
    losses = [-nn.functional.logsigmoid(scores[a] - scores[b]) for a, b in ranking["pairs"]]
    return torch.stack(losses).mean()


def rendered(row: dict[str, Any], renderer: Renderer) -> list[Rendered]:
    return [renderer.render(row["messages"], completion) for completion in row["completions"]]


def by_formula(kind: str, folder: str, rows: Sequence[dict[str, Any]]) -> Tensor:
    """The gradient of the whole batch: reward and DPO by prompt, SFT by token."""
    renderer = load_renderer(folder)
    if kind == "sft":
        model = AutoModelForCausalLM.from_pretrained(folder)
        texts = [renderer.render(r["messages"], {"text": r["completion"]}) for r in rows]
        tokens = sum(len(text.completion_ids) for text in texts)
        return gradient(model, -sum(log_likelihood(model, t) for t in texts) / tokens)
    if kind == "dpo":
        model = AutoModelForCausalLM.from_pretrained(folder)

        def score(text: Rendered) -> Tensor:
            own = log_likelihood(model, text)
            return 0.5 * (own - own.detach())
    else:
        model = AutoModelForSequenceClassification.from_pretrained(folder)
        model.config.get_text_config().pad_token_id = None

        def score(text: Rendered) -> Tensor:
            return model(torch.tensor([text.ids])).logits[0, 0]

    losses = [mean_over_pairs(row, [score(t) for t in rendered(row, renderer)]) for row in rows]
    return gradient(model, torch.stack(losses).mean())


def close(first: Tensor, second: Tensor, within: float = 1e-4) -> bool:
    return bool((first - second).norm() <= within * second.norm()) and bool(second.norm() > 0)


@pytest.fixture
def one_step(
    make_job: Any,
    gradients: Gradients,
    monkeypatch: pytest.MonkeyPatch,
    policy_folder: str,
    reward_folder: str,
) -> Callable[..., tuple[Tensor, str]]:
    """One optimiser step of a kind of run on all rows, so many at once: its gradient."""
    kinds = {
        "sft": (sft, "demonstrations", policy_folder, {"batch_size": 64, "validation_share": 0.0}),
        "dpo": (dpo, "comparisons", policy_folder, {"batch_size": 64, "beta": 0.5}),
        "reward": (
            reward,
            "comparisons",
            reward_folder,
            {"batch_prompts": 64, "validation_share": 0.0},
        ),
    }
    count = iter(range(100))

    def run(kind: str, rows: Sequence[dict[str, Any]], at_once: int, **more: Any) -> Any:
        module, data, folder, params = kinds[kind]
        # Dropout, where TRL leaves it to the model, is 0 in these models.
        monkeypatch.setattr(trainers, "micro_batch", lambda *_: at_once)
        gradients.clear()
        job = make_job(
            kind, {data: rows}, ONE_STEP | params | more, name=f"{next(count)}", model=folder
        )
        module.run(job)
        found = gradients[0] if len(gradients) == 1 else tuple(gradients)
        return found, folder

    return run


@pytest.mark.parametrize("kind", ["sft", "reward", "dpo"])
def test_trap_12_micro_batches_do_not_change_the_gradient(
    one_step: Callable[..., tuple[Tensor, str]], kind: str
) -> None:
    """Eight rows at once, four times two, eight times one: all are the formula's gradient."""
    rows = shown(8) if kind == "sft" else ranked(8)
    found = {at_once: one_step(kind, rows, at_once) for at_once in (8, 2, 1)}
    expected = by_formula(kind, found[1][1], rows)
    for at_once, (ours, _) in found.items():
        assert close(ours, expected), at_once


@pytest.mark.parametrize("kind", ["sft", "reward", "dpo"])
def test_trap_12_a_last_step_that_is_not_full_is_the_mean_of_what_it_has(
    one_step: Callable[..., tuple[Tensor, str]], kind: str
) -> None:
    """Seven rows in steps of four, two at a time: the last micro-batch is one row, counted once.

    At a rate of nearly 0, four times the first gradient and three times the second are seven times
    that of all rows. Answers are of one length, so that a mean over tokens is one over rows.
    """
    rows = [r | {"completion": "abab"} for r in shown(7)] if kind == "sft" else ranked(7)
    size = {"batch_prompts" if kind == "reward" else "batch_size": 4, "learning_rate": 1e-9}
    (first, second), folder = one_step(kind, rows, 2, **size)
    assert close((4 * first + 3 * second) / 7, by_formula(kind, folder, rows))
    assert not close(first, second, 0.1)


def test_trap_12_packing_does_not_change_the_gradient(
    one_step: Callable[..., tuple[Tensor, str]],
) -> None:
    found, folder = one_step("sft", shown(8), 4, packing=True)
    assert close(found, by_formula("sft", folder, shown(8)))


PPO = {"max_new_tokens": 6, "batch_size": 8, "minibatch_size": 8}


def a_step(make_job: Any, name: str, **params: Any) -> Any:
    """A learner, a job and episodes, all the same each time."""
    data = {"prompts": prompts(4)}
    if params.get("ptx_coef"):
        data["ptx"] = [{"text": "hello there " * (1 + n % 3)} for n in range(5)]
    job = make_job("ppo", data, PPO | params, name=name)
    given = job.spec.params
    models = load_models(job, given)
    examples = ptx.load_examples(job, models.renderer, 128) if given.ptx_coef else ()
    state = learner.new_learner(models, given, examples)
    fitted = fit_prompts(job, models.renderer, 128, [(r, ()) for r in job.rows()], 6)
    # Of several lengths, else a mean of means would be the mean.
    uneven = [dataclasses.replace(p, limit=1 + n % 6) for n, p in enumerate(fitted * 2)]
    experience, _ = rollouts.collect(models, uneven, given, 3, 0, given.kl_coef)
    return job, state, experience, given


def test_trap_12_micro_batches_do_not_change_the_gradient_of_ppo(
    make_job: Any, gradients: Gradients, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One pass, several, and one a text; against the formula of a whole batch."""
    expected = None
    for tokens in (100_000, 40, 1):
        _, state, experience, params = a_step(make_job, str(tokens))
        if expected is None:
            expected = ppo_by_formula(state, experience, params)
        gradients.clear()
        for module in (ppo, rollouts):
            if hasattr(module, "tokens_per_pass"):
                monkeypatch.setattr(module, "tokens_per_pass", lambda tokens=tokens: tokens)
        ppo.update(state, experience, params, 0)
        policy, value = gradients
        assert close(policy, expected[0]), tokens
        assert close(value, expected[1]), tokens


def ppo_by_formula(state: Any, experience: Any, params: Any) -> tuple[Tensor, Tensor]:
    """At ratio 1: mean over tokens of - A log pi, and of (V - R)^2 / 2."""
    policy, value, scorer = state.models.policy, state.models.value, state.models.scorer
    tokens = experience.mask.sum()
    policy_loss, value_loss = torch.zeros(()), torch.zeros(())
    for row, text in enumerate(experience.texts):
        count, first = len(text.completion_ids), len(text.prompt_ids)
        ids = torch.tensor([text.ids])
        logits = policy(ids).logits[0, first - 1 : -1].log_softmax(-1)
        logprobs = logits[torch.arange(count), torch.tensor(text.completion_ids)]
        policy_loss = policy_loss - (experience.advantages[row, :count] * logprobs).sum() / tokens
        hidden = value.base_model(ids).last_hidden_state[0, first - 1 : -1]
        values = (hidden @ value.score.weight.T).squeeze(-1)
        errors = (values - scorer.mean) / scorer.std - experience.returns[row, :count]
        value_loss = value_loss + 0.5 * (errors**2).sum() / tokens
    found = gradient(policy, policy_loss), gradient(value, value_loss)
    policy.zero_grad(set_to_none=True)
    value.zero_grad(set_to_none=True)
    return found


# --- 17


def test_trap_17_every_way_to_a_logprob_is_the_loss_of_the_library() -> None:
    """The head in chunks and the batch of DPO against ``model(labels=...)``, and gradients too."""
    for name in ("llama", "gpt2", "gemma"):
        model = causal(name)
        groups = [([1, 3, 90, 4], [[80, 81, 2], [82]]), ([1, 3, 91, 92, 93, 4], [[83, 84, 85, 2]])]
        texts = [Rendered(p, c) for p, cs in groups for c in cs]
        for share in (True, False):
            batch = lay_out_groups(groups, 0, share=share)
            sums = dpo.completion_logprobs(model, **batch)
            losses = torch.stack([library_loss(model, text) for text in texts])
            assert torch.allclose(-sums, losses, atol=1e-4)
            assert close(gradient(model, -sums.sum()), gradient(model, losses.sum()))


def library_loss(model: Any, text: Rendered) -> Tensor:
    labels = [-100] * len(text.prompt_ids) + text.completion_ids
    output = model(torch.tensor([text.ids]), labels=torch.tensor([labels]))
    loss: Tensor = output.loss * len(text.completion_ids)
    return loss


# --- 21


@pytest.mark.parametrize("kind", ["reward", "dpo"])
def test_trap_21_a_prompt_of_nine_weighs_as_much_as_one_of_four(
    one_step: Callable[..., tuple[Tensor, str]], kind: str
) -> None:
    nine = compared("n", [chr(97 + k) * (k + 1) for k in range(9)], pairs_of(range(9)))
    four = compared("four", [chr(107 + k) * (3 - k) for k in range(3)] + ["z"], pairs_of(range(4)))
    assert [len(r["rankings"][0]["pairs"]) for r in (nine, four)] == [36, 6]
    alone = [one_step(kind, [row], 1)[0] for row in (nine, four)]
    both, _ = one_step(kind, [nine, four], 1)
    assert close(both, (alone[0] + alone[1]) / 2)


# --- 22


@pytest.mark.parametrize("extra", [{}, {"lora_rank": 2}], ids=str)
def test_trap_22_the_reference_stays_what_the_policy_was(make_job: Any, extra: Any) -> None:
    job, state, experience, params = a_step(make_job, "a", learning_rate=1e-2, **extra)
    fitted = fit_prompts(job, state.models.renderer, 128, [(r, ()) for r in job.rows()], 6)
    original = load_policy(job.spec.model)
    texts = experience.texts

    def said_by(role: str) -> Tensor:
        with state.models.acting(role):
            model = getattr(state.models, role)
            return rollouts.logprobs_and_entropy(model, texts, 0, 1.0)[0]

    expected = rollouts.logprobs_and_entropy(original, texts, 0, 1.0)[0]
    assert torch.equal(said_by("reference"), expected)
    for _ in range(3):
        assert ppo.iterate(job, state, fitted, params)
    assert torch.equal(said_by("reference"), expected)
    assert not torch.allclose(said_by("policy"), expected, atol=1e-3)
    if not extra:
        shared = {p.data_ptr() for p in state.models.policy.parameters()}
        assert not shared & {p.data_ptr() for p in state.models.reference.parameters()}


def test_trap_22_the_reference_of_dpo_stays(
    make_job: Any, monkeypatch: pytest.MonkeyPatch, policy_folder: str
) -> None:
    seen: list[Any] = []
    compute = dpo.KwiseDpoTrainer.compute_loss

    def record(self: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(self)
        return compute(self, *args, **kwargs)

    monkeypatch.setattr(dpo.KwiseDpoTrainer, "compute_loss", record)
    params = {"epochs": 3, "learning_rate": 1e-2, "batch_size": 2}
    dpo.run(make_job("dpo", {"comparisons": ranked(4)}, params))
    original = AutoModelForCausalLM.from_pretrained(policy_folder)
    assert torch.equal(flat(seen[-1].ref_model), flat(original))
    assert not torch.allclose(flat(seen[-1].model), flat(original), atol=1e-3)
    assert not any(module.training for module in seen[-1].ref_model.modules())


# --- 24


def test_trap_24_the_running_mean_is_this_to_the_digit() -> None:
    """w = 1, 2, 3, 4 with decay 0.9, from the first on: by hand."""
    weight = nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    ema = Ema({"w": weight}, 0.9)
    for value in (2.0, 3.0, 4.0):
        with torch.no_grad():
            weight.fill_(value)
        ema.update({"w": weight})
    assert ema.mean["w"].item() == pytest.approx(0.729 * 1 + 0.081 * 2 + 0.09 * 3 + 0.1 * 4)
    assert weight.item() == 4.0


def test_trap_24_the_model_that_is_kept_is_the_mean_and_learning_goes_on_from_the_weights(
    make_job: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run with a mean learns what one without does; only what it leaves behind differs."""
    snapshots: dict[str, list[Tensor]] = {}
    left: dict[str, Tensor] = {}
    apply = learner.apply_gradients
    for name, decay in (("plain", 0.0), ("mean", 0.5)):
        snapshots[name] = []

        def record(state: Any, *args: Any, name: str = name) -> Any:
            result = apply(state, *args)
            snapshots[name].append(flat(state.models.policy))
            return result

        monkeypatch.setattr(ppo, "apply_gradients", record)
        params = PPO | {"steps": 3, "ema_decay": decay, "learning_rate": 1e-3}
        job = make_job("ppo", {"prompts": prompts(4)}, params, name=name)
        ppo.run(job)
        left[name] = flat(load_policy(str(job.folder.artifacts / "model")))
    for first, second in zip(snapshots["plain"], snapshots["mean"], strict=True):
        assert torch.equal(first, second)
    assert torch.equal(left["plain"], snapshots["plain"][-1])
    mean = flat(load_policy(job.spec.model))
    for weights in snapshots["mean"]:
        mean = 0.5 * mean + 0.5 * weights
    assert torch.allclose(left["mean"], mean, atol=1e-7)
    assert not torch.allclose(left["mean"], left["plain"], atol=1e-6)


# --- 25


def test_trap_25_the_gradient_of_ptx_is_added_in_its_measure(
    make_job: Any, gradients: Gradients
) -> None:
    """grad(PPO + gamma ptx) = grad(PPO) + gamma grad(ptx), the latter from the library's loss."""
    found = {}
    for coef in (0.0, 1.0, 27.8):
        extra = {"ptx_coef": coef, "ptx_ratio": 0.5} if coef else {}
        job, state, experience, params = a_step(make_job, str(coef), **extra)
        gradients.clear()
        ppo.update(state, experience, params, 0)
        found[coef] = gradients[0]
    model = load_policy(job.spec.model)
    due = ptx.due(state.ptx, 0.5, 0, 8, 0)
    assert len(due) == 4
    tokens = sum(len(text.completion_ids) for text in due)
    alone = gradient(model, sum(library_loss(model, text) for text in due) / tokens)
    assert close(found[1.0] - found[0.0], alone, 1e-3)
    assert close(found[27.8] - found[0.0], 27.8 * alone, 1e-3)


def test_trap_25_without_ptx_nothing_changes(make_job: Any) -> None:
    weights = []
    for name, data in (("with", {"ptx": [{"text": "unused text"}]}), ("without", {})):
        params = PPO | {"steps": 2, "learning_rate": 1e-3}
        job = make_job("ppo", {"prompts": prompts(4), **data}, params, name=name)
        ppo.run(job)
        weights.append(flat(load_policy(str(job.folder.artifacts / "model"))))
    assert torch.equal(*weights)
