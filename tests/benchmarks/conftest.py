"""Benchmarks in tests: on one thread, and their jobs without a process each."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

import benchmarks.jobs
from training.jobs.folder import JobFolder


class Done:
    """A process that has ended."""

    def __init__(self, status: int) -> None:
        self._status = status

    def wait(self) -> int:
        return self._status


@pytest.fixture
def jobs_in_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The real program, called instead of started: its libraries load once, not once a job."""
    from training.rlhf.__main__ import main

    def start(folder: JobFolder, kind: str) -> Done:
        return Done(main([kind, "--job", str(folder.root)]))

    handler, environment = signal.getsignal(signal.SIGTERM), dict(os.environ)
    monkeypatch.setenv("PODIUM_TORCH_THREADS", "1")
    monkeypatch.setattr(benchmarks.jobs, "start", start)
    yield
    signal.signal(signal.SIGTERM, handler)
    os.environ.clear()
    os.environ.update(environment)
