"""A run that is killed and started again ends as if it had not been: to the bit, for every kind.

The kill is a real one, in a process forked from this one, so that the libraries load once.
"""

from __future__ import annotations

import importlib
import os
import random
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaForCausalLM

from tests.rlhf.conftest import (
    byte_tokenizer,
    demonstrations,
    events_of,
    metrics_of,
    prefers_a,
    prompts,
    tiny_config,
)
from training.jobs.events import EventWriter, read_events
from training.rlhf import checkpoints, sft, trainers
from training.rlhf.__main__ import main
from training.rlhf.errors import TrainingError
from training.rlhf.job import Job
from training.rlhf.sample import COMPLETIONS

STEPS = {"steps": 4, "batch_size": 4, "max_new_tokens": 4}
KINDS: dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
    "sample": ({"prompts": prompts(5, [0, 1])}, {"max_new_tokens": 6, "batch_prompts": 2}),
    "sft": (
        {"demonstrations": demonstrations(14)},
        {"epochs": 2, "batch_size": 4, "validation_share": 0.2, "choose_by": "eval_loss"},
    ),
    "reward": ({"comparisons": prefers_a(8)}, {"epochs": 2, "batch_prompts": 3}),
    "dpo": ({"comparisons": prefers_a(5)}, {"epochs": 2, "batch_size": 2}),
    "rejection": (
        {"prompts": prompts(5)},
        {"max_new_tokens": 6, "batch_prompts": 2, "n": 2, "epochs": 2, "batch_size": 2},
    ),
    "ppo": (
        {"prompts": prompts(5)},
        {
            **STEPS,
            "minibatch_size": 2,
            "checkpoint_every": 1,
            "kl_target": 0.5,
            "kl_horizon": 10,
            "ema_decay": 0.5,
        },
    ),
    "rloo": ({"prompts": prompts(5)}, {**STEPS, "n": 2, "epochs": 2}),
    "grpo": ({"prompts": prompts(5)}, {**STEPS, "n": 2, "epochs": 2}),
}
# Killed as the n-th event of a phase is about to be written.
MOMENTS = [
    ("sample", "sample", 2),
    ("sft", "train", 2),
    ("sft", "evaluate", 1),
    ("sft", "evaluate", 2),
    ("sft", "save", 1),
    ("reward", "train", 4),
    ("dpo", "train", 4),
    ("rejection", "sample", 3),
    ("rejection", "train", 5),
    ("ppo", "ppo", 3),
    ("rloo", "train", 4),
    ("grpo", "train", 5),
]


@pytest.fixture(autouse=True)
def a_checkpoint_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainers, "SECONDS_BETWEEN_CHECKPOINTS", -1.0)


def run(job: Job) -> None:
    importlib.import_module(f"training.rlhf.{job.spec.kind}").run(job)


def die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def killed(job: Job, install: Callable[[], None]) -> None:
    """Run the job in another process, in which ``install`` has laid the trap."""
    child = os.fork()
    if child == 0:
        try:
            install()
            run(job)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "the run came to its end"
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert job.folder.read_result() is None


def before_event(phase: str, count: int) -> Callable[[], None]:
    def install() -> None:
        write, seen = EventWriter.write, []

        def trapped(self: EventWriter, name: str, **more: Any) -> None:
            seen.append(name)
            if seen.count(phase) == count:
                die()
            write(self, name, **more)

        EventWriter.write = trapped  # type: ignore[method-assign]

    return install


def at_call(module: Any, name: str, count: int) -> Callable[[], None]:
    def install() -> None:
        whole, calls = getattr(module, name), []

        def trapped(*arguments: Any, **named: Any) -> Any:
            calls.append(1)
            return die() if len(calls) == count else whole(*arguments, **named)

        setattr(module, name, trapped)

    return install


def outcome(job: Job) -> tuple[dict[str, Any], dict[str, torch.Tensor], str]:
    """Metrics that do not depend on the clock, weights, completions."""
    metrics = {n: v for n, v in metrics_of(job).items() if "second" not in n}
    model = job.folder.artifacts / "model" / "model.safetensors"
    completions = job.folder.artifacts / COMPLETIONS
    return (
        metrics,
        load_file(model) if model.exists() else {},
        completions.read_text() if completions.exists() else "",
    )


def assert_equal(job: Job, whole: Job) -> None:
    (metrics, weights, text), (expected, expected_weights, expected_text) = map(
        outcome, (job, whole)
    )
    assert metrics == expected
    assert text == expected_text
    assert weights.keys() == expected_weights.keys()
    for name, tensor in weights.items():
        assert torch.equal(tensor, expected_weights[name]), name


@pytest.fixture(scope="module")
def wholes() -> dict[str, Job]:
    """Runs that nobody disturbed, made when they are first asked for."""
    return {}


@pytest.fixture
def whole(make_job: Any, wholes: dict[str, Job]) -> Callable[[str], Job]:
    def get(kind: str) -> Job:
        if kind not in wholes:
            data, params = KINDS[kind]
            wholes[kind] = make_job(kind, data, params, name=f"whole-{kind}")
            run(wholes[kind])
        return wholes[kind]

    return get


@pytest.mark.parametrize(("kind", "phase", "count"), MOMENTS)
def test_a_kill_changes_nothing(
    make_job: Any, whole: Callable[[str], Job], kind: str, phase: str, count: int
) -> None:
    data, params = KINDS[kind]
    job = make_job(kind, data, params)
    killed(job, before_event(phase, count))
    run(job)
    assert_equal(job, whole(kind))


@pytest.mark.parametrize("kind", ["sft", "ppo"])
def test_a_kill_while_a_checkpoint_is_written_costs_that_checkpoint(
    make_job: Any, whole: Callable[[str], Job], kind: str
) -> None:
    data, params = KINDS[kind]
    job = make_job(kind, data, params)
    killed(job, at_call(checkpoints, "seal", 2))
    assert len(list(job.folder.checkpoints.glob("*/"))) == 2
    run(job)
    [resuming] = events_of(job, "resuming") or [None]
    assert resuming is not None
    assert_equal(job, whole(kind))


@pytest.mark.parametrize("kind", ["sft", "ppo"])
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_it_used(
    make_job: Any, whole: Callable[[str], Job], kind: str
) -> None:
    data, params = KINDS[kind]
    job = make_job(kind, data, params)
    killed(job, at_call(checkpoints, "prune", 3))
    newest = job.folder.checkpoints / "checkpoint-3"
    flip_a_byte(max(newest.rglob("*"), key=lambda path: path.stat().st_size))
    run(job)
    assert_equal(job, whole(kind))


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_damaged_checkpoint_is_kept_for_a_person_to_look_at(make_job: Any) -> None:
    job = make_job("sft", *KINDS["sft"])
    killed(job, at_call(checkpoints, "prune", 2))
    flip_a_byte(job.folder.checkpoints / "checkpoint-2" / "optimizer.pt")
    assert checkpoints.newest(job.folder.checkpoints) == job.folder.checkpoints / "checkpoint-1"
    assert (job.folder.checkpoints / "damaged-checkpoint-2").is_dir()


def test_with_every_checkpoint_damaged_the_run_fails_rather_than_starts_over(make_job: Any) -> None:
    job = make_job("sft", *KINDS["sft"])
    killed(job, at_call(checkpoints, "prune", 2))
    for step in (1, 2):
        flip_a_byte(job.folder.checkpoints / f"checkpoint-{step}" / "optimizer.pt")
    for _ in range(2):
        with pytest.raises(TrainingError, match=r"damaged-checkpoint-1, damaged-checkpoint-2"):
            checkpoints.newest(job.folder.checkpoints)


def test_a_finished_job_is_not_done_again(make_job: Any) -> None:
    """The worker that started it may have died before it could read the result."""
    job = make_job("sft", *KINDS["sft"])
    sft.run(job)
    before = job.folder.events.read_bytes()
    assert main(["sft", "--job", str(job.folder.root)]) == 0
    assert job.folder.events.read_bytes().startswith(before)
    assert [e.phase for e in read_events(job.folder.events)[0]][-2:] == ["done", "done_before"]
    assert main(["dpo", "--job", str(job.folder.root)]) == 1


def test_random_numbers_go_on_where_they_were(
    make_job: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dropout takes torch's; those of Python and NumPy are drawn here, at each step."""
    torch.manual_seed(0)
    folder = str(tmp_path / "model")
    LlamaForCausalLM(tiny_config(attention_dropout=0.3)).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    drawn: list[tuple[float, float]] = []
    step = sft.Trainer.training_step

    def drawing(self: Any, *arguments: Any, **named: Any) -> Any:
        drawn.append((random.random(), float(numpy.random.rand())))
        return step(self, *arguments, **named)

    monkeypatch.setattr(sft.Trainer, "training_step", drawing)
    data, params = KINDS["sft"]
    one, other = (make_job("sft", data, params, name=name, model=folder) for name in ("a", "b"))
    run(one)
    expected = drawn[-2:]
    killed(other, before_event("train", 5))
    drawn.clear()
    run(other)
    assert drawn == expected
    assert_equal(other, one)


def test_prune_keeps_the_two_newest_whole_ones_and_the_best(tmp_path: Path) -> None:
    for step in range(1, 7):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if step != 6:
            checkpoints.seal(tmp_path / f"checkpoint-{step}")
    checkpoints.prune(tmp_path, spare=2)
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["checkpoint-2", "checkpoint-4", "checkpoint-5", "checkpoint-6"]
