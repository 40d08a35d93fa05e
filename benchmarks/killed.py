"""``python -m benchmarks.killed [KIND …]``: a run that was killed, next to one that was not.

Of every kind two runs from one spec. One is left alone. The other is stopped by SIGTERM, which
leaves a checkpoint, started again, killed by SIGKILL some steps later, and started again. Both must
end with the same metrics and the same bytes of weights.
"""

from __future__ import annotations

import json
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

from benchmarks import STARTER
from benchmarks.jobs import model_of, new_job, run, start
from benchmarks.world_data import good_answers, prompts
from training.jobs.events import read_events
from training.jobs.folder import EXIT_INTERRUPTED, JobFolder, sha256_of_file
from training.jobs.world import draw_tasks

SEED = 5
# The events that count steps of training.
PHASES = frozenset({"train", "ppo", "rloo", "grpo"})
# Of a metric that a clock or a path enters.
NOT_OF_THE_RUN = ("second", "path")
ONLINE = {"steps": 8, "batch_size": 8, "max_new_tokens": 24}
PARAMS: dict[str, dict[str, Any]] = {
    "sample": {"batch_prompts": 4, "max_new_tokens": 48},
    "sft": {"epochs": 4, "batch_size": 4},
    "reward": {"epochs": 4, "batch_prompts": 4},
    "ppo": ONLINE | {"minibatch_size": 4, "checkpoint_every": 1},
    "rejection": {"n": 4, "epochs": 4, "batch_size": 4, "max_new_tokens": 24},
    "dpo": {"epochs": 4, "batch_size": 4},
    "rloo": ONLINE | {"n": 4},
    "grpo": ONLINE | {"n": 4},
}


def main() -> int:
    kinds = sys.argv[1:] or list(PARAMS)
    differing = []
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        reward = new_job(root / "rm", "reward", STARTER, _data("reward"), {}, seed=SEED)
        run(reward, "reward")
        for kind in kinds:
            whole, killed = (_job(root / f"{kind}-{n}", kind, reward) for n in ("whole", "killed"))
            run(whole, kind)
            kill_and_resume(killed, kind)
            if not tell(kind, whole, killed):
                differing.append(kind)
    return 1 if differing else 0


def kill_and_resume(folder: JobFolder, kind: str) -> None:
    """Raises SystemExit when the run ended before it could be stopped."""
    for after, number in ((2, signal.SIGTERM), (5, signal.SIGKILL)):
        process = start(folder, kind)
        while process.poll() is None and _step(folder, kind) < after:
            time.sleep(0.02)
        process.send_signal(number)
        status = process.wait()
        if status not in (EXIT_INTERRUPTED, -signal.SIGKILL):
            raise SystemExit(f"the {kind} run was not stopped but ended with {status}")
    run(folder, kind)


def tell(kind: str, whole: JobFolder, killed: JobFolder) -> bool:
    """Print the metrics of both, side by side, and whether all is the same."""
    left, right = (_outcome(folder) for folder in (whole, killed))
    resumed = [e.step for e in read_events(killed.events)[0] if e.phase == "resuming"]
    print(f"\n{kind}: went on from step {', '.join(map(str, resumed)) or '(its own output)'}")
    for name in left:
        same = "" if left[name] == right.get(name) else "   differs"
        print(f"  {name:24} {_shown(left[name]):>18} {_shown(right.get(name)):>18}{same}")
    print(f"identical: {'yes' if left == right else 'no'}", flush=True)
    return left == right


def _outcome(folder: JobFolder) -> dict[str, Any]:
    """The metrics of a run, and its weights or completions by their hash."""
    result = json.loads(folder.result.read_text(encoding="utf-8"))
    made = model_of(folder)
    files = [made] if made.is_file() else sorted(made.glob("*.safetensors"))
    return {
        **{
            name: value
            for name, value in result["metrics"].items()
            if not any(word in name for word in NOT_OF_THE_RUN)
        },
        **{path.name: sha256_of_file(path)[:16] for path in files},
    }


def _shown(value: object) -> str:
    return f"{value:.9g}" if isinstance(value, float) else str(value)[:18]


def _step(folder: JobFolder, kind: str) -> int:
    """The newest step that a run has told of."""
    phases = {"sample"} if kind == "sample" else PHASES
    return max((e.step for e in read_events(folder.events)[0] if e.phase in phases), default=0)


def _job(root: Path, kind: str, reward: JobFolder) -> JobFolder:
    reward_model = model_of(reward)
    return new_job(
        root, kind, STARTER, _data(kind), PARAMS[kind], seed=SEED, reward_model=reward_model
    )


def _data(kind: str) -> Mapping[str, Any]:
    if kind == "sft":
        return {"demonstrations": good_answers(SEED, 16)}
    if kind in ("reward", "dpo"):
        return {"comparisons": _comparisons(16)}
    if kind == "sample":
        return {"prompts": [{**row, "indexes": [0, 1]} for row in prompts(SEED, 32)]}
    return {"prompts": prompts(SEED, 16)}


def _comparisons(count: int) -> list[dict[str, Any]]:
    """A good answer, a curt one and a rude one to each prompt, in this order."""
    rows = []
    rng = Random(SEED)
    for number, task in zip(range(count), draw_tasks(SEED), strict=False):
        texts = [task.good(rng), task.flawed("rude", rng), "no"]
        rows.append(
            {
                "prompt": f"c{number}",
                "author": "",
                "messages": task.messages,
                "completions": [
                    {"text": t, "token_ids": None, "finish_reason": "stop"} for t in texts
                ],
                "rankings": [{"labeler": "1", "pairs": [[0, 1], [0, 2], [1, 2]], "ties": 0}],
            }
        )
    return rows


if __name__ == "__main__":
    sys.exit(main())
