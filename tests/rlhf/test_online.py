"""RLOO and GRPO: what TRL is given, what it scores and measures, and that a kill costs nothing."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from trl import GRPOConfig, RLOOConfig

from tests.rlhf.conftest import (
    byte_tokenizer,
    events_of,
    metrics_of,
    prompts,
    random_reward_model,
    said,
)
from training.jobs.folder import EXIT_INTERRUPTED
from training.rlhf import grpo, online, rloo
from training.rlhf.errors import TrainingError
from training.rlhf.losses import logprobs_of
from training.rlhf.models import disable_dropout, load_policy
from training.rlhf.rendering import Rendered
from training.rlhf.sample import fit_prompts
from training.rlhf.scoring import Scorer

ROOT = Path(__file__).resolve().parents[2]
KINDS = ("rloo", "grpo")
TRAINERS = {
    "rloo": (rloo.OnlineRlooTrainer, RLOOConfig),
    "grpo": (grpo.OnlineGrpoTrainer, GRPOConfig),
}
SMALL = {"steps": 3, "batch_size": 6, "n": 3, "max_new_tokens": 6, "learning_rate": 1e-3}
MEASURED = (
    "reward_mean",
    "reward_std",
    "kl",
    "entropy",
    "length_mean",
    "eos_share",
    "clip_fraction",
    "loss",
    "grad_norm",
)


def online_job(make_job: Any, kind: str, name: str = "job", **params: Any) -> Any:
    return make_job(kind, {"prompts": prompts(5)}, SMALL | params, name=name)


def trainer_of(job: Any, scorer: Any = None, model: Any = None) -> Any:
    """The trainer of a job, ready to train."""
    params, renderer = job.spec.params, job_renderer(job)
    model = model or load_policy(job.spec.model)
    disable_dropout(model)
    scorer = scorer or Scorer.load(job.spec.reward_model)
    rows = [(row, ()) for row in job.rows()]
    fitted = fit_prompts(job, renderer, 128, rows, params.max_new_tokens)
    trainer_class, config_class = TRAINERS[job.spec.kind]
    trainer = trainer_class(
        model=model,
        reward_funcs=online.reward_function(scorer, renderer, params.missing_eos_penalty),
        args=config_class(**online._arguments(job, model, fitted, params, 1e-3)),
        train_dataset=online._rows(fitted, params, job.spec.seed),
        processing_class=renderer.tokenizer,
    )
    trainer.use(renderer, job.spec.seed)
    return trainer


def job_renderer(job: Any) -> Any:
    return online.load_renderer(job.spec.model)


def first_batch(trainer: Any) -> Any:
    """What TRL makes of the first step's prompts, in the order in which they were drawn."""
    batch = next(iter(trainer.get_train_dataloader()))
    trainer.model.train()
    return batch, trainer._generate_and_score_completions(batch)


@pytest.mark.parametrize("kind", KINDS)
def test_it_runs_and_reports(make_job: Any, kind: str) -> None:
    job = online_job(make_job, kind)
    online_run(job)
    events = events_of(job, "train")
    assert len(events) == 3
    for event in events:
        assert set(MEASURED) <= set(event)
    assert abs(events[0]["kl"]) < 1e-4
    assert events[0]["clip_fraction"] == 0
    assert events[-1]["kl"] != events[0]["kl"]
    metrics = metrics_of(job)
    assert set(MEASURED) <= set(metrics)
    assert metrics["reward_mean_start"] == events[0]["reward_mean"]
    assert metrics["reward_mean"] == events[-1]["reward_mean"]
    assert (job.folder.artifacts / "model" / "model.safetensors").is_file()
    assert list(job.folder.checkpoints.glob("checkpoint-*")) == []


def online_run(job: Any) -> None:
    {"rloo": rloo, "grpo": grpo}[job.spec.kind].run(job)


@pytest.mark.parametrize("kind", KINDS)
def test_the_very_ids_that_were_drawn_are_scored(make_job: Any, kind: str) -> None:
    """Prompt as the renderer has it, ids as drawn, the end token just where one was drawn."""
    seen: list[Rendered] = []

    class Spy(Scorer):
        def score(self, texts: Sequence[Rendered]) -> Any:
            seen.extend(texts)
            return super().score(texts)

    job = online_job(make_job, kind, batch_size=60, max_new_tokens=12)
    renderer = job_renderer(job)
    whole = Scorer.load(job.spec.reward_model)
    trainer = trainer_of(job, Spy(whole.model, whole.renderer))
    _, output = first_batch(trainer)
    assert len(seen) == 60
    messages = {tuple(renderer.prompt_ids(row["messages"])) for row in job.rows()}
    assert {tuple(text.prompt_ids) for text in seen} == messages
    for row, (text, drawn) in enumerate(zip(seen, trainer._drawn, strict=True)):
        assert text.completion_ids == [*drawn.token_ids, *([2] if drawn.ended else [])]
        trained = output["completion_ids"][row][output["completion_mask"][row].bool()]
        assert trained.tolist() == text.completion_ids
    ended = [drawn.ended for drawn in trainer._drawn]
    assert True in ended
    assert False in ended
    assert trainer._metrics["train"]["eos_share"] == [pytest.approx(sum(ended) / 60)]
    scores = whole.score(seen)
    assert trainer._metrics["train"]["score_mean"] == [pytest.approx(scores.mean().item())]
    spread = scores.std(unbiased=False).item()
    assert trainer._metrics["train"]["score_std"] == [pytest.approx(spread, rel=1e-4)]
    penalised = scores - job.spec.params.missing_eos_penalty * ~torch.tensor(ended)
    assert list(trainer._logs["rewards"]["reward"]) == pytest.approx(penalised.tolist(), abs=1e-5)


class Letters:
    """A reward that counts one letter; stands in for a reward model."""

    model = None

    def __init__(self, token: int) -> None:
        self.token = token

    def score_completions(self, conversations: Any, texts: Sequence[Rendered], _: Any) -> Any:
        return torch.tensor([float(t.completion_ids.count(self.token)) for t in texts])


@pytest.mark.parametrize("beta", [0.0, 0.3])
def test_rloo_advantages_are_those_of_the_paper(make_job: Any, beta: float) -> None:
    """Score, less the penalty, less beta * log(pi / ref); less the mean of the others'."""
    job = online_job(make_job, "rloo", kl_coef=beta, batch_size=12)
    policy = load_policy(job.spec.model)
    with torch.no_grad():
        policy.lm_head.weight.mul_(1.1)
    trainer = trainer_of(job, Letters(90), policy)
    _, output = first_batch(trainer)
    count = (output["completion_ids"] == 90).sum(1).float()
    ended = torch.tensor([c.ended for c in trainer._drawn])
    kl = completion_kl(output, policy, load_policy(job.spec.model))
    rewards = (count - ~ended * 1.0 - beta * kl).view(-1, 3)
    expected = rewards - (rewards.sum(1, keepdim=True) - rewards) / 2
    assert torch.allclose(output["advantages"], expected.flatten(), atol=1e-4)
    if beta:
        assert trainer._metrics["train"]["completion_kl"] == [pytest.approx(kl.mean().item(), 1e-3)]


def completion_kl(output: Any, policy: Any, reference: Any) -> Any:
    """log(pi / ref) of each completion, computed from the models' own logits: (B,)."""
    ids = torch.cat([output["prompt_ids"], output["completion_ids"]], 1)
    mask = torch.cat([output["prompt_mask"], output["completion_mask"]], 1)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    width = output["completion_ids"].shape[1]
    both = []
    for model in (policy, reference):
        logits = model(input_ids=ids, attention_mask=mask, position_ids=positions).logits
        both.append(logprobs_of(logits[:, -width - 1 : -1], output["completion_ids"]).detach())
    return ((both[0] - both[1]) * output["completion_mask"]).sum(1)


def test_grpo_advantages_are_in_units_of_the_spread_within_a_prompt(make_job: Any) -> None:
    job = online_job(make_job, "grpo", batch_size=30)
    policy = load_policy(job.spec.model)
    with torch.no_grad():
        policy.lm_head.weight.mul_(1.1)
    trainer = trainer_of(job, model=policy)
    _, output = first_batch(trainer)
    rewards = torch.tensor(list(trainer._logs["rewards"]["reward"])).view(-1, 3)
    expected = (rewards - rewards.mean(1, keepdim=True)) / (rewards.std(1, keepdim=True) + 1e-4)
    assert torch.allclose(output["advantages"], expected.flatten(), atol=1e-4)
    kl = completion_kl(output, policy, load_policy(job.spec.model)).mean().item()
    assert trainer._metrics["train"]["completion_kl"] == [pytest.approx(kl, rel=1e-3)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_the_ratio_starts_at_one_despite_dropout(
    make_job: Any, kind: str, temperature: float
) -> None:
    job = online_job(make_job, kind, temperature=temperature, epochs=2)
    policy = load_policy(job.spec.model)
    for layer in policy.model.layers:
        layer.self_attn.attention_dropout = 0.5
    trainer = trainer_of(job, model=policy)
    _, output = first_batch(trainer)
    drawn = trainer.drawn_logprobs(output["completion_mask"])
    if kind == "rloo":
        assert torch.allclose(output["old_logps"], drawn.sum(1), atol=1e-4)
    else:
        old = output["old_per_token_logps"] * output["completion_mask"]
        assert torch.allclose(old, drawn, atol=1e-4)


def test_drawing_and_training_from_different_distributions_is_noticed(
    make_job: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = trainer_of(online_job(make_job, "rloo", temperature=0.7))
    monkeypatch.setattr(trainer.args, "temperature", 1.0)
    with pytest.raises(TrainingError, match="different distributions"):
        first_batch(trainer)


def test_prompts_rendered_otherwise_are_noticed(make_job: Any) -> None:
    trainer = trainer_of(online_job(make_job, "rloo"))
    trainer.processing_class.chat_template = byte_tokenizer().chat_template + "<user>"
    with pytest.raises(TrainingError, match="other token ids"):
        first_batch(trainer)


@pytest.mark.parametrize("kind", KINDS)
def test_micro_batches_do_not_change_the_step(
    make_job: Any, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = []
    for tokens in (10_000, 1):
        monkeypatch.setattr("training.rlhf.trainers.tokens_per_pass", lambda t=tokens: t)
        job = online_job(make_job, kind, name=str(tokens), steps=1)
        trainer = trainer_of(job)
        assert trainer.args.gradient_accumulation_steps == (1 if tokens > 1 else 6)
        trainer.train()
        weights.append(torch.cat([p.detach().flatten() for p in trainer.model.parameters()]))
    # Adam turns rounding of tiny gradients into steps: compared are the many, not the smallest.
    assert ((weights[0] - weights[1]).abs() < 1e-5).float().mean() > 0.99


@pytest.mark.parametrize("kind", KINDS)
def test_it_raises_a_programmatic_reward(make_job: Any, kind: str) -> None:
    job = online_job(
        make_job, kind, steps=25, batch_size=32, n=8, kl_coef=0.01, missing_eos_penalty=0.0
    )
    trainer = trainer_of(job, Letters(90))
    trainer.args.learning_rate = 3e-3
    trainer.train()
    rewards = [e["score_mean"] for e in trainer.state.log_history if "score_mean" in e]
    assert sum(rewards[-3:]) / 3 > sum(rewards[:3]) / 3 + 0.5


def test_each_prompt_is_visited_once_a_pass(make_job: Any) -> None:
    trainer = trainer_of(online_job(make_job, "rloo", steps=5))
    rows = [tuple(ids) for ids in trainer.train_dataset["prompt_ids"]]
    assert len(rows) == 10
    assert len(set(rows[:5])) == len(set(rows[5:])) == 5
    assert rows[:5] != rows[5:]


def test_prompts_near_the_context_get_less_room(make_job: Any) -> None:
    rows = [
        {"prompt": f"p{n}", "messages": said("y" * letters), "indexes": []}
        for n, letters in enumerate([126, 124, 1])
    ]
    job = make_job("rloo", {"prompts": rows}, SMALL | {"max_new_tokens": 9, "steps": 2})
    online_run(job)
    assert events_of(job, "data")[0]["prompts"] == ["p0"]
    assert 1 <= events_of(job, "train")[0]["length_mean"] <= 5


def test_a_reward_model_of_another_vocabulary_reads_the_text(
    make_job: Any, reward_folder: str, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(reward_folder, other)
    template = "<bos>{% for m in messages %}<user>{{ m['content'] }}{% endfor %}<assistant>"
    byte_tokenizer(template=template).save_pretrained(other)
    job = make_job("grpo", {"prompts": prompts(3)}, SMALL, reward_model=str(other))
    online_run(job)
    assert len(events_of(job, "train")) == 3


def test_pessimism_reaches_the_scorer(make_job: Any) -> None:
    job = online_job(make_job, "rloo", pessimism=0.5)
    with pytest.raises(TrainingError, match="pessimism"):
        online_run(job)


# A checkpoint after each step; ended by a signal as soon as the one after step {step} is whole.
ENDED_AT = (
    "import os, signal; from training.rlhf import checkpoints, trainers; "
    "trainers.SECONDS_BETWEEN_CHECKPOINTS = -1; seal = checkpoints.seal\n"
    "def sealed(folder):\n"
    "    seal(folder)\n"
    "    if folder.name == 'checkpoint-{step}': os.kill(os.getpid(), signal.{signal})\n"
    "checkpoints.seal = sealed\n"
)


def start(kind: str, job: Any, before: str) -> int:
    """The exit status of the program after ``before``."""
    program = "import runpy; runpy.run_module('training.rlhf', run_name='__main__')"
    return subprocess.run(
        [sys.executable, "-c", before + program, kind, "--job", str(job.folder.root)],
        cwd=ROOT,
        env={**os.environ, "PODIUM_TORCH_THREADS": "1"},
        stderr=subprocess.DEVNULL,
        timeout=120,
    ).returncode


@pytest.mark.parametrize(
    ("kind", "how", "code", "step"),
    [
        # Between two epochs over the same completions.
        ("grpo", "SIGKILL", -signal.SIGKILL, 3),
        ("rloo", "SIGTERM", EXIT_INTERRUPTED, 2),
    ],
)
def test_a_stopped_run_goes_on_as_if_it_had_not_been(
    make_job: Any, kind: str, how: str, code: int, step: int
) -> None:
    """Ended for real, in a process of its own."""
    whole, stopped = (online_job(make_job, kind, name=name, epochs=2) for name in ("a", "b"))
    online_run(whole)
    assert start(kind, stopped, ENDED_AT.format(step=step, signal=how)) == code
    assert stopped.folder.read_result() is None
    online_run(stopped)
    assert len(events_of(stopped, "resuming")) == 1
    timing = {"seconds", "tokens_per_second"}
    losses, expected = (
        [{k: v for k, v in e.items() if k not in timing} for e in events_of(job, "train")]
        for job in (stopped, whole)
    )
    assert len(expected) == 6
    # What came after the checkpoint and before the end of the process is told twice.
    by_epoch = {event["epoch"]: event for event in losses}
    assert [by_epoch[event["epoch"]] for event in expected] == expected
    assert metrics_of(stopped) == metrics_of(whole)


@pytest.mark.parametrize("before", [2, 0])
def test_a_checkpoint_of_another_number_of_processes_is_refused(
    make_job: Any, tmp_path: Path, before: int
) -> None:
    trainer = trainer_of(online_job(make_job, "rloo"))
    checkpoint = tmp_path / "checkpoint-2"
    checkpoint.mkdir()
    for rank in range(before):
        torch.save({"step": 2, "inputs": None}, checkpoint / f"completions-{rank}.pt")
    with pytest.raises(TrainingError, match=f"of {before} processes, and this run has 1"):
        trainer._load_optimizer_and_scheduler(str(checkpoint))


def test_a_random_reward_model_moves_the_policy(make_job: Any, policy_folder: str) -> None:
    """The trained weights are in the artifact, without TRL's changes to the model's methods."""
    job = online_job(make_job, "rloo", steps=2)
    online_run(job)
    trained = load_policy(str(job.folder.artifacts / "model"))
    start_weights = load_policy(policy_folder).lm_head.weight
    assert not torch.equal(trained.lm_head.weight, start_weights)
    assert random_reward_model(policy_folder).config.vocab_size == trained.config.vocab_size
