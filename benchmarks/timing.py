"""Two ways of the same work, timed in turns, so that a noisy machine weighs on both alike."""

from __future__ import annotations

import time
from collections.abc import Callable

ROUNDS = 3


def compare(
    case: str, reach: float, ours: Callable[[], object], peer: Callable[[], object]
) -> None:
    """Print the best of three rounds of each, after one round that is not counted."""
    seconds: dict[str, list[float]] = {"ours": [], "peer": []}
    for turn in range(ROUNDS + 1):
        for name, work in (("ours", ours), ("peer", peer)):
            started = time.perf_counter()
            work()
            if turn:
                seconds[name].append(time.perf_counter() - started)
    best_ours, best_peer = min(seconds["ours"]), min(seconds["peer"])
    print(
        f"BENCH {case} ours={best_ours:.3f} peer={best_peer:.3f} "
        f"ratio={best_peer / best_ours:.2f} reach={reach}",
        flush=True,
    )
