"""Known traps of what a run leaves: killed and resumed, ended or chosen before the collapse."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.rlhf.conftest import compared, demonstrations, events_of, metrics_of, prompts, said
from tests.rlhf.toys import (
    ASSISTANT,
    END,
    VOCABULARY,
    A,
    B,
    bigram,
    flat,
    outcomes,
    saved,
    table,
    tabular_rewards,
)
from training.rlhf import ppo, reward, rloo, sft, trainers
from training.rlhf.models import load_policy
from training.rlhf.scoring import Scorer

# --- 26: killed and started again (test_resume.py has every kind, and a real SIGKILL)


class Killed(BaseException):
    """Nothing in the program may catch it, as nothing can catch SIGKILL."""


EVERYTHING = {
    "steps": 4,
    "batch_size": 6,
    "minibatch_size": 4,
    "epochs": 2,
    "max_new_tokens": 5,
    "learning_rate": 1e-3,
    "value_learning_rate": 1e-3,
    "checkpoint_every": 1,
    "kl_target": 0.5,
    "kl_horizon": 20,
    "ema_decay": 0.8,
    "ptx_ratio": 0.5,
    "ptx_coef": 1.0,
}
TEXT = [{"text": "some text to keep " * (1 + n)} for n in range(3)]
RANKED = [compared(f"p{n}", [f"a{n}", "bb", "ccc"], [(0, 1), (0, 2), (1, 2)]) for n in range(8)]
ONLINE = {"steps": 3, "batch_size": 4, "n": 2, "max_new_tokens": 4, "learning_rate": 1e-3}
RUNS: dict[str, tuple[Any, str, dict[str, Any], dict[str, Any], str]] = {
    "ppo": (ppo, "ppo", {"prompts": prompts(5), "ptx": TEXT}, EVERYTHING, "ppo"),
    "ppo lora": (
        ppo,
        "ppo",
        {"prompts": prompts(5), "ptx": TEXT},
        EVERYTHING | {"lora_rank": 2},
        "ppo",
    ),
    "sft": (
        sft,
        "sft",
        {"demonstrations": demonstrations(12)},
        {"epochs": 3, "batch_size": 4, "learning_rate": 1e-3, "choose_by": "eval_loss"},
        "train",
    ),
    "reward": (
        reward,
        "reward",
        {"comparisons": RANKED},
        {"epochs": 2, "batch_prompts": 3, "learning_rate": 1e-3},
        "train",
    ),
    "rloo": (rloo, "rloo", {"prompts": prompts(4)}, ONLINE | {"epochs": 2}, "train"),
}


def timeless(metrics: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in metrics.items() if "second" not in k}


def kill_after(job: Any, phase: str, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Die in the middle of telling of a step: after its work, before or after its checkpoint."""
    write = job.events.write

    def dying(what: str, **metrics: Any) -> None:
        write(what, **metrics)
        if what == phase and metrics["step"] == step:
            raise Killed

    monkeypatch.setattr(job.events, "write", dying)


@pytest.mark.parametrize("name", list(RUNS))
def test_trap_26_a_killed_run_ends_as_if_it_had_not_been(
    make_job: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the second step (and PPO once more): same events, metrics and weights."""
    module, kind, data, params, phase = RUNS[name]
    monkeypatch.setattr(trainers, "SECONDS_BETWEEN_CHECKPOINTS", -1)
    whole, killed = (make_job(kind, data, params, name=n) for n in ("whole", "killed"))
    module.run(whole)
    for step in (2, 3) if kind == "ppo" else (2,):
        with monkeypatch.context() as patch:
            kill_after(killed, phase, step, patch)
            with pytest.raises(Killed):
                module.run(killed)
    module.run(killed)
    assert timeless(metrics_of(killed)) == timeless(metrics_of(whole))
    told = [{e["step"]: timeless(e) for e in steps_of(job, phase)} for job in (whole, killed)]
    assert told[0] == told[1]
    weights = [
        load_file(job.folder.artifacts / "model" / "model.safetensors") for job in (whole, killed)
    ]
    assert all(torch.equal(weights[0][n], weights[1][n]) for n in weights[0])


def steps_of(job: Any, phase: str) -> list[dict[str, Any]]:
    from training.jobs.events import read_events

    events = read_events(job.folder.events)[0]
    return [{"step": e.step, **e.metrics} for e in events if e.phase == phase]


# --- 27: before the collapse

# The chain goes on with A or ends; the reward model likes A without end, people up to three.
START = table({ASSISTANT: {A: 0.0, END: 0.5}, A: {A: 0.0, B: -1.0, END: 0.5}, B: {END: 0.0}})


def liked_by_people(logits: Any, limit: int = 12) -> float:
    """The exact expectation of 1 - (number of A - 3)^2 / 9 over what a policy writes."""
    listed = outcomes(logits, ASSISTANT, limit)
    return sum(chance * (1 - (ids.count(A) - 3) ** 2 / 9) for ids, chance in listed)


def next_tokens(model: Any) -> Any:
    """(V, V) logits after each single token."""
    with torch.no_grad():
        ids = torch.tensor([[ASSISTANT], [A], [B]])
        found = model(ids).logits[:, 0]
    logits = START.clone()
    for row, token in enumerate((ASSISTANT, A, B)):
        logits[token, [A, B, END]] = found[row, [A, B, END]]
    return logits


def test_trap_27_a_kl_budget_ends_before_what_people_like_is_lost(
    make_job: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy counts A. Without a budget the policy never ends."""

    def count(_self: Scorer, texts: Any) -> torch.Tensor:
        return torch.tensor([float(text.completion_ids.count(A)) for text in texts])

    monkeypatch.setattr(Scorer, "score", count)
    reward_folder = tabular_rewards(torch.zeros(VOCABULARY), tmp_path / "reward")
    policy_folder = saved(bigram(START), tmp_path / "policy")
    params = {
        "steps": 20,
        "batch_size": 32,
        "minibatch_size": 16,
        "max_new_tokens": 12,
        "learning_rate": 5e-4,
        "kl_coef": 0.0,
        "missing_eos_penalty": 0.0,
    }
    liked, jobs = {}, {}
    for name, extra in (("free", {}), ("budget", {"kl_budget": 1.0})):
        job = make_job(
            "ppo",
            {"prompts": [{"prompt": "p", "messages": said("x")}]},
            params | extra,
            name=name,
            model=policy_folder,
            reward_model=reward_folder,
        )
        ppo.run(job)
        liked[name] = liked_by_people(next_tokens(load_policy(str(job.folder.artifacts / "model"))))
        jobs[name] = job
    start = liked_by_people(START)
    assert metrics_of(jobs["free"])["reward_mean"] > metrics_of(jobs["budget"])["reward_mean"] + 2
    assert liked["free"] < start < liked["budget"]
    assert len(events_of(jobs["budget"], "kl_budget")) == 1


def test_trap_27_the_epoch_of_the_lowest_held_out_loss_is_kept(make_job: Any) -> None:
    """Few answers that have nothing in common but their form: learnt by heart after a while."""
    noise = random.Random(0)
    rows = [
        {
            "prompt": f"d{n}",
            "author": "",
            "messages": said(f"say {n}"),
            "completion": "".join(noise.choice("abcdefgh") for _ in range(6)),
        }
        for n in range(12)
    ]
    params = {"epochs": 8, "batch_size": 2, "learning_rate": 2e-2, "validation_share": 0.3}
    left = {}
    for choice in ("last", "eval_loss"):
        job = make_job("sft", {"demonstrations": rows}, params | {"choose_by": choice}, name=choice)
        sft.run(job)
        losses = [event["eval_loss"] for event in events_of(job, "evaluate")]
        left[choice] = (metrics_of(job)["eval_loss"], losses, job)
    assert left["last"][1] == left["eval_loss"][1]
    losses = left["eval_loss"][1]
    assert losses[-1] > min(losses) + 0.1
    assert left["last"][0] == pytest.approx(losses[-1])
    assert left["eval_loss"][0] == pytest.approx(min(losses))
    weights = [
        flat(load_policy(str(job.folder.artifacts / "model"))) for _, _, job in left.values()
    ]
    assert not torch.equal(*weights)
