"""PPO: that it measures nothing before the first step, learns, stops, and survives a kill."""

from __future__ import annotations

import dataclasses
import itertools
import shutil
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from tests.rlhf.conftest import byte_tokenizer, demonstrations, events_of, metrics_of, prompts
from tests.rlhf.toys import score_tokens, token_values
from training.jobs.params import PpoParams
from training.rlhf import checkpoints, ema, ppo, ptx
from training.rlhf.errors import Interrupted, TrainingError
from training.rlhf.learner import copy_weights
from training.rlhf.losses import adapted_kl_coef
from training.rlhf.models import context_length, load_policy, read_card
from training.rlhf.rendering import Rendered
from training.rlhf.roles import Models, load_models
from training.rlhf.rollouts import collect, logprobs_and_entropy
from training.rlhf.sample import Prompt, fit_prompts

SMALL = {
    "steps": 4,
    "batch_size": 6,
    "minibatch_size": 3,
    "max_new_tokens": 6,
    "learning_rate": 1e-3,
    "value_learning_rate": 1e-3,
    "checkpoint_every": 1,
}


def loaded(job: Any) -> tuple[Models, list[Prompt], PpoParams]:
    models = load_models(job, job.spec.params)
    rows = [(row, ()) for row in job.rows()]
    fitted = fit_prompts(
        job, models.renderer, context_length(models.policy), rows, job.spec.params.max_new_tokens
    )
    return models, fitted, job.spec.params


def ppo_job(make_job: Any, name: str = "job", **params: Any) -> Any:
    return make_job("ppo", {"prompts": prompts(5)}, SMALL | params, name=name)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_before_the_first_step_ratio_is_one_and_kl_zero(make_job: Any, temperature: float) -> None:
    job = ppo_job(make_job, temperature=temperature, steps=1)
    ppo.run(job)
    [first] = events_of(job, "ppo")
    assert first["ratio_error"] < 1e-4
    assert abs(first["kl"]) < 1e-5


def test_dropout_in_the_configuration_does_not_move_the_ratio(
    make_job: Any, policy_folder: str
) -> None:
    job = ppo_job(make_job, steps=1)
    models, fitted, params = loaded(job)
    models.policy.config.attention_dropout = 0.5
    for layer in models.policy.model.layers:
        layer.self_attn.attention_dropout = 0.5
    learner = ppo.new_learner(models, params)
    assert ppo.iterate(job, learner, fitted[:1], params)
    assert learner.losses["ratio_error"] < 1e-4


def test_the_kl_of_a_policy_with_itself_is_zero(make_job: Any) -> None:
    job = ppo_job(make_job)
    models, fitted, params = loaded(job)
    itself = dataclasses.replace(models, reference=models.policy)
    _, measured = collect(itself, fitted, params, 1, 0, params.kl_coef)
    assert measured["kl"] == 0.0


def test_the_sampled_kl_agrees_with_the_exact_one(make_job: Any) -> None:
    """One-token completions: E[log pi - log ref] against the sum over the vocabulary."""
    job = ppo_job(make_job, max_new_tokens=1)
    models, fitted, params = loaded(job)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in models.policy.parameters():
            parameter.add_(0.03 * torch.randn_like(parameter))
    prompt = fitted[0]
    ids = torch.tensor([prompt.prompt_ids])
    logits = [m(ids).logits[0, -1].log_softmax(-1) for m in (models.policy, models.reference)]
    exact = (logits[0].exp() * (logits[0] - logits[1])).sum().item()
    _, measured = collect(models, [prompt] * 3000, params, 1, 0, params.kl_coef)
    assert measured["kl"] == pytest.approx(exact, rel=0.15)


def test_values_start_as_scores_of_the_text_so_far(make_job: Any) -> None:
    models, fitted, _ = loaded(ppo_job(make_job))
    text = Rendered(fitted[0].prompt_ids, [80, 81, 82, 2])
    values = token_values(models, [text])[0]
    so_far = [
        Rendered(text.prompt_ids, text.completion_ids[:n]) for n in range(len(text.completion_ids))
    ]
    assert torch.allclose(values, models.scorer.score(so_far), atol=1e-4)


def test_training_the_value_model_leaves_the_scores_alone(make_job: Any) -> None:
    job = ppo_job(make_job)
    models, fitted, params = loaded(job)
    text = [Rendered(fitted[0].prompt_ids, [80, 2])]
    score, value = models.scorer.score(text), token_values(models, text)
    reference = logprobs_and_entropy(models.reference, text, 0, 1.0)[0]
    ppo.iterate(job, ppo.new_learner(models, params), fitted, params)
    assert torch.equal(models.scorer.score(text), score)
    assert torch.equal(logprobs_and_entropy(models.reference, text, 0, 1.0)[0], reference)
    assert not torch.equal(token_values(models, text), value)


def test_micro_batches_do_not_change_the_step(
    make_job: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = []
    for tokens in (10_000, 30, 1):
        job = ppo_job(make_job, name=str(tokens))
        models, fitted, params = loaded(job)
        experience, _ = collect(models, fitted, params, 1, 0, params.kl_coef)
        monkeypatch.setattr(ppo, "tokens_per_pass", lambda tokens=tokens: tokens)
        learner = ppo.new_learner(models, params)
        ppo.gradients(learner, experience, range(5), params)
        ppo.apply_gradients(learner, params.max_grad_norm)
        results.append(torch.cat([p.detach().flatten() for p in models.policy.parameters()]))
    assert torch.allclose(results[0], results[1], atol=1e-5)
    assert torch.allclose(results[0], results[2], atol=1e-5)


def test_only_the_completion_decides_whether_it_ended(make_job: Any) -> None:
    """The penalty for a missing end is not fooled by an end token inside the prompt."""
    job = ppo_job(make_job, missing_eos_penalty=100.0, kl_coef=0.0, max_new_tokens=1)
    models, fitted, params = loaded(job)
    prompt = dataclasses.replace(fitted[0], prompt_ids=[1, 3, 2, 80, 4])
    experience, measured = collect(models, [prompt] * 40, params, 1, 0, params.kl_coef)
    assert measured["eos_share"] < 1
    ended = torch.tensor([text.completion_ids[-1] == 2 for text in experience.texts])
    scores = models.scorer.score(experience.texts)
    expected = scores - 100 * (~ended)
    assert torch.allclose(experience.returns[:, 0], expected, atol=1e-3)


class UpperHalf:
    """A reward that counts the tokens of the upper half; stands in for a reward model."""

    mean, std = 0.0, 1.0

    def __init__(self, model: Any) -> None:
        self.model = model

    def score_completions(
        self, _conversations: Any, texts: Sequence[Rendered], _renderer: Any
    ) -> torch.Tensor:
        return torch.tensor([float(sum(id > 134 for id in t.completion_ids)) for t in texts])


@pytest.mark.parametrize(
    ("options", "gain"),
    [({"steps": 16}, 1.0), ({"steps": 24, "lora_rank": 4, "learning_rate": 1e-2}, 0.5)],
)
def test_it_raises_a_programmatic_reward(
    make_job: Any, options: dict[str, Any], gain: float
) -> None:
    settings = {"batch_size": 32, "minibatch_size": 16, "missing_eos_penalty": 0.0, "kl_coef": 0.01}
    job = ppo_job(make_job, **settings | {"learning_rate": 3e-3} | options)
    models, fitted, params = loaded(job)
    learner = ppo.new_learner(
        dataclasses.replace(models, scorer=UpperHalf(models.scorer.model)), params
    )
    rewards = []
    for _ in range(params.steps):
        ppo.iterate(job, learner, fitted, params)
        rewards.append(learner.latest["reward_mean"])
    assert sum(rewards[-3:]) / 3 > sum(rewards[:3]) / 3 + gain
    assert learner.latest["kl"] > 0


def test_the_gradient_is_that_of_the_equations_text_by_text(make_job: Any) -> None:
    """Against a loop over texts and tokens with the library's own logits."""
    models, fitted, params = loaded(ppo_job(make_job, temperature=0.7))
    experience, _ = collect(models, fitted, params, 1, 0, params.kl_coef)
    learner = ppo.new_learner(models, params)
    ppo.update(learner, experience, params, 1)  # away from a ratio of 1
    rows = [4, 0, 2]
    ppo.gradients(learner, experience, rows, params)
    taken = {}
    for role in ("policy", "value"):
        named = models.trainable(role)
        taken[role] = {name: p.grad.clone() for name, p in named.items() if p.grad is not None}
        for parameter in named.values():
            parameter.grad = None
    total = torch.zeros(())
    for row in rows:
        text = experience.texts[row]
        ids, start = torch.tensor([text.ids]), len(text.prompt_ids)
        logprobs = (models.policy(ids).logits[0] / 0.7).log_softmax(-1)
        scores = score_tokens(models.value, ids, torch.ones_like(ids))[0]
        for t, token in enumerate(text.completion_ids):
            ratio = (logprobs[start + t - 1, token] - experience.logprobs[row, t]).exp()
            gain = experience.advantages[row, t]
            total -= torch.minimum(ratio * gain, ratio.clamp(0.8, 1.2) * gain)
            old, goal = experience.values[row, t], experience.returns[row, t]
            value = (scores[start + t - 1] - models.scorer.mean) / models.scorer.std
            near = old + (value - old).clamp(-0.2, 0.2)
            total += 0.5 * torch.maximum((value - goal) ** 2, (near - goal) ** 2)
    (total / experience.mask[rows].sum()).backward()
    for role, gradients in taken.items():
        for name, parameter in models.trainable(role).items():
            assert torch.allclose(gradients[name], parameter.grad, atol=1e-5, rtol=1e-4), name


def test_a_stopped_run_goes_on_as_if_it_had_not_been(make_job: Any) -> None:
    whole, stopped = (ppo_job(make_job, name=name) for name in ("a", "b"))
    ppo.run(whole)
    models, fitted, params = loaded(stopped)
    learner = ppo.new_learner(models, params)
    ppo.iterate(stopped, learner, fitted, params)
    stopped.stopping = True
    with pytest.raises(Interrupted):
        ppo._keep(stopped, learner, params)
    stopped.stopping = False
    ppo.run(stopped)
    assert events_of(stopped, "ppo") == events_of(whole, "ppo")
    assert metrics_of(stopped) == metrics_of(whole)
    assert list(whole.folder.checkpoints.iterdir()) == []


def test_every_prompt_is_visited_once_a_pass() -> None:
    passes = [ppo.visits(7, 1, first, 7) for first in (0, 7)]
    assert [sorted(order) for order in passes] == [list(range(7))] * 2
    assert passes[0] != passes[1]
    assert ppo.visits(7, 1, 5, 4) == passes[0][5:] + passes[1][:2]


def test_a_damaged_checkpoint_is_set_aside_for_the_one_before(make_job: Any) -> None:
    job = ppo_job(make_job)
    models, fitted, params = loaded(job)
    learner = ppo.new_learner(models, params)
    for _ in range(2):
        ppo.iterate(job, learner, fitted, params)
        ppo._keep(job, learner, params)
    damaged = job.folder.checkpoints / "checkpoint-2" / "policy.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    ppo.resume(job, learner)
    assert learner.step == 1
    assert (job.folder.checkpoints / "damaged-checkpoint-2").is_dir()


def test_a_torn_checkpoint_is_not_used(make_job: Any) -> None:
    root = ppo_job(make_job).folder.checkpoints
    checkpoints.write(root, 1, lambda folder: (folder / "a").write_text("a") and None)
    (root / "checkpoint-2").mkdir()
    (root / "checkpoint-2" / "a").write_text("half")
    newest = checkpoints.newest(root)
    assert newest is not None
    assert checkpoints.step_of(newest) == 1


def test_a_reward_model_of_another_vocabulary_scores_but_lends_no_value(
    make_job: Any, reward_folder: str, tmp_path: Any
) -> None:
    """The value model starts from the policy's body and says at first what the mean text scores."""
    other = tmp_path / "other"
    shutil.copytree(reward_folder, other)
    byte_tokenizer(template="{{ bos_token }}{{ messages[0]['content'] }}").save_pretrained(other)
    for options in ({}, {"lora_rank": 4}):
        name = f"job{len(options)}"
        job = make_job(
            "ppo", {"prompts": prompts(2)}, SMALL | options, reward_model=str(other), name=name
        )
        models, fitted, params = loaded(job)
        text = Rendered(fitted[0].prompt_ids, [80, 81, 2])
        assert token_values(models, [text]).tolist() == [[0.0, 0.0, 0.0]]
        learner = ppo.new_learner(models, params)
        assert ppo.iterate(job, learner, fitted, params)
        assert token_values(models, [text]).abs().min() > 0
        assert events_of(job, "models")[0]["value_starts_as"] == "policy"


def test_adaptive_kl_follows_ziegler() -> None:
    """1909.08593, section 2.2: the error is clipped at a fifth, a horizon of batches slows it."""
    assert adapted_kl_coef(0.1, 6.0, 6.0, 64, 640) == pytest.approx(0.1)
    assert adapted_kl_coef(0.1, 6.6, 6.0, 64, 640) == pytest.approx(0.1 * (1 + 0.1 * 0.1))
    assert adapted_kl_coef(0.1, 60.0, 6.0, 64, 640) == pytest.approx(0.1 * (1 + 0.2 * 0.1))
    assert adapted_kl_coef(0.1, -5.0, 6.0, 64, 640) == pytest.approx(0.1 * (1 - 0.2 * 0.1))


def test_the_coefficient_that_is_told_is_the_one_that_was_paid(make_job: Any) -> None:
    job = ppo_job(make_job, kl_target=1.0, kl_horizon=12, kl_coef=0.5)
    ppo.run(job)
    told = [(event["kl"], event["kl_coef"]) for event in events_of(job, "ppo")]
    assert told[0][1] == 0.5
    for (kl, coef), (_, following) in itertools.pairwise(told):
        assert following == pytest.approx(adapted_kl_coef(coef, kl, 1.0, 6, 12))
    assert len({coef for _, coef in told}) == 4


def test_the_coefficient_weighs_the_kl_of_the_rewards(make_job: Any) -> None:
    models, fitted, params = loaded(ppo_job(make_job))
    with torch.no_grad():
        for parameter in models.policy.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    params = dataclasses.replace(params, gae_lambda=1.0, missing_eos_penalty=0.0)
    returns = {
        beta: collect(models, fitted, params, 1, 0, beta)[0].returns[:, 0]
        for beta in (0.0, 1.0, 2.0)
    }
    paid = returns[0.0] - returns[1.0]
    assert torch.allclose(returns[0.0] - returns[2.0], 2 * paid, atol=1e-4)
    assert paid.abs().min() > 1e-3


def test_trap_24_the_running_mean_of_a_scalar_in_closed_form() -> None:
    weight = {"w": torch.nn.Parameter(torch.tensor([5.0]))}
    decay, mean = 0.9, ema.Ema(weight, 0.9)
    values = [1.0, -2.0, 4.0]
    for value in values:
        weight["w"].data.fill_(value)
        mean.update(weight)
    expected = decay**3 * 5 + (1 - decay) * sum(
        decay ** (2 - n) * value for n, value in enumerate(values)
    )
    assert mean.mean["w"].item() == pytest.approx(expected, rel=1e-6)
    copy_weights(mean.mean, weight)
    assert weight["w"].item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("decay", "said"), [(0.5, "ema"), (0.0, "last")])
def test_trap_24_the_artifact_is_what_it_says(
    make_job: Any, decay: float, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mean is updated once an optimiser step, and rollouts are by the weights that learn."""
    job = ppo_job(make_job, ema_decay=decay, steps=2)
    trajectory: list[dict[str, torch.Tensor]] = []
    original = ppo.apply_gradients

    def watched(learner: Any, max_norm: float) -> Any:
        if not trajectory:
            trajectory.append({n: p.detach().clone() for n, p in learner.policy.items()})
        told = original(learner, max_norm)
        trajectory.append({n: p.detach().clone() for n, p in learner.policy.items()})
        return told

    monkeypatch.setattr(ppo, "apply_gradients", watched)
    ppo.run(job)
    assert len(trajectory) == 1 + 2 * 2
    expected = trajectory[0]
    for weights in trajectory[1:]:
        expected = {n: decay * expected[n] + (1 - decay) * weights[n] for n in expected}
    folder = job.folder.artifacts / "model"
    kept = dict(load_policy(str(folder)).named_parameters())
    for name, tensor in expected.items():
        assert torch.allclose(kept[name], tensor, atol=1e-6), name
    assert read_card(str(folder))["weights"] == said
    without = ppo_job(make_job, name="without", steps=2)
    ppo.run(without)
    assert events_of(without, "ppo") == events_of(job, "ppo")


EVERYTHING = {
    "lora_rank": 4,
    "ema_decay": 0.8,
    "kl_target": 1.0,
    "kl_horizon": 20,
    "ptx_ratio": 0.5,
    "ptx_coef": 2.0,
    "epochs": 2,
}


@pytest.mark.parametrize("options", [{}, EVERYTHING, EVERYTHING | {"lora_rank": 0}])
def test_trap_26_a_killed_run_ends_as_the_uninterrupted_one(
    make_job: Any, options: dict[str, Any]
) -> None:
    """Every step in a process of its own, as far as state goes: equal, not about equal."""
    data = {"prompts": prompts(5), "ptx": [{"text": "once upon a time"}, *demonstrations(4)]}
    whole, killed = (make_job("ppo", data, SMALL | options, name=name) for name in ("a", "b"))
    ppo.run(whole)
    params = killed.spec.params
    for step in range(1, params.steps):
        models, fitted, _ = loaded(killed)
        examples = ptx.load_examples(killed, models.renderer, 128) if params.ptx_coef else []
        learner = ppo.new_learner(models, params, examples)
        ppo.resume(killed, learner)
        assert learner.step == step - 1
        ppo.iterate(killed, learner, fitted, params)
        ppo._keep(killed, learner, params)
    ppo.run(killed)
    assert events_of(killed, "ppo") == events_of(whole, "ppo")
    assert metrics_of(killed) == metrics_of(whole)
    ends = [load_policy(str(job.folder.artifacts / "model")) for job in (whole, killed)]
    for one, other in zip(ends[0].parameters(), ends[1].parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_checkpoint_of_another_rank_is_refused(make_job: Any) -> None:
    job = ppo_job(make_job, lora_rank=4)
    models, _, params = loaded(job)
    ppo.save_state(ppo.new_learner(models, params), job.folder.artifacts)
    other = ppo_job(make_job, name="other", lora_rank=2)
    models, _, params = loaded(other)
    with pytest.raises(TrainingError, match="of another model or rank"):
        ppo.load_state(ppo.new_learner(models, params), job.folder.artifacts)


def test_the_speed_of_each_part_is_told_beside_the_metrics(make_job: Any) -> None:
    job = ppo_job(make_job, steps=1)
    ppo.run(job)
    [speed] = events_of(job, "speed")
    for part in ("generate", "score", "train"):
        assert speed[f"seconds_{part}"] > 0
        assert speed[f"tokens_per_second_{part}"] > 0
    assert not any("second" in name for name in events_of(job, "ppo")[0])


def test_an_encoder_scores_what_a_policy_learns_from(make_job: Any, tmp_path: Any) -> None:
    config = BertConfig(
        vocab_size=262,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        num_labels=1,
        initializer_range=0.2,
        architectures=["BertForSequenceClassification"],
    )
    torch.manual_seed(0)
    BertForSequenceClassification(config).save_pretrained(tmp_path / "bert")
    byte_tokenizer(template=None).save_pretrained(tmp_path / "bert")
    job = make_job(
        "ppo", {"prompts": prompts(5)}, SMALL, reward_model=str(tmp_path / "bert"), name="encoder"
    )
    ppo.run(job)
    assert metrics_of(job)["steps"] == 4
    assert all(event["reward_std"] > 0 for event in events_of(job, "ppo"))
    assert events_of(job, "models") == [{"value_starts_as": "policy", "bodies": 4}]
