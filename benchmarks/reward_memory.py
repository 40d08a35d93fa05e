"""Peak memory of a reward-model step, K = 9, against TRL's RewardTrainer on the same 36 pairs.

Each side runs in a fresh process, which loads its model, warms up on a step of two completions,
and then takes one step. Counted is how far that step lifts the process above what it held before:
the peak of the resident memory, reset by the kernel right before the step.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.timing import tell

REACH = 4.0
K = 9
# Freed memory goes back to the system at once, for both sides alike, so that the peak is of what
# was in use and not of what an allocator had kept.
ALLOCATOR = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_TRIM_THRESHOLD_": "0",
    "MALLOC_MMAP_THRESHOLD_": "65536",
}


def main() -> None:
    if len(sys.argv) > 1:
        print(megabytes(sys.argv[1]))
        return
    ours, peer = (_measured(side) for side in ("ours", "peer"))
    tell("reward_memory_k9", ours, peer, REACH)


def _measured(side: str) -> float:
    child = subprocess.run(
        [sys.executable, "-m", "benchmarks.reward_memory", side],
        env={**os.environ, **ALLOCATOR},
        stdout=subprocess.PIPE,
        text=True,
    )
    if child.returncode != 0:
        raise SystemExit(f"the step of {side} could not be measured")
    return float(child.stdout.split()[-1])


def megabytes(side: str) -> float:
    """What one step takes beside the model and its gradients."""
    from benchmarks.pair_steps import new_ranking, ours_reward, peer_reward

    new_step = {"ours": ours_reward, "peer": peer_reward}[side]
    step, small = new_step(new_ranking(K)), new_step(new_ranking(2))
    step.batch, batch = small.batch, step.batch
    del small
    step.run()
    step.batch = batch
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    step.run()
    return _status("VmHWM") - before


def _status(name: str) -> float:
    """A size from the kernel's record of this process, in MB."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{name}:")[1].split()[0]) / 1000


if __name__ == "__main__":
    main()
