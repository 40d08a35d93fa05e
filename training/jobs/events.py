"""``events.jsonl``: phase, step and metrics of a running job, one JSON object a line."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Event:
    """One line. ``step`` of ``total`` is the progress of ``phase``; ``total`` 0 means unknown."""

    phase: str
    step: int = 0
    total: int = 0
    metrics: Mapping[str, Any]
    time: float


class EventWriter:
    """Appends events so that a reader sees whole lines, and a kill loses at most the line in
    flight.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        if os.fstat(self._file).st_size:
            _end_torn_line(path, self._file)

    def write(self, phase: str, *, step: int = 0, total: int = 0, **metrics: object) -> None:
        """Metrics are numbers, texts or lists of them; numbers that are not finite become null."""
        line = {
            "time": time.time(),
            "phase": phase,
            "step": step,
            "total": total,
            "metrics": {name: _finite(value) for name, value in metrics.items()},
        }
        os.write(self._file, (json.dumps(line) + "\n").encode())

    def close(self) -> None:
        os.close(self._file)


def read_events(path: Path, offset: int = 0) -> tuple[list[Event], int]:
    """Whole lines from byte ``offset`` on, and the offset to go on from.

    A last line without its newline is still being written and is left for the next call. A line
    that is not an event (torn by a kill) is skipped.
    """
    try:
        with path.open("rb") as file:
            file.seek(offset)
            chunk = file.read()
    except FileNotFoundError:
        return [], offset
    whole = chunk[: chunk.rfind(b"\n") + 1]
    return [event for line in whole.splitlines() if (event := _parsed(line))], offset + len(whole)


def _parsed(line: bytes) -> Event | None:
    try:
        return Event(**json.loads(line))
    except (ValueError, TypeError):
        return None


def _finite(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _end_torn_line(path: Path, file: int) -> None:
    with path.open("rb") as tail:
        tail.seek(-1, os.SEEK_END)
        if tail.read(1) != b"\n":
            os.write(file, b"\n")
