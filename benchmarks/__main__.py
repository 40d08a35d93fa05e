"""``make bench``: every benchmark, a line a case.

``BENCH case ours=<seconds> peer=<seconds> ratio=<peer/ours> reach=<goal>`` compares with a peer in
one run (``reward_memory``: MB); both sides are shown to do the same work before they are measured.
``CHECK`` tells what was the same where it is not exact. ``BUDGET case measured limit`` holds a
figure of an installation against what it may cost. The exit status tells whether all could be
measured, never whether a figure is good.

Longer ones are commands of their own: ``benchmarks.experiments``, ``benchmarks.real_comparisons``,
``benchmarks.killed``, ``benchmarks.page``, ``benchmarks.gold_gain``, ``benchmarks.gpu``.
"""

from __future__ import annotations

import subprocess
import sys

MODULES = (
    "benchmarks.reward_step",
    "benchmarks.dpo_step",
    "benchmarks.reward_memory",
    "benchmarks.ppo_step",
    "benchmarks.sampling",
    "benchmarks.budgets",
)


def main() -> int:
    """Each in a process of its own: the memory and the threads of one do not weigh on the next."""
    failed = [m for m in MODULES if subprocess.run([sys.executable, "-m", m]).returncode != 0]
    for module in failed:
        print(f"{module} could not measure", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
