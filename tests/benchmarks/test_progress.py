"""The progress of a command: a bar on a terminal, few plain lines elsewhere."""

import io
import os
import pty
import re
import sys
from contextlib import suppress

from benchmarks.progress import Progress

PHASES = {"sampling": 10.0, "training": 30.0}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def play(out: io.StringIO) -> str:
    with Progress(PHASES, out) as progress:
        with progress.phase("sampling") as tell:
            for step in range(1, 101):
                tell(step / 100, f"{step} of 100")
        progress.say("sampled all")
        with progress.phase("training") as tell:
            tell(0.5, "step 1")
            tell(0.2, "step 2")
    return out.getvalue()


def test_without_a_terminal_there_are_few_plain_lines() -> None:
    lines = play(io.StringIO()).splitlines()
    assert [re.sub(r", 0:\d\d$", "", line) for line in lines] == [
        "[1/2] sampling",
        "[1/2] sampling: 25 of 100 25%",
        "[1/2] sampling: 50 of 100 50%",
        "[1/2] sampling: 75 of 100 75%",
        "[1/2] sampling: 100 of 100 100%",
        "sampled all",
        "[2/2] training",
        "[2/2] training: step 1 50%",
    ]


def test_a_phase_that_jumps_says_where_it_is() -> None:
    out = io.StringIO()
    with Progress(PHASES, out) as progress, progress.phase("sampling") as tell:
        tell(0.9, "late")
        tell(0.95, "later")
    assert [line.split(", ")[0] for line in out.getvalue().splitlines()] == [
        "[1/2] sampling",
        "[1/2] sampling: late 90%",
    ]


def test_on_a_terminal_there_is_one_bar_that_never_goes_back() -> None:
    shown = play(Terminal())
    shares = [int(share) for share in re.findall(r"(\d+)%\|", shown)]
    assert shares[0] == 0
    assert shares == sorted(shares)
    # A quarter of the whole is the first phase, and the second was left at its half and is done.
    assert 25 in shares
    assert shares[-1] == 100
    assert "[2/2] training: step 1" in shown
    assert "sampled all\n" in shown
    assert shown.count("\n") == 2


def test_a_phase_that_fails_is_not_shown_as_done() -> None:
    out = Terminal()
    try:
        with Progress(PHASES, out) as progress, progress.phase("sampling") as tell:
            tell(0.5, "half")
            raise RuntimeError
    except RuntimeError:
        pass
    assert int(re.findall(r"(\d+)%\|", out.getvalue())[-1]) == 12


def test_a_terminal_that_tells_no_size_shows_the_bar_too(monkeypatch) -> None:
    """As under ``script``, or in a container that was given a terminal without one."""
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as out:
        monkeypatch.setattr(sys, "stderr", out)
        with Progress(PHASES, out) as progress, progress.phase("sampling") as tell:
            tell(0.5, "half")
    shown = b""
    with suppress(OSError):  # so a terminal ends that nobody writes to any more
        while some := os.read(ours, 10_000):
            shown += some
    os.close(ours)
    assert b"sampling: half  12%|" in shown
