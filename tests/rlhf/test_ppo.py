"""PPO: that it measures nothing before the first step, learns, stops, and survives a kill."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from tests.rlhf.conftest import byte_tokenizer, events_of, metrics_of, prompts
from training.jobs.params import PpoParams
from training.rlhf import checkpoints, ppo
from training.rlhf.errors import Interrupted, TrainingError
from training.rlhf.models import context_length
from training.rlhf.rendering import Rendered
from training.rlhf.rollouts import Models, collect, logprobs_and_entropy, token_values
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
    models = ppo._load(job)
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
    assert learner.latest["ratio_error"] < 1e-4


def test_the_kl_of_a_policy_with_itself_is_zero(make_job: Any) -> None:
    job = ppo_job(make_job)
    models, fitted, params = loaded(job)
    itself = dataclasses.replace(models, reference=models.policy)
    _, measured = collect(itself, fitted, params, 1, 0)
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
    _, measured = collect(models, [prompt] * 3000, params, 1, 0)
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
        experience, _ = collect(models, fitted, params, 1, 0)
        monkeypatch.setattr(ppo, "tokens_for_logits", lambda _, tokens=tokens: tokens)
        ppo._minibatch(ppo.new_learner(models, params), experience, range(5), params)
        results.append(torch.cat([p.detach().flatten() for p in models.policy.parameters()]))
    assert torch.allclose(results[0], results[1], atol=1e-5)
    assert torch.allclose(results[0], results[2], atol=1e-5)


def test_only_the_completion_decides_whether_it_ended(make_job: Any) -> None:
    """The penalty for a missing end is not fooled by an end token inside the prompt."""
    job = ppo_job(make_job, missing_eos_penalty=100.0, kl_coef=0.0, max_new_tokens=1)
    models, fitted, params = loaded(job)
    prompt = dataclasses.replace(fitted[0], prompt_ids=[1, 3, 2, 80, 4])
    experience, measured = collect(models, [prompt] * 40, params, 1, 0)
    assert measured["eos_share"] < 1
    ended = torch.tensor([text.completion_ids[-1] == 2 for text in experience.texts])
    scores = models.scorer.score(experience.texts)
    expected = scores - 100 * (~ended)
    assert torch.allclose(experience.returns[:, 0], expected, atol=1e-3)


class Letters:
    """A reward that counts one letter; stands in for a reward model."""

    mean, std = 0.0, 1.0

    def __init__(self, token: int) -> None:
        self.token = token

    def score(self, texts: Sequence[Rendered]) -> torch.Tensor:
        return torch.tensor([float(t.completion_ids.count(self.token)) for t in texts])


def test_it_raises_a_programmatic_reward(make_job: Any) -> None:
    job = ppo_job(
        make_job, steps=20, batch_size=32, minibatch_size=16, kl_coef=0.01, learning_rate=3e-3
    )
    models, fitted, params = loaded(job)
    learner = ppo.new_learner(dataclasses.replace(models, scorer=Letters(90)), params)
    rewards, values = [], []
    for _ in range(params.steps):
        ppo.iterate(job, learner, fitted, params)
        rewards.append(learner.latest["reward_mean"])
        values.append(learner.latest["value_loss"])
    assert sum(rewards[-3:]) / 3 > sum(rewards[:3]) / 3 + 0.5
    assert learner.latest["kl"] > 0


def test_a_spent_kl_budget_ends_the_run(make_job: Any) -> None:
    job = ppo_job(make_job, steps=50, learning_rate=1e-2, kl_budget=0.5, kl_coef=0.0)
    ppo.run(job)
    assert len(events_of(job, "kl_budget")) == 1
    assert metrics_of(job)["steps"] < 50
    assert metrics_of(job)["kl"] > 0.5


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


def test_a_reward_model_of_another_vocabulary_is_refused(
    make_job: Any, reward_folder: str, tmp_path: Any
) -> None:
    other = tmp_path / "other"
    shutil.copytree(reward_folder, other)
    byte_tokenizer(template="{{ bos_token }}").save_pretrained(other)
    job = make_job("ppo", {"prompts": prompts(2)}, SMALL, reward_model=str(other))
    with pytest.raises(TrainingError, match="another vocabulary"):
        ppo.run(job)
