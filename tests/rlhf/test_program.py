"""The program as the worker starts it: exit codes, signals, kills, and no Django."""

from __future__ import annotations

import ast
import dataclasses
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.rlhf.conftest import byte_tokenizer, demonstrations, events_of, metrics_of, prompts
from training.jobs.folder import EXIT_INTERRUPTED
from training.jobs.params import PARAMS_OF_KIND
from training.rlhf import ppo
from training.rlhf.__main__ import main

PACKAGE = "training.rlhf"
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
    "checkpoints.prune = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL); "
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
    assert numbers(killed) == pytest.approx(numbers(whole), rel=1e-4, abs=1e-5)


def numbers(job: Any) -> dict[str, float]:
    """Measured values that do not depend on the clock."""
    return {
        name: value
        for name, value in metrics_of(job).items()
        if isinstance(value, int | float) and "second" not in name
    }


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


STOPPED_WHILE_STARTING = (
    "import os, signal; from training.rlhf import __main__ as program; "
    "program._refuse_sharding = lambda kind: os.kill(os.getpid(), signal.SIGTERM); "
)


def test_a_stop_before_anything_was_done_is_a_stop_too(make_job: Any) -> None:
    job = make_job("ppo", {"prompts": prompts(5)}, STEPS)
    code = "import sys; " + STOPPED_WHILE_STARTING + "sys.exit(program.main())"
    done = subprocess.run(
        [sys.executable, "-c", code, "ppo", "--job", str(job.folder.root)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == EXIT_INTERRUPTED, done.stderr
    assert len(events_of(job, "interrupted")) == 1


def test_processes_die_with_the_launcher_that_started_them() -> None:
    """A launcher puts them in sessions of their own, where no signal to its group reaches them."""
    child = (
        "from training.jobs.launch import die_with_parent; import signal; die_with_parent(); "
        "print('ready', flush=True); signal.pause()"
    )
    launcher = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import subprocess, sys; "
            f"subprocess.run([sys.executable, '-c', {child!r}], start_new_session=True)",
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert launcher.stdout is not None
    assert launcher.stdout.readline() == "ready\n"
    launcher.kill()
    # The pipe ends when the last process that holds it has.
    assert launcher.communicate(timeout=30)[0] == ""


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
        for name in modules_used_by(kind)
        for node in ast.walk(syntax(name))
        if isinstance(node, ast.Attribute) and holds_params(node.value)
    }
    fields = {field.name for field in dataclasses.fields(PARAMS_OF_KIND[kind])}
    assert fields <= read, fields - read


def syntax(name: str) -> ast.Module:
    return ast.parse((ROOT / f"training/rlhf/{name}.py").read_text())


def modules_used_by(kind: str) -> set[str]:
    """The module of a kind and all of the trainer's own that it imports, directly or not."""
    found, waiting = set(), [kind]
    while waiting:
        name = waiting.pop()
        found.add(name)
        for node in ast.walk(syntax(name)):
            if not isinstance(node, ast.ImportFrom) or not node.module:
                continue
            names = [alias.name for alias in node.names] if node.module == PACKAGE else []
            if node.module.startswith(f"{PACKAGE}."):
                names = [node.module.removeprefix(f"{PACKAGE}.")]
            waiting += [name for name in names if name not in found]
    return found


def holds_params(node: ast.expr) -> bool:
    """``params.x``, ``job.spec.params.x``, and ``self.options.x`` of a trainer that was given
    them.
    """
    name = node.id if isinstance(node, ast.Name) else getattr(node, "attr", "")
    return name in {"params", "options"}


def without(*names: str) -> Callable[[Path], None]:
    def spoil(model: Path) -> None:
        for name in names:
            (model / name).unlink()

    return spoil


def cut_short(model: Path) -> None:
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])


def pickled(model: Path) -> None:
    torch.save(load_file(model / "model.safetensors"), model / "pytorch_model.bin")
    (model / "model.safetensors").unlink()


def without_an_end(model: Path) -> None:
    """Neither by name nor by how the chat template closes a turn."""
    (model / "chat_template.jinja").unlink()
    byte_tokenizer(template=None, eos_token=None).save_pretrained(model)


BAD_MODELS = {
    "no tokenizer": (
        without("tokenizer.json", "tokenizer_config.json"),
        "no readable tokenizer .* put tokenizer.json",
    ),
    "no config": (without("config.json"), "no readable config.json"),
    "a config that is no JSON": (
        lambda model: (model / "config.json").write_text("{"),
        "no readable config.json .* not a valid JSON",
    ),
    "pickles only": (pickled, "no readable weights .* only whole safetensors"),
    "no weights": (without("model.safetensors"), "no readable weights"),
    "torn weights": (cut_short, "no readable weights .* only whole safetensors"),
    "no end token": (without_an_end, "no end-of-sequence token"),
}


@pytest.mark.parametrize("spoilt", BAD_MODELS)
def test_a_model_that_cannot_be_used_is_named_in_one_line(
    make_job: Any, policy_folder: str, tmp_path: Path, spoilt: str
) -> None:
    spoil, reason = BAD_MODELS[spoilt]
    model = tmp_path / "model"
    shutil.copytree(policy_folder, model)
    spoil(model)
    job = make_job("sample", {"prompts": prompts(1, [0])}, model=str(model))
    assert failure(job) == Matching(reason)


def test_a_tokenizer_without_padding_will_do(
    make_job: Any, policy_folder: str, tmp_path: Path
) -> None:
    """The end token pads, as in most decoders; lengths come from masks."""
    model = tmp_path / "model"
    shutil.copytree(policy_folder, model)
    byte_tokenizer(pad_token=None).save_pretrained(model)
    job = make_job("sft", {"demonstrations": demonstrations(3)}, {"epochs": 1}, model=str(model))
    assert main(["sft", "--job", str(job.folder.root)]) == 0


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "job.json: .*No such file"),
        ("{", "job.json: Expecting"),
        ('{"version": 99}', "version: this trainer reads version"),
        (
            '{"version": 1, "run": "1", "kind": "alchemy", "seed": 1, "model": "m", "params": {}}',
            "kind: unknown kind 'alchemy'; one of sample",
        ),
    ],
)
def test_a_job_that_cannot_be_read_is_refused_in_one_line(
    make_job: Any, content: str | None, reason: str
) -> None:
    job = make_job("sample", {"prompts": prompts(1, [0])})
    path = job.folder.root / "job.json"
    path.unlink()
    if content is not None:
        path.write_text(content)
    assert failure(job) == Matching(reason)


def test_data_that_was_changed_is_refused(make_job: Any) -> None:
    job = make_job("sample", {"prompts": prompts(1, [0])})
    with (job.folder.data / "prompts.jsonl").open("a") as file:
        file.write("{}\n")
    assert failure(job) == Matching("data/prompts.jsonl is missing or was changed")


def test_a_kind_that_there_is_not_is_told_by_the_usage(
    make_job: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    job = make_job("sample", {"prompts": prompts(1, [0])})
    with pytest.raises(SystemExit):
        main(["alchemy", "--job", str(job.folder.root)])
    assert "invalid choice: 'alchemy'" in capsys.readouterr().err


def failure(job: Any) -> str:
    """The reason that the program gives when it refuses a job."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        assert main([job.spec.kind, "--job", str(job.folder.root)]) == 1
    finally:
        signal.signal(signal.SIGTERM, handler)
    [failed] = events_of(job, "failed")
    return str(failed["error"])


class Matching:
    """Equal to one line that has the pattern in it."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern

    def __eq__(self, text: object) -> bool:
        return "\n" not in str(text) and re.search(self.pattern, str(text)) is not None

    def __repr__(self) -> str:
        return f"one line with {self.pattern!r}"
