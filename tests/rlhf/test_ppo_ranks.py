"""PPO on two processes: whatever the shares, what one process would have done."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.rlhf.conftest import demonstrations, events_of, metrics_of, prompts
from training.rlhf import distributed, ppo
from training.rlhf.errors import TrainingError
from training.rlhf.models import load_policy
from training.rlhf.roles import load_models

ROOT = Path(__file__).resolve().parents[2]
# Seven episodes in minibatches of three: no share is even, one is empty.
SETTINGS = {
    "steps": 2,
    "batch_size": 7,
    "minibatch_size": 3,
    "epochs": 2,
    "max_new_tokens": 6,
    "learning_rate": 1e-3,
    "value_learning_rate": 1e-3,
    "checkpoint_every": 1,
    "ema_decay": 0.8,
    "kl_target": 0.01,
    "kl_horizon": 20,
    "ptx_ratio": 0.5,
    "ptx_coef": 2.0,
}
DATA = {"prompts": prompts(5), "ptx": [{"text": "once upon a time"}, *demonstrations(4)]}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run_on_two(*jobs: Any) -> None:
    """Two gloo processes, started as a launcher does; one job after the other."""
    code = "import sys; from training.rlhf.__main__ import main; "
    code += "sys.exit(max(main(['ppo', '--job', job]) for job in sys.argv[1:]))"
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", code, *(str(job.folder.root) for job in jobs)],
            cwd=ROOT,
            env={
                **os.environ,
                **shared,
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "PODIUM_TORCH_THREADS": "1",
                "CUDA_VISIBLE_DEVICES": "",
            },
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for process in ranks:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors


def test_trap_11_two_processes_give_the_result_of_one(make_job: Any) -> None:
    """All options on, with whole models and with adapters."""
    jobs = {
        (name, rank): make_job("ppo", DATA, SETTINGS | {"lora_rank": rank}, name=f"{name}-{rank}")
        for name in ("one", "two")
        for rank in (0, 4)
    }
    run_on_two(jobs["two", 0], jobs["two", 4])
    for rank in (0, 4):
        ppo.run(jobs["one", rank])
        compare(jobs["one", rank], jobs["two", rank])


def compare(alone: Any, together: Any) -> None:
    expected, found = events_of(alone, "ppo"), events_of(together, "ppo")
    assert len(found) == len(expected) == 2
    for ours, theirs in zip(expected, found, strict=True):
        assert ours.keys() == theirs.keys()
        for name, value in ours.items():
            assert theirs[name] == pytest.approx(value, rel=2e-3, abs=2e-5), name
    assert metrics_of(together).keys() == metrics_of(alone).keys()
    assert len(events_of(together, "done")) == 1
    ends = [load_policy(str(job.folder.artifacts / "model")) for job in (alone, together)]
    for one, two in zip(ends[0].parameters(), ends[1].parameters(), strict=True):
        assert torch.allclose(one, two, atol=2e-4)


def test_ranks_that_hold_other_weights_are_told_apart(
    make_job: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job("ppo", {"prompts": prompts(2)}, {"batch_size": 2, "minibatch_size": 2})
    learner = ppo.new_learner(load_models(job, job.spec.params), job.spec.params)
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    monkeypatch.setattr(distributed, "gather", lambda items: [*items, *items])
    ppo.check_ranks_agree(learner)
    monkeypatch.setattr(distributed, "gather", lambda items: [*items, "another"])
    with pytest.raises(TrainingError, match="different weights"):
        ppo.check_ranks_agree(learner)


def test_ranks_are_compared_after_a_start_and_at_checkpoints(
    make_job: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not at each step: it reads all weights."""
    settings = {"steps": 5, "batch_size": 2, "minibatch_size": 1, "checkpoint_every": 3}
    job = make_job("ppo", {"prompts": prompts(2)}, settings | {"max_new_tokens": 2})
    seen: list[tuple[int, int]] = []

    def watched(learner: Any) -> None:
        updates = next(iter(learner.policy_optimizer.state.values()))["step"]
        seen.append((learner.step, int(updates)))

    monkeypatch.setattr(ppo, "check_ranks_agree", watched)
    write = job.events.write

    def cut(phase: str, **metrics: Any) -> None:
        write(phase, **metrics)
        if (phase, metrics.get("step")) == ("ppo", 4) and len(seen) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(job.events, "write", cut)
    with pytest.raises(KeyboardInterrupt):
        ppo.run(job)
    assert seen == [(0, 1), (3, 6)]
    ppo.run(job)
    assert seen[2:] == [(3, 7)]
