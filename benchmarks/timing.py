"""Two ways of the same work, timed in turns, so that a noisy machine weighs on both alike."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

# Rounds that are counted; fewer are enough to see that a benchmark works.
ROUNDS = int(os.environ.get("PODIUM_BENCH_ROUNDS", "3"))


def compare(
    case: str, reach: float, ours: Callable[[], object], peer: Callable[[], object]
) -> None:
    """Print the best of some rounds of each, after one round that is not counted."""
    seconds: dict[str, list[float]] = {"ours": [], "peer": []}
    for turn in range(ROUNDS + 1):
        for name, work in (("ours", ours), ("peer", peer)):
            started = time.perf_counter()
            work()
            if turn:
                seconds[name].append(time.perf_counter() - started)
    tell(case, min(seconds["ours"]), min(seconds["peer"]), reach)


def tell(case: str, ours: float, peer: float, reach: float) -> None:
    """The line of a case: what it cost both (seconds, or MB), and how many times more the peer."""
    print(
        f"BENCH {case} ours={ours:.3f} peer={peer:.3f} ratio={peer / ours:.2f} reach={reach}",
        flush=True,
    )
