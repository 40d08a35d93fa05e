"""``python -m benchmarks.methods``: every method from one start, on one reward model, side by side.

The world is the starter's. For each seed: sample completions of new prompts, have them ranked by a
simulated labeler, train a reward model on the rankings, then run every method on the same prompts
(DPO on the same rankings). ``benchmarks.judging`` measures all of them on prompts that none saw.

``--seeds 3``, ``--out FILE`` (Markdown), ``--keep FOLDER`` (job folders).
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import STARTER
from benchmarks.jobs import model_of, new_job, run
from benchmarks.judging import Figures, Judge
from benchmarks.world_data import demonstrations, good_answers, prompts, ranked
from training.jobs.world import SimulatedLabeler
from training.rlhf.sample import read_completions

COMPLETIONS = 6
NOISE = 0.1
MAX_NEW_TOKENS = 64


@dataclass(frozen=True)
class Size:
    """Prompts to train on, prompts and texts to measure on, steps of the online methods."""

    prompts: int = 384
    held_out: int = 200
    steps: int = 20


SMALL = Size(prompts=8, held_out=12, steps=2)

# A row of the table: its kind of run and its params. Whatever is not given is the default.
ONLINE = {"batch_size": 64, "max_new_tokens": MAX_NEW_TOKENS}
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "PPO": ("ppo", ONLINE),
    "PPO-ptx": ("ppo", ONLINE | {"ptx_ratio": 1.0, "ptx_coef": 1.0}),
    "rejection sampling": ("rejection", {"n": 8, "epochs": 2}),
    "DPO": ("dpo", {"epochs": 1}),
    "RLOO": ("rloo", ONLINE | {"n": 4}),
}
COLUMNS = {
    "reward": "reward",
    "kl": "KL to start",
    "length": "tokens",
    "ended": "ended",
    "ptx_loss": "ptx loss",
    "gold": "gold",
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.methods", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--small", action="store_true", help="only to see that it works")
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=METHODS)
    chosen = parser.parse_args()
    size = SMALL if chosen.small else Size()
    with tempfile.TemporaryDirectory() as scratch:
        root = chosen.keep or Path(scratch)
        found = [
            compare(root / f"seed-{seed}", seed, chosen.methods, size)
            for seed in range(1, chosen.seeds + 1)
        ]
    text = table(found, size.held_out)
    print(text)
    if chosen.out:
        chosen.out.write_text(text, encoding="utf-8")
    return 0


def compare(root: Path, seed: int, methods: Sequence[str], size: Size) -> dict[str, Figures]:
    """The figures of the start and of each method, for one seed."""
    training = prompts(1000 * seed, size.prompts)
    comparisons = _rankings(root, training, seed)
    data = {"comparisons": comparisons, "demonstrations": good_answers(1000 * seed + 1, 64)}
    reward_job = new_job(root / "reward", "reward", STARTER, data, {"epochs": 2}, seed=seed)
    accuracy = run(reward_job, "reward")["accuracy"]
    print(f"seed {seed}: reward model, accuracy {accuracy:.3f}", file=sys.stderr, flush=True)
    judge = Judge(
        str(STARTER),
        str(model_of(reward_job)),
        prompts(1000 * seed + 2, size.held_out, but=training),
        demonstrations(1000 * seed + 3, size.held_out),
    )
    found = {"start": judge.figures(str(STARTER))}
    for name in methods:
        kind, params = METHODS[name]
        if params.keys() >= ONLINE.keys():
            params = params | {"steps": size.steps}
        job = new_job(
            root / name.replace(" ", "-"),
            kind,
            STARTER,
            _data(kind, params, training, comparisons, seed),
            params,
            seed=seed,
            reward_model=model_of(reward_job),
        )
        run(job, kind)
        found[name] = judge.figures(str(model_of(job)))
        print(f"seed {seed}: {name} {found[name]}", file=sys.stderr, flush=True)
    return found


def _rankings(root: Path, training: Sequence[Mapping[str, Any]], seed: int) -> list[dict[str, Any]]:
    wanted = [{**row, "indexes": list(range(COMPLETIONS))} for row in training]
    params = {"max_new_tokens": MAX_NEW_TOKENS}
    job = new_job(root / "sample", "sample", STARTER, {"prompts": wanted}, params, seed=seed)
    run(job, "sample")
    written = list(read_completions(model_of(job)))
    return list(ranked(training, written, SimulatedLabeler(seed=seed, noise=NOISE)))


def _data(
    kind: str,
    params: Mapping[str, Any],
    training: Sequence[Mapping[str, Any]],
    comparisons: Sequence[Mapping[str, Any]],
    seed: int,
) -> dict[str, Any]:
    if kind == "dpo":
        return {"comparisons": comparisons}
    texts = {"ptx": demonstrations(1000 * seed + 4, 400)} if "ptx_coef" in params else {}
    return {"prompts": training, **texts}


def table(found: Sequence[Mapping[str, Figures]], held_out: int) -> str:
    """Markdown: a row a method, the mean over seeds and, after ±, their standard deviation."""
    lines = [
        f"| method | {' | '.join(COLUMNS.values())} |",
        f"|---|{'---|' * len(COLUMNS)}",
    ]
    for method in found[0]:
        series = [dataclasses.asdict(figures[method]) for figures in found]
        cells = [_cell([figures[name] for figures in series]) for name in COLUMNS]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    seeds = f"{len(found)} seed{'s' * (len(found) > 1)}"
    return "\n".join([*lines, "", f"{seeds}, {held_out} held-out prompts each.", ""])


def _cell(values: Sequence[float]) -> str:
    spread = f" ±{statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.2f}{spread}"


if __name__ == "__main__":
    sys.exit(main())
