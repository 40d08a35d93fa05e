"""Freed memory is kept: the system does not hand the same pages out again and again."""

from __future__ import annotations

import subprocess
import sys

import pytest

from training.rlhf import memory

FAULTS = """
import resource, sys
from training.rlhf.memory import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
def step():
    blocks = [b"x" * 2**23 for _ in range(8)]
step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    command = [sys.executable, "-c", FAULTS, how]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_steps_after_the_first_find_their_memory_again() -> None:
    assert faults("kept") * 10 < faults("left")


def test_where_the_allocator_is_another_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not memory.keep_freed_memory()
