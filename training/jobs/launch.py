"""Start a program that dies with its parent: ``python -m training.jobs.launch PARENT_PID PROGRAM
ARG…``.

A worker that is killed must not leave its trainer behind on the GPU. The death signal is set here,
after the fork, in a process of our own: no Python code runs between fork and exec in a threaded
worker.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def guarded(program: list[str]) -> list[str]:
    """The argument list that starts ``program`` so that it dies with the calling process."""
    return [sys.executable, "-m", "training.jobs.launch", str(os.getpid()), *program]


def die_with_parent() -> None:
    """Ask the kernel to kill this process when the thread that started it ends."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")


def main() -> None:
    parent, *program = sys.argv[1:]
    die_with_parent()
    # The parent may have died before the signal was set.
    if os.getppid() != int(parent):
        sys.exit(1)
    os.execvp(program[0], program)  # noqa: S606  (an argument list, no shell)


if __name__ == "__main__":
    main()
