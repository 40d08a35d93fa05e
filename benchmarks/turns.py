"""Two processes that take steps in turns: one works while the other waits.

A child calls ``Turn.begin`` and ``Turn.end`` around each step; the parent lets a ``Child`` take one
step and reads what it measured. Standard library only: a child runs in a peer's environment.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

REPORT = "STEP "


class Turn:
    """In the child."""

    def begin(self) -> None:
        """Wait to be called, then start the clock."""
        sys.stdin.readline()
        self._started = time.perf_counter()

    def end(self, **measured: float) -> None:
        seconds = time.perf_counter() - self._started
        print("\n" + REPORT + json.dumps({"seconds": seconds, **measured}), flush=True)


class Child:
    """In the parent. What else a child prints is passed by."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._command = command
        self._process = subprocess.Popen(
            command,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def step(self) -> dict[str, Any]:
        """Raises SystemExit when the child ended instead."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith(REPORT):
                return dict(json.loads(line.removeprefix(REPORT)))
        raise SystemExit(f"{' '.join(self._command)} ended with {self._process.wait()}")

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
