"""A Podium of its own for a measurement: a fresh data folder, a free port, no process left behind.

Nothing of the caller's installation reaches it: of the environment it gets what a program needs to
run, and no setting.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from training.jobs.launch import guarded

ROOT = Path(__file__).resolve().parent.parent
INHERITED = (
    "CUDA_VISIBLE_DEVICES",
    "HOME",
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "OMP_NUM_THREADS",
    "PATH",
    "PODIUM_TORCH_THREADS",
    "TMPDIR",
)
START_SECONDS = 300
# A trainer that is told to stop is given this long, and the server a little more.
GRACE_SECONDS = 5
STOP_SECONDS = 20
POLL_SECONDS = 0.1
TAIL_CHARACTERS = 1500


class ServerError(RuntimeError):
    """The server did not start, has ended, or a command on its data failed."""


@dataclass(frozen=True)
class Installation:
    """A data folder and the address at which it is served."""

    folder: Path
    port: int
    environment: dict[str, str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.folder / "serve.log"

    def model_folder(self, digest: str) -> Path:
        """Where the model of that content address lies."""
        return self.folder / "artifacts" / "models" / digest

    def manage(self, *arguments: str, meanwhile: Callable[[], None] = lambda: None) -> str:
        """``manage.py`` to its end; what it printed. ``meanwhile`` is called every now and then.

        Raises:
            ServerError: it failed; the message has what it said.
        """
        command = [sys.executable, "manage.py", *arguments]
        with _process(command, self.environment, subprocess.PIPE) as process:
            while True:
                with suppress(subprocess.TimeoutExpired):
                    said = process.communicate(timeout=POLL_SECONDS)[0].decode(errors="replace")
                    break
                meanwhile()
        if process.returncode != 0:
            raise ServerError(f"manage.py {arguments[0]} failed: {said.strip()[-TAIL_CHARACTERS:]}")
        return said


@contextmanager
def serving(
    folder: Path, *, model: str, port: int | None = None, **others: str
) -> Iterator[Installation]:
    """A server on ``folder``, whose first policy is ``model`` (PODIUM_MODEL), until the block ends.
    ``others``: settings besides.

    Raises:
        ServerError: it cannot start, as when ``port`` is in use; the message has its log's end.
    """
    chosen = free_port() if port is None else port
    settings = {
        "DATA_DIR": str(folder),
        "PORT": str(chosen),
        "PODIUM_MODEL": model,
        "PYTHONUNBUFFERED": "1",
        "TRAINER_GRACE_SECONDS": str(GRACE_SECONDS),
    }
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    made = Installation(folder, chosen, inherited | settings | others)
    with (
        made.log.open("wb") as log,
        _process([sys.executable, "manage.py", "serve"], made.environment, log) as server,
    ):
        _wait(made, server)
        yield made


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _process(
    command: Sequence[str], environment: dict[str, str], out: int | IO[bytes]
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that dies with this one. In a session of its own: Ctrl+C reaches us alone, and what
    we started is stopped in order.
    """
    process = subprocess.Popen(
        guarded(list(command)),
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
        finally:
            # Too slow, or interrupted again: its own processes die with it.
            process.kill()
            process.wait()


def _wait(made: Installation, server: subprocess.Popen[bytes]) -> None:
    """Until the login page is served."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        with (
            suppress(urllib.error.URLError, OSError),
            urllib.request.urlopen(f"{made.url}/login/", timeout=5),
        ):
            return
        time.sleep(POLL_SECONDS)
    said = made.log.read_text(encoding="utf-8", errors="replace").strip()[-TAIL_CHARACTERS:]
    raise ServerError(f"the server on port {made.port} did not start: {said or 'it said nothing'}")
