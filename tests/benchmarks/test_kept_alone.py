"""Two experiments on one kept seed take turns."""

import io
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest
from filelock import FileLock

from benchmarks.experiments.__main__ import alone


class Told(io.StringIO):
    """Standard error, of which one can wait for a line."""

    def __init__(self) -> None:
        super().__init__()
        self.flushed = Event()

    def flush(self) -> None:
        self.flushed.set()


def enter(keep: Path, seeds: list[int]) -> None:
    with alone(keep, seeds):
        pass


def test_a_seed_in_use_is_waited_for_and_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told()
    monkeypatch.setattr(sys, "stderr", told)
    with ThreadPoolExecutor(1) as pool:
        with FileLock(tmp_path / "seed-1.lock"):
            second = pool.submit(enter, tmp_path, [2, 1])
            assert told.flushed.wait(10)
            with pytest.raises(TimeoutError):
                second.result(timeout=0.2)
        second.result(timeout=10)
    assert told.getvalue() == f"seed 1 in {tmp_path} is in use: waiting\n"


def test_other_seeds_of_the_same_folder_are_free(tmp_path: Path) -> None:
    # The locks are let go first, so that whoever waits for them wrongly ends all the same.
    with ThreadPoolExecutor(1) as pool, alone(tmp_path, [1, 2]):
        pool.submit(enter, tmp_path, [3]).result(timeout=10)
