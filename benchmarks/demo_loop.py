"""Once around the loop through the product: every step is a call of the API or a command."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.progress import Progress, Tell
from benchmarks.server import Installation
from benchmarks.world_data import is_held_out, prompts
from training.jobs.world import starter_prompts
from training.management.client import ApiClient, ApiError

POOL = "Demo"
LABELERS = 4
NOISE = 0.1
MAX_NEW_TOKENS = 64
POLL_SECONDS = 0.5
# The phases in order, and about how many seconds each takes on two cores, for the bar alone.
PHASES = {
    "server": 6,
    "SFT": 8,
    "sampling": 16,
    "ranking": 25,
    "reward model": 95,
    "PPO": 100,
    "rejection sampling": 65,
    "DPO": 57,
    "measuring": 16,
}
METHODS = {"PPO": "ppo", "rejection sampling": "rejection", "DPO": "dpo"}
# What a run does one after the other, each from 0 to 1 in its events.
STAGES = {"rejection": ("sample", "train")}

Run = dict[str, Any]


@dataclass(frozen=True)
class Size:
    """``demonstrations`` of the prompts have one; each prompt is completed ``completions`` times
    and ranked once. ``held_out`` others are answered ``answers`` times. ``params`` by kind of run.
    """

    prompts: int
    demonstrations: int
    completions: int
    held_out: int
    answers: int
    params: Mapping[str, Mapping[str, float]]


# So few demonstrations leave most of what the base model does wrong to the rankings. PPO goes
# faster and may go further from SFT than by default: forty steps have to do.
FULL = Size(
    prompts=800,
    demonstrations=64,
    completions=6,
    held_out=240,
    answers=4,
    params={
        "sft": {"epochs": 1, "validation_share": 0.0},
        "reward": {"epochs": 2},
        "ppo": {"steps": 40, "learning_rate": 3e-4, "kl_coef": 0.1},
        "rejection": {"n": 8, "epochs": 2},
        "dpo": {"epochs": 2, "beta": 0.3},
    },
)
SMALL = Size(
    prompts=12,
    demonstrations=4,
    completions=4,
    held_out=12,
    answers=2,
    params={
        "sft": {"epochs": 1},
        "reward": {"epochs": 1},
        "ppo": {"steps": 1, "batch_size": 16},
        "rejection": {"n": 2, "epochs": 1},
        "dpo": {"epochs": 1},
    },
)


class Loop:
    """The loop on one server, which is fresh and whose first policy is the base model."""

    def __init__(
        self, server: Installation, api: ApiClient, size: Size, seed: int, progress: Progress
    ) -> None:
        self._server = server
        self._api = api
        self._size = size
        self._seed = seed
        self._progress = progress
        self._lines = _lines(size, _draw(seed, 0))

    def go_round(self) -> dict[str, str]:
        """The folder of each policy, by the name of what made it; ``SFT`` is first.

        Raises:
            ApiError, ServerError: a step failed; the message says which and why.
        """
        pool = self._import()
        sft = self._run("SFT", "sft", pool)
        self._api.post(f"models/{sft['model']}/promote/")
        self._sample(pool)
        self._rank(pool)
        reward = self._run("reward model", "reward", pool, labelers="simulated")
        self._progress.say(f"reward model: {_accuracy(reward)}")
        made = {"SFT": sft}
        for name, kind in METHODS.items():
            asked = (
                {"labelers": "simulated"}
                if kind == "dpo"
                else {"reward_model": str(reward["model"])}
            )
            made[name] = self._run(name, kind, pool, **asked)
        digests = {model["id"]: model["digest"] for model in self._api.get("models/")}
        return {
            name: str(self._server.model_folder(digests[run["model"]]))
            for name, run in made.items()
        }

    def held_out(self) -> list[dict[str, Any]]:
        """Prompts that are not in the pool."""
        return prompts(_draw(self._seed, 1), self._size.held_out, held_out=True)

    def _import(self) -> int:
        pool = self._api.post(
            "pools/",
            {
                "name": POOL,
                "completions_per_prompt": self._size.completions,
                "overlap": 1,
                "temperature": 1.0,
                "top_p": 1.0,
                "max_new_tokens": MAX_NEW_TOKENS,
            },
        )
        file = self._server.folder / "prompts.jsonl"
        file.write_text("".join(f"{json.dumps(line)}\n" for line in self._lines), encoding="utf-8")
        self._server.manage("import_prompts", str(file), "--pool", POOL)
        return int(pool["id"])

    def _sample(self, pool: int) -> None:
        with self._progress.phase("sampling") as tell:
            self._finished(self._api.post(f"pools/{pool}/sample/")["run"], tell)

    def _rank(self, pool: int) -> None:
        wanted = self._api.get(f"pools/{pool}/")["open"]
        with self._progress.phase("ranking") as tell:

            def look() -> None:
                done = self._api.get(f"pools/{pool}/")["rankings"]
                tell(done / wanted, f"{done} of {wanted} rankings")

            self._server.manage(
                "simulate_labelers",
                *("--pool", POOL),
                *("--labelers", str(LABELERS)),
                *("--rankings", str(wanted)),
                *("--noise", str(NOISE)),
                *("--seed", str(self._seed)),
                meanwhile=look,
            )
        found = self._api.get(f"pools/{pool}/")
        if found["rankings"] < wanted:
            raise ApiError(f"only {found['rankings']} of {wanted} tasks were ranked")
        self._progress.say(
            f"ranking: {found['rankings']} rankings of {self._size.completions} completions, "
            f"{found['comparisons']} comparisons, {NOISE:.0%} of them turned round"
        )

    def _run(self, phase: str, kind: str, pool: int, **asked: str) -> Run:
        body = {
            "kind": kind,
            "pool": str(pool),
            "seed": self._seed,
            "params": self._size.params[kind],
        }
        with self._progress.phase(phase) as tell:
            return self._finished(self._api.post("runs/", body | asked)["id"], tell)

    def _finished(self, number: int, tell: Tell) -> Run:
        """The run once it has succeeded. Raises ApiError with its reason when it has not."""
        while True:
            run: Run = self._api.get(f"runs/{number}/")
            if run["state"] == "succeeded":
                return run
            if run["state"] not in ("queued", "running"):
                raise ApiError(f"the {run['kind']} run {run['state']}: {run['error']}")
            tell(_share_done(run), run["phase"])
            time.sleep(POLL_SECONDS)


def _accuracy(reward: Run) -> str:
    accuracy = reward["metrics"]["accuracy"]
    if accuracy is None:
        return "too few rankings to hold some out"
    return (
        f"orders {accuracy:.1%} of held-out comparisons as labelers did; more than about "
        f"{1 - NOISE:.0%} nobody could"
    )


def _share_done(run: Run) -> float:
    stages = STAGES.get(run["kind"], (run["phase"],))
    if run["phase"] not in stages:
        return 0.0
    return float((stages.index(run["phase"]) + run["progress"]) / len(stages))


def _lines(size: Size, seed: int) -> list[dict[str, Any]]:
    """Lines of the import format that are not held out, with no more demonstrations than wanted."""
    drawn = starter_prompts(2 * size.prompts, seed=seed)
    trained_on = [line for line in drawn if not is_held_out(_messages(line))]
    lines, left = [], size.demonstrations
    for line in trained_on[: size.prompts]:
        kept = "reference" in line and left > 0
        left -= kept
        lines.append({name: line[name] for name in line if name != "reference" or kept})
    return lines


def _draw(seed: int, number: int) -> int:
    """The seed of one of the demo's draws, far from that of the text of the starter model."""
    return 2_000_000 + 1000 * seed + number


def _messages(line: Mapping[str, Any]) -> list[dict[str, str]]:
    """The conversation of a line of the import format."""
    return line.get("messages") or [{"role": "user", "content": line["prompt"]}]
