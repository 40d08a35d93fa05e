"""The program as the worker starts it: exit codes, signals, kills, and no Django."""

from __future__ import annotations

import ast
import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.rlhf.conftest import events_of, metrics_of, prompts
from training.jobs.folder import EXIT_INTERRUPTED
from training.jobs.params import PARAMS_OF_KIND
from training.rlhf import ppo

ROOT = Path(__file__).resolve().parents[2]
WITHOUT_DJANGO = (
    "import sys, runpy; sys.modules['django'] = None; sys.argv[0] = 'rlhf'; "
    "runpy.run_module('training.rlhf', run_name='__main__')"
)
STEPS = {
    "steps": 4,
    "batch_size": 4,
    "minibatch_size": 4,
    "max_new_tokens": 4,
    "checkpoint_every": 1,
}


# The first checkpoint is whole once the older ones are thinned out: that is when the power goes.
KILLED_AT_THE_FIRST_CHECKPOINT = (
    "import os, signal; from training.rlhf import checkpoints; "
    "checkpoints.prune = lambda root: os.kill(os.getpid(), signal.SIGKILL); "
)


def start(*arguments: str, before: str = "") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", before + WITHOUT_DJANGO, *arguments],
        cwd=ROOT,
        env={**os.environ, "PODIUM_TORCH_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """The exit status and standard error."""
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors


def wait_for_a_checkpoint(root: Path, process: subprocess.Popen[str]) -> None:
    """Any one, as the first may be thinned out already; the process must not end before."""
    while not any(root.glob("checkpoint-*")):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)


def test_help_needs_neither_django_nor_torch() -> None:
    code = "import sys; sys.modules['torch'] = None; " + WITHOUT_DJANGO
    done = subprocess.run(
        [sys.executable, "-c", code, "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for kind in PARAMS_OF_KIND:
        assert kind in done.stdout


def test_a_kill_costs_nothing_but_time(make_job: Any) -> None:
    """SIGKILL as soon as a checkpoint is there, start again: metrics as if uninterrupted."""
    whole, killed = (
        make_job("ppo", {"prompts": prompts(5)}, STEPS, name=name) for name in ("a", "b")
    )
    ppo.run(whole)
    code, _ = finish(
        start("ppo", "--job", str(killed.folder.root), before=KILLED_AT_THE_FIRST_CHECKPOINT)
    )
    assert code == -signal.SIGKILL
    assert killed.folder.read_result() is None
    code, errors = finish(start("ppo", "--job", str(killed.folder.root)))
    assert code == 0, errors
    assert len(events_of(killed, "resuming")) == 1
    assert metrics_of(killed) == pytest.approx(metrics_of(whole), rel=1e-4, abs=1e-5)


def test_sigterm_means_checkpoint_and_75(make_job: Any) -> None:
    job = make_job("ppo", {"prompts": prompts(5)}, STEPS | {"steps": 10_000})
    process = start("ppo", "--job", str(job.folder.root))
    wait_for_a_checkpoint(job.folder.checkpoints, process)
    process.send_signal(signal.SIGTERM)
    code, errors = finish(process)
    assert code == EXIT_INTERRUPTED, errors
    assert job.folder.read_result() is None
    assert len(events_of(job, "interrupted")) == 1
    assert list(job.folder.checkpoints.glob("checkpoint-*/manifest.json"))


@pytest.mark.parametrize(
    ("arguments", "reason"), [(["sft"], "of kind sample"), (["sample"], "no model folder")]
)
def test_a_failure_is_an_event_and_a_traceback(
    make_job: Any, arguments: Sequence[str], reason: str
) -> None:
    job = make_job("sample", {"prompts": prompts(1, [0])}, model="/nowhere/model")
    code, errors = finish(start(*arguments, "--job", str(job.folder.root)))
    assert code == 1
    assert "Traceback" in errors
    assert reason in events_of(job, "failed")[0]["error"]


@pytest.mark.parametrize("kind", sorted(PARAMS_OF_KIND))
def test_every_parameter_is_read_by_its_trainer(kind: str) -> None:
    """A setting that nothing reads is a promise that nobody keeps."""
    read = {
        node.attr
        for name in (kind, "sample", "rollouts")
        for node in ast.walk(ast.parse((ROOT / f"training/rlhf/{name}.py").read_text()))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "params"
    }
    fields = {field.name for field in dataclasses.fields(PARAMS_OF_KIND[kind])}
    assert fields <= read, fields - read
