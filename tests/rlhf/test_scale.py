"""The program under ``accelerate launch``: real processes that meet over gloo.

``--multi_gpu`` is what makes the launcher start several; without a GPU they run on the CPU.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.commands.config.config_args import load_config_from_file
from safetensors.torch import load_file

from tests.rlhf.conftest import (
    demonstrations,
    events_of,
    metrics_of,
    prefers_a,
    prompts,
)
from training.jobs.events import EventWriter, read_events
from training.jobs.folder import JobFolder
from training.jobs.params import parse_params
from training.jobs.spec import JobSpec
from training.rlhf import distributed, dpo, rejection, reward, sample, sft, trainers
from training.rlhf.__main__ import main
from training.rlhf.errors import TrainingError
from training.rlhf.job import Job, SilentEvents
from training.rlhf.steps import StepSampler

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "training" / "rlhf" / "accelerate"
LAUNCHER = (sys.executable, "-m", "accelerate.commands.launch")
LAUNCH = (*LAUNCHER, "--multi_gpu", "--num_processes", "2", "--main_process_port", "0")

# Each job, then one that the second rank alone is asked to stop after two steps, then its rest.
ALL_KINDS = """
import os, signal, sys
from training.rlhf import distributed, trainers
from training.rlhf.__main__ import main

whole, stopped = sys.argv[1].split(","), sys.argv[2]
for folder in whole:
    assert main([os.path.basename(folder), "--job", folder]) == 0, folder

log = trainers._Progress.on_log
def stop(self, args, state, control, **more):
    log(self, args, state, control, **more)
    if os.environ["RANK"] == "1" and state.global_step == 2:
        os.kill(os.getpid(), signal.SIGTERM)
trainers._Progress.on_log = stop
assert main(["sft", "--job", stopped]) == 75
trainers._Progress.on_log = log
assert main(["sft", "--job", stopped]) == 0
distributed.end(0)
"""
# Accelerate shards on GPUs only; told that these are some, it does so over gloo as well.
SHARDED = """
import os
from accelerate import PartialState
from accelerate.utils import DistributedType
from torch.distributed.tensor import DTensor
from transformers import Trainer

PartialState._prepare_backend = lambda *_, **__: ("gloo", DistributedType.MULTI_GPU)
train = Trainer.train
def train_and_look(self, **more):
    train(self, **more)
    assert any(isinstance(p, DTensor) for p in self.model.parameters())
Trainer.train = train_and_look
"""
SECOND_RANK_FAILS = """
import os, sys
from training.rlhf import distributed, sft
from training.rlhf.__main__ import main
from training.rlhf.errors import TrainingError

def run(job):
    if os.environ["RANK"] == "1":
        raise TrainingError("the second rank\\nhas no memory left")
    distributed.barrier()

sft.run = run
sys.exit(main(sys.argv[1:]))
"""

# Numbers of rows that fill neither the last step nor an even number of rows in it.
JOBS: dict[str, tuple[Any, Mapping[str, Any], Mapping[str, Any]]] = {
    "sft": (
        sft,
        {"demonstrations": demonstrations(14)},
        {"epochs": 2, "batch_size": 4, "validation_share": 0.2, "learning_rate": 3e-3},
    ),
    "reward": (reward, {"comparisons": prefers_a(11)}, {"epochs": 2, "batch_prompts": 4}),
    "dpo": (dpo, {"comparisons": prefers_a(5)}, {"epochs": 2, "batch_size": 4}),
    "sample": (
        sample,
        {"prompts": prompts(5, [0, 1, 2])},
        {"max_new_tokens": 6, "batch_prompts": 2},
    ),
    "rejection": (
        rejection,
        {"prompts": prompts(5)},
        {"max_new_tokens": 6, "batch_prompts": 2, "n": 2},
    ),
}


def started(
    script: str, *arguments: str, folder: Path, launch: Sequence[str] = LAUNCH, **environment: str
) -> subprocess.Popen[str]:
    program = folder / "program.py"
    program.write_text(script)
    return subprocess.Popen(
        [*launch, str(program), *arguments],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PODIUM_TORCH_THREADS": "1",
            "OMP_NUM_THREADS": "1",
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finished(process: subprocess.Popen[str]) -> tuple[int, str]:
    output, _ = process.communicate(timeout=120)
    return process.returncode, output


def weights(job: Job) -> dict[str, torch.Tensor]:
    return load_file(job.folder.artifacts / "model" / "model.safetensors")


def measured(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers that do not depend on the clock."""
    return {
        name: value
        for name, value in metrics.items()
        if isinstance(value, int | float) and "second" not in name
    }


def new_job(
    root: Path,
    kind: str,
    data: Mapping[str, Sequence[Mapping[str, Any]]],
    params: Mapping[str, Any],
    model: str,
    reward_model: str,
) -> Job:
    folder = JobFolder(root)
    folder.create()
    spec = JobSpec(
        run="1",
        kind=kind,
        seed=7,
        model=model,
        reward_model=reward_model if kind == "rejection" else None,
        params=parse_params(kind, params),
        data={key: folder.write_data(key, rows) for key, rows in data.items()},
    )
    folder.write_spec(spec)
    return Job(folder, spec, EventWriter(folder.events))


@pytest.fixture(scope="module")
def alone_and_together(
    tmp_path_factory: pytest.TempPathFactory, policy_folder: str, reward_folder: str
) -> dict[str, tuple[Job, Job]]:
    """Every job done by this process, and by two others."""
    root = tmp_path_factory.mktemp("ranks")
    pairs = {}
    for kind, (_, data, params) in {**JOBS, "stopped": JOBS["sft"]}.items():
        jobs = []
        for side in ("alone", "together"):
            of = "sft" if kind == "stopped" else kind
            jobs.append(new_job(root / side / kind, of, data, params, policy_folder, reward_folder))
        pairs[kind] = (jobs[0], jobs[1])
    folders = [str(pairs[kind][1].folder.root) for kind in JOBS]
    process = started(
        ALL_KINDS, ",".join(folders), str(pairs["stopped"][1].folder.root), folder=root
    )
    for kind, (module, _, _) in JOBS.items():
        module.run(pairs[kind][0])
    code, output = finished(process)
    assert code == 0, output
    return pairs


@pytest.fixture(scope="module")
def sharded(
    tmp_path_factory: pytest.TempPathFactory, policy_folder: str, reward_folder: str
) -> dict[str, Job]:
    """Every job done by two processes that share one model's weights (FSDP2)."""
    root = tmp_path_factory.mktemp("sharded")
    jobs = {
        kind: new_job(root / kind, kind, *JOBS[kind][1:], policy_folder, reward_folder)
        for kind in ("sft", "reward", "dpo")
    }
    jobs["stopped"] = new_job(
        root / "stopped", "sft", *JOBS["sft"][1:], policy_folder, reward_folder
    )
    whole = ",".join(str(jobs[kind].folder.root) for kind in ("sft", "reward", "dpo"))
    process = started(
        SHARDED + ALL_KINDS,
        *(whole, str(jobs["stopped"].folder.root)),
        folder=root,
        launch=(*LAUNCHER, "--config_file", str(CONFIGS / "fsdp.yaml"), "--mixed_precision", "no"),
        ACCELERATE_TORCH_DEVICE="cpu",
    )
    code, output = finished(process)
    assert code == 0, output
    return jobs


@pytest.mark.parametrize("kind", ["sft", "reward", "dpo", "stopped"])
def test_sharded_weights_become_the_same_model(
    sharded: dict[str, Job], alone_and_together: dict[str, tuple[Job, Job]], kind: str
) -> None:
    alone, _ = alone_and_together["sft" if kind == "stopped" else kind]
    torch.testing.assert_close(weights(sharded[kind]), weights(alone), rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("kind", ["sft", "reward", "dpo", "rejection"])
def test_two_ranks_train_the_model_that_one_trains(
    alone_and_together: dict[str, tuple[Job, Job]], kind: str
) -> None:
    alone, together = alone_and_together[kind]
    torch.testing.assert_close(weights(together), weights(alone), rtol=1e-4, atol=2e-6)
    expected = measured(metrics_of(alone))
    assert measured(metrics_of(together)) == pytest.approx(expected, rel=1e-4, abs=1e-5)
    for one, other in zip(events_of(alone, "train"), events_of(together, "train"), strict=True):
        assert measured(other) == pytest.approx(measured(one), rel=1e-3, abs=1e-5)


def test_two_ranks_write_the_same_completions(
    alone_and_together: dict[str, tuple[Job, Job]],
) -> None:
    one, other = (
        [
            [row[name] for name in ("prompt", "index", "token_ids", "finish_reason", "seed")]
            for row in sample.read_completions(job.folder.artifacts / sample.COMPLETIONS)
        ]
        for job in alone_and_together["sample"]
    )
    assert len(other) == 15
    assert other == one


def test_a_stop_that_reaches_one_rank_stops_all_and_loses_nothing(
    alone_and_together: dict[str, tuple[Job, Job]],
) -> None:
    _, job = alone_and_together["stopped"]
    phases = [event.phase for event in read_events(job.folder.events)[0]]
    assert phases.count("interrupted") == phases.count("resuming") == phases.count("done") == 1
    whole, _ = alone_and_together["sft"]
    torch.testing.assert_close(weights(job), weights(whole), rtol=1e-4, atol=2e-6)


def test_events_are_told_once(alone_and_together: dict[str, tuple[Job, Job]]) -> None:
    for alone, together in (alone_and_together[kind] for kind in JOBS):
        one, other = ([e.phase for e in read_events(j.folder.events)[0]] for j in (alone, together))
        assert other == ["starting", *one]


def test_a_failure_of_another_rank_is_told_once_and_ends_all(make_job: Any, tmp_path: Path) -> None:
    job = make_job("sft", {"demonstrations": demonstrations(4)})
    process = started(SECOND_RANK_FAILS, "sft", "--job", str(job.folder.root), folder=tmp_path)
    code, output = finished(process)
    assert code == 1, output
    [failed] = events_of(job, "failed")
    assert failed["error"] == "the second rank has no memory left"


def test_the_launcher_passes_a_stop_on(make_job: Any, tmp_path: Path) -> None:
    """Its own status says nothing; the last event does, and a checkpoint is there."""
    job = make_job("sft", {"demonstrations": demonstrations(8)}, {"epochs": 100, "batch_size": 2})
    process = started(
        "import sys; from training.rlhf.__main__ import main; sys.exit(main(sys.argv[1:]))",
        *("sft", "--job", str(job.folder.root)),
        folder=tmp_path,
    )
    while not events_of(job, "train"):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, output = finished(process)
    assert read_events(job.folder.events)[0][-1].phase == "interrupted", output
    assert job.folder.read_result() is None
    assert list(job.folder.checkpoints.glob("checkpoint-*/manifest.json"))


@pytest.mark.parametrize(("rows", "at_once"), [(7, 4), (8, 4), (1, 4), (5, 1)])
def test_an_epoch_is_filled_up_with_rows_that_count_for_nothing(rows: int, at_once: int) -> None:
    asked = list(StepSampler(rows, at_once, 3, lambda: 0))
    assert sorted(row for row, counts in asked if counts) == list(range(rows))
    assert len(asked) == len(StepSampler(rows, at_once, 3, lambda: 0))
    assert len(asked) % at_once == 0
    assert len(asked) - rows < at_once


def test_the_order_follows_from_seed_and_epoch() -> None:
    epoch = [0]
    sampler = StepSampler(20, 4, 3, lambda: epoch[0])
    first, again = list(sampler), list(sampler)
    epoch[0] = 1
    assert first == again != list(sampler)
    assert first != list(StepSampler(20, 4, 4, lambda: 0))


@pytest.mark.parametrize(
    ("ranks", "batch_size", "rows", "each"),
    [(1, 16, 100, 16), (1, 16, 5, 5), (2, 16, 100, 8), (2, 16, 5, 3), (4, 4, 1, 1)],
)
def test_ranks_share_the_batch_that_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, ranks: int, batch_size: int, rows: int, each: int
) -> None:
    monkeypatch.setattr(distributed, "world_size", lambda: ranks)
    assert trainers.rows_of_rank(batch_size, rows) == each


def test_a_batch_that_ranks_cannot_share_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "world_size", lambda: 3)
    with pytest.raises(TrainingError, match=r"16 cannot be shared by 3 processes.*multiple of 3"):
        trainers.rows_of_rank(16, 100)


@pytest.mark.parametrize("kind", ["ppo", "rloo", "grpo"])
@pytest.mark.parametrize("variable", ["ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED"])
def test_online_kinds_refuse_sharded_weights(
    make_job: Any, monkeypatch: pytest.MonkeyPatch, variable: str, kind: str
) -> None:
    monkeypatch.setenv(variable, "true")
    job = make_job(kind, {"prompts": prompts(4)})
    assert main([kind, "--job", str(job.folder.root)]) == 1
    [failed] = events_of(job, "failed")
    assert "cannot spread its weights" in failed["error"]
    assert "set lora_rank" in failed["error"]


def test_silent_events_write_nothing(make_job: Any) -> None:
    job = make_job("sft", {"demonstrations": demonstrations(1)})
    size = job.folder.events.stat().st_size
    SilentEvents().write("train", step=1, loss=1.0)
    SilentEvents().close()
    assert job.folder.events.stat().st_size == size


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("ddp", "MULTI_GPU"),
        ("fsdp", "FSDP"),
        ("deepspeed_zero2", "DEEPSPEED"),
        ("deepspeed_zero3", "DEEPSPEED"),
    ],
)
def test_shipped_configs_are_read_by_accelerate(name: str, kind: str) -> None:
    config = load_config_from_file(str(CONFIGS / f"{name}.yaml"))
    assert config.distributed_type == kind
    assert config.mixed_precision == "bf16"
    assert config.num_machines == 1
