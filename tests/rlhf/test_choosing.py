"""Which epoch of a fine-tuning is kept, and that no kill changes it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.rlhf.conftest import TEMPLATE, demonstrations, events_of, metrics_of, said
from tests.rlhf.test_other_reward_models import reward_model
from training.rlhf import judge, sft, trainers
from training.rlhf.demonstrations import Example
from training.rlhf.errors import Interrupted, TrainingError
from training.rlhf.judge import Judge
from training.rlhf.losses import logprobs_of
from training.rlhf.models import load_policy
from training.rlhf.rendering import Rendered, Renderer
from training.rlhf.scoring import Scorer
from training.rlhf.splitting import split

ROOT = Path(__file__).resolve().parents[2]
# Eight prompts, each answered in its own way: what is held out cannot be known, only over-learnt.
ROWS = [
    {"messages": said(f"{n}"), "completion": "abcdefgh"[n % 8] * (1 + n % 5)} for n in range(24)
]
OVERFIT = {
    "epochs": 5,
    "learning_rate": 2e-2,
    "batch_size": 8,
    "validation_share": 0.25,
    "packing": True,
}


class PowerCut(BaseException):
    """Nothing catches it, as nothing catches a kill."""


def weights_of(job: Any) -> dict[str, torch.Tensor]:
    return dict(load_file(job.folder.artifacts / "model" / "model.safetensors"))


def held_out(job: Any, renderer: Renderer) -> list[Rendered]:
    rows = [{"author": "", "messages": row["messages"], **row} for row in ROWS]
    _, texts = split(rows, 0.25, job.spec.seed)
    return [renderer.render(row["messages"], {"text": row["completion"]}) for row in texts]


def nats_a_token(model: Any, texts: list[Rendered]) -> float:
    """One text at a time, without any of the trainer's parts."""
    total, count = 0.0, 0
    for text in texts:
        with torch.no_grad():
            logits = model(torch.tensor([text.ids])).logits[0, len(text.prompt_ids) - 1 : -1]
        total -= float(logprobs_of(logits, torch.tensor(text.completion_ids)).sum())
        count += len(text.completion_ids)
    return total / count


@pytest.mark.parametrize("choose_by", ["last", "eval_loss", "reward"])
def test_the_weights_kept_are_those_of_the_epoch_chosen(
    make_job: Any, renderer: Renderer, reward_folder: str, choose_by: str
) -> None:
    job = make_job("sft", {"demonstrations": ROWS}, OVERFIT | {"choose_by": choose_by})
    sft.run(job)
    metrics, told = metrics_of(job), events_of(job, "evaluate")
    assert [event["epoch"] for event in told] == [1, 2, 3, 4, 5]
    losses = [event["eval_loss"] for event in told]
    if choose_by == "last":
        expected = 5
    elif choose_by == "eval_loss":
        expected = 1 + losses.index(min(losses))
        assert expected < 5
    else:
        rewards = [event["reward_mean"] for event in told]
        expected = 1 + rewards.index(max(rewards))
        assert metrics["reward_mean"] == max(rewards)
    assert metrics["chosen_epoch"] == expected
    assert metrics["eval_loss"] == losses[expected - 1]
    kept = load_policy(str(job.folder.artifacts / "model"))
    texts = held_out(job, renderer)
    assert nats_a_token(kept, texts) == pytest.approx(metrics["eval_loss"], abs=1e-4)
    if choose_by == "reward":
        examples = [Example(said(renderer.text(t.prompt_ids[2:-1])), t) for t in texts]
        ask = Judge(job, Scorer.load(reward_folder), renderer, examples, limit=6, context=128)
        assert ask(kept) == pytest.approx(metrics["reward_mean"], abs=1e-4)


def test_part_of_an_epoch_is_measured_too(make_job: Any) -> None:
    params = OVERFIT | {"epochs": 2.5, "choose_by": "eval_loss", "learning_rate": 1e-3}
    job = make_job("sft", {"demonstrations": ROWS}, params)
    sft.run(job)
    epochs = [event["epoch"] for event in events_of(job, "evaluate")]
    assert epochs[:2] == [1, 2]
    assert 2 < epochs[2] < 3
    assert metrics_of(job)["chosen_epoch"] == epochs[2]


def test_something_is_left_to_learn_from() -> None:
    rows = [{"author": "", "messages": said(f"{n}"), "n": n} for n in (0, 1, 2, *[3] * 5)]
    for seed in range(20):
        kept, texts = split(rows, 0.5, seed)
        assert kept
        assert texts


def test_too_few_to_choose_by_is_said(make_job: Any) -> None:
    params = {"epochs": 2, "choose_by": "eval_loss"}
    with pytest.raises(TrainingError, match="of 3 none can be spared"):
        sft.run(make_job("sft", {"demonstrations": demonstrations(3)}, params))


def test_of_many_prompts_some_are_asked(make_job: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge, "MOST_PROMPTS", 2)
    params = OVERFIT | {"epochs": 2, "choose_by": "reward"}
    job = make_job("sft", {"demonstrations": ROWS}, params)
    sft.run(job)
    [told] = [event for event in events_of(job, "data") if event["part"] == "reward"]
    assert told == {
        "part": "reward",
        "prompts": 2,
        "prompts_too_long": 0,
        "prompts_refused_by_reward_model": 0,
        "prompts_left_out": 4,
    }


def test_prompts_that_the_reward_model_cannot_read_are_not_asked(
    make_job: Any, tmp_path: Path
) -> None:
    """One that knows no system role: found out at the start, not at the end of the first epoch."""
    rewards = reward_model(tmp_path, TEMPLATE.replace("'tool'", "'system'"))
    system = [{"role": "system", "content": "s"}]
    rows = [row | {"messages": system * (n % 2) + row["messages"]} for n, row in enumerate(ROWS)]
    params = OVERFIT | {"epochs": 2, "choose_by": "reward"}
    job = make_job("sft", {"demonstrations": rows}, params, reward_model=rewards)
    sft.run(job)
    [told] = [event for event in events_of(job, "data") if event["part"] == "reward"]
    assert told["prompts_refused_by_reward_model"] > 0
    assert told["prompts"] > 0
    assert "reward_mean" in metrics_of(job)


def cut_at(job: Any, monkeypatch: pytest.MonkeyPatch, at: tuple[str, int]) -> None:
    """The power goes just before the event of this phase and step is written."""
    write = job.events.write

    def fail(phase: str, **metrics: Any) -> None:
        if (phase, metrics.get("step", 0)) == at:
            raise PowerCut
        write(phase, **metrics)

    monkeypatch.setattr(job.events, "write", fail)
    with pytest.raises(PowerCut):
        sft.run(job)
    monkeypatch.setattr(job.events, "write", write)


def test_no_power_cut_changes_the_choice(make_job: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut again and again: in steps, at evaluations, before the result; a checkpoint a step."""
    monkeypatch.setattr(trainers, "SECONDS_BETWEEN_CHECKPOINTS", -1)
    params = OVERFIT | {"choose_by": "reward", "epochs": 3.5}
    whole, cut = (
        make_job("sft", {"demonstrations": ROWS}, params, name=name) for name in ("a", "b")
    )
    sft.run(whole)
    # Three steps an epoch, eleven in all.
    for at in (("train", 2), ("evaluate", 3), ("train", 5), ("evaluate", 9), ("done", 0)):
        cut_at(cut, monkeypatch, at)
    sft.run(cut)
    assert len(events_of(cut, "resuming")) == 5
    assert metrics_of(cut) == metrics_of(whole)
    first, second = weights_of(whole), weights_of(cut)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_no_stop_changes_the_choice(make_job: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked to stop amid an epoch, at its end, and right after; a checkpoint is there each time."""
    params = OVERFIT | {"choose_by": "reward", "epochs": 2}
    whole, stopped = (
        make_job("sft", {"demonstrations": ROWS}, params, name=name) for name in ("a", "b")
    )
    sft.run(whole)
    write = stopped.events.write
    for asked, heard in ((("train", 1), 2), (("resuming", 2), 3), (("resuming", 3), 4)):

        def ask(phase: str, *, at: tuple[str, int] = asked, **metrics: Any) -> None:
            write(phase, **metrics)
            stopped.stopping |= (phase, metrics.get("step")) == at

        monkeypatch.setattr(stopped.events, "write", ask)
        with pytest.raises(Interrupted):
            sft.run(stopped)
        stopped.stopping = False
        assert (stopped.folder.checkpoints / f"checkpoint-{heard}" / "manifest.json").is_file()
    monkeypatch.setattr(stopped.events, "write", write)
    sft.run(stopped)
    assert [event["epoch"] for event in events_of(stopped, "evaluate")] == [1, 2]
    assert metrics_of(stopped) == metrics_of(whole)
    first, second = weights_of(whole), weights_of(stopped)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_damaged_checkpoint_of_the_chosen_epoch_is_told(
    make_job: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job("sft", {"demonstrations": ROWS}, OVERFIT | {"choose_by": "eval_loss"})
    restore = sft._restore_chosen

    def damaged(*arguments: Any) -> Any:
        for weights in job.folder.checkpoints.glob("checkpoint-*/model.safetensors"):
            weights.write_bytes(b"torn")
        return restore(*arguments)

    monkeypatch.setattr(sft, "_restore_chosen", damaged)
    with pytest.raises(TrainingError, match="is damaged"):
        sft.run(job)


def test_a_kill_amid_the_run_changes_nothing(make_job: Any) -> None:
    params = OVERFIT | {"choose_by": "reward"}
    whole, killed = (
        make_job("sft", {"demonstrations": ROWS}, params, name=name) for name in ("a", "b")
    )
    sft.run(whole)
    program = (
        "import os, runpy, signal, sys; from training.rlhf import checkpoints, trainers; "
        "trainers.SECONDS_BETWEEN_CHECKPOINTS = -1; prune, done = checkpoints.prune, []\n"
        "def stop(*given, **named):\n"
        "    prune(*given, **named); done.append(1)\n"
        "    if len(done) == 7: os.kill(os.getpid(), signal.SIGKILL)\n"
        "checkpoints.prune = stop\n"
        "runpy.run_module('training.rlhf', run_name='__main__')"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, "sft", "--job", str(killed.folder.root)],
        cwd=ROOT,
        env={**os.environ, "PODIUM_TORCH_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert killed.folder.read_result() is None
    sft.run(killed)
    assert len(events_of(killed, "resuming")) == 1
    assert metrics_of(killed) == metrics_of(whole)
    first, second = weights_of(whole), weights_of(killed)
    assert all(torch.equal(first[name], second[name]) for name in first)
