"""A PPO step: episodes, scores, four epochs of updates; against the last PPOTrainer that TRL had.

Both start from the same policy (the starter model with a fifth layer, 3.3 M parameters), the same
reward model and the same 64 prompts; every step answers all of them with at most 32 tokens at
temperature 1 and takes four optimiser steps on the whole batch. Optimiser, rates, coefficients and
clipping are equal; nothing is paid for a missing end, the peer's gradients are not clipped and ours
are not either. The two run in turns, a step each; the first step, with loading, is not counted.

Checked: reward and KL of both, means over the last steps, agree within their standard errors.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from benchmarks import STARTER
from benchmarks.peers import environment
from benchmarks.timing import tell
from benchmarks.turns import Child, Turn
from training.jobs.events import EventWriter
from training.jobs.folder import JobFolder
from training.jobs.params import parse_params
from training.jobs.spec import JobSpec
from training.jobs.world import starter_prompts
from training.rlhf import ppo
from training.rlhf.job import Job
from training.rlhf.memory import keep_freed_memory
from training.rlhf.models import load_renderer

SIDES = ("ours", "peer")
PEER = "trl==1.12.0"
REACH = 1.5
STEPS = int(os.environ.get("PODIUM_BENCH_PPO_STEPS", "9"))
LAST = max(1, STEPS // 3)
# Ours warms the policy's rate up (and not the value model's); the peer's is made to follow.
RATE_SHARES = [min(1.0, 0.1 + 0.9 * n / max(1, min(10, STEPS // 4))) for n in range(STEPS + 1)]
# The two may differ by so many standard errors: one run in two thousand does so by chance.
STANDARD_ERRORS = 3.5
SETTINGS = {
    "batch_size": 64,
    "epochs": 4,
    "max_new_tokens": 32,
    "learning_rate": 1e-4,
    "kl_coef": 0.05,
    "clip_range": 0.2,
    "value_clip_range": 0.2,
    "gae_lambda": 0.95,
}


def main() -> None:
    if len(sys.argv) > 1:
        return ours(Path(sys.argv[1]))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        children = {
            "ours": Child([sys.executable, "-m", "benchmarks.ppo_step", name], dict(os.environ)),
            "peer": Child([sys.executable, "-m", "benchmarks.ppo_peer", name], environment(PEER)),
        }
        try:
            steps = [{side: child.step() for side, child in children.items()} for _ in range(STEPS)]
        finally:
            for child in children.values():
                child.stop()
    check(steps)
    seconds = {
        side: statistics.median(step[side]["seconds"] for step in steps[1:]) for side in children
    }
    tell("ppo_step", seconds["ours"], seconds["peer"], REACH)
    return None


def check(steps: list[dict[str, Any]]) -> None:
    """Print reward and KL of both sides. Raises SystemExit when one differs by more than chance.

    A mean over N answers errs by spread / sqrt(N); the spread of log(pi / ref), of which KL is the
    mean, is sqrt(2 KL) where it is about normal.
    """
    means = {
        name: [statistics.fmean(step[side][name] for step in steps[-LAST:]) for side in SIDES]
        for name in ("reward", "kl")
    }
    spread = {"reward": steps[-1]["ours"]["reward_std"], "kl": math.sqrt(2 * max(means["kl"]))}
    error = {name: spread[name] * math.sqrt(2 / (SETTINGS["batch_size"] * LAST)) for name in means}
    apart = [name for name, (a, b) in means.items() if abs(a - b) > STANDARD_ERRORS * error[name]]
    told = [
        f"{side}_{name}={mean:.3f}"
        for name, pair in means.items()
        for side, mean in zip(SIDES, pair, strict=True)
    ]
    print(f"CHECK ppo_step {' '.join(told)} steps={STEPS} same={'no' if apart else 'yes'}")
    if apart:
        raise SystemExit(f"not the same work: {' and '.join(apart)} differ by more than chance")


def ours(folder: Path) -> None:
    """PPO of the job in a folder, a step a turn, with memory as the program keeps it."""
    keep_freed_memory()
    job_folder = JobFolder(folder / "job")
    events = _Turns(job_folder.events)
    events.turn.begin()
    ppo.run(Job(job_folder, job_folder.read_spec(), events))


class _Turns(EventWriter):
    """Ends a turn with each step's event."""

    turn = Turn()

    def write(self, phase: str, **fields: Any) -> None:
        if phase == "ppo":
            self.turn.end(
                reward=fields["reward_mean"], kl=fields["kl"], reward_std=fields["reward_std"]
            )
            self.turn.begin()


def prepare(folder: Path) -> None:
    """Policy, reward model, prompts and settings for both sides, and a job for ours."""
    renderer = load_renderer(str(STARTER))
    policy = _with_fifth_layer()
    policy.save_pretrained(folder / "policy")
    renderer.tokenizer.save_pretrained(folder / "policy")
    tasks = starter_prompts(int(SETTINGS["batch_size"]))
    prompts = [line.get("messages") or _said(str(line["prompt"])) for line in tasks]
    prompt_ids = [renderer.prompt_ids(messages) for messages in prompts]
    answered = [
        renderer.render(messages, {"text": line["reference"]}).ids
        for messages, line in zip(prompts, tasks, strict=True)
        if "reference" in line
    ]
    save_reward_model(folder / "policy", answered, folder / "reward")
    (folder / "peer.json").write_text(
        json.dumps({"settings": SETTINGS, "rate_shares": RATE_SHARES, "prompts": prompt_ids})
    )
    job = JobFolder(folder / "job")
    job.create()
    rows = [{"prompt": str(n), "messages": messages} for n, messages in enumerate(prompts)]
    params = SETTINGS | {
        "steps": STEPS,
        "minibatch_size": SETTINGS["batch_size"],
        "value_learning_rate": SETTINGS["learning_rate"],
        "missing_eos_penalty": 0.0,
        "max_grad_norm": 1e6,
        "checkpoint_every": STEPS,
    }
    spec = JobSpec(
        run="bench",
        kind="ppo",
        seed=1,
        model=str(folder / "policy"),
        reward_model=str(folder / "reward"),
        params=parse_params("ppo", params),
        data={"prompts": job.write_data("prompts", rows)},
    )
    job.write_spec(spec)


def _with_fifth_layer() -> Any:
    """The starter model with one layer more that does nothing yet: it writes what it wrote."""
    small = AutoModelForCausalLM.from_pretrained(STARTER, dtype=torch.float32)
    config = small.config
    config.num_hidden_layers += 1
    torch.manual_seed(0)
    model = type(small)(config)
    model.load_state_dict(small.state_dict(), strict=False)
    for output in (model.model.layers[-1].self_attn.o_proj, model.model.layers[-1].mlp.down_proj):
        torch.nn.init.zeros_(output.weight)
    return model


def save_reward_model(body: Path, texts: list[list[int]], folder: Path) -> None:
    """A score head in a random direction, with mean 0 and spread 1 over the ends of ``texts``."""
    model = AutoModelForSequenceClassification.from_pretrained(
        body, num_labels=1, dtype=torch.float32
    )
    with torch.no_grad():
        ends = torch.stack([model.model(torch.tensor([t])).last_hidden_state[0, -1] for t in texts])
        mean = ends.mean(0)
        direction = torch.randn(len(mean), generator=torch.Generator().manual_seed(0))
        direction -= (direction @ mean) / (mean @ mean) * mean
        model.score.weight.copy_(direction / (ends @ direction).std())
    model.save_pretrained(folder)
    load_renderer(str(STARTER)).tokenizer.save_pretrained(folder)


def _said(content: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": content}]


if __name__ == "__main__":
    main()
