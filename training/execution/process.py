"""The trainer as a process of its own: started in its own session, told to stop, killed if it must
be.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping

from django.conf import settings

from training.jobs.folder import JobFolder
from training.jobs.launch import guarded

# All that a trainer gets to know of the worker's environment: no secret key, no database.
PASSED_ON = (
    "CUDA_VISIBLE_DEVICES",
    "HF_HOME",
    "HF_HUB_OFFLINE",
    "HF_TOKEN",
    "HOME",
    "LANG",
    "LD_LIBRARY_PATH",
    "MASTER_ADDR",
    "MASTER_PORT",
    "OMP_NUM_THREADS",
    "PATH",
    "PODIUM_OPENAI_KEY",
    "PODIUM_OPENAI_MODEL",
    "PODIUM_OPENAI_URL",
    "PODIUM_TORCH_THREADS",
    "TMPDIR",
)
LOG_TAIL_BYTES = 4000


class Trainer:
    """A running ``python -m training.rlhf KIND --job FOLDER``."""

    def __init__(self, kind: str, folder: JobFolder) -> None:
        self.folder = folder
        launch = shlex.split(settings.TRAINER_LAUNCH) or [sys.executable, "-m"]
        program = [*launch, "training.rlhf", kind, "--job", str(folder.root)]
        with folder.log.open("ab") as log:
            self.process = subprocess.Popen(
                guarded(program),
                cwd=settings.BASE_DIR,
                env=_environment(os.environ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def exit_code(self) -> int | None:
        return self.process.poll()

    def ask_to_stop(self) -> None:
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)
        self.process.wait()

    def log_tail(self) -> str:
        """The last lines of the log, whole."""
        with self.folder.log.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(0, size - LOG_TAIL_BYTES))
            tail = log.read().decode("utf-8", errors="replace")
        return tail if size <= LOG_TAIL_BYTES else tail[tail.find("\n") + 1 :]

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            return


def _environment(outer: Mapping[str, str]) -> dict[str, str]:
    inherited = {name: outer[name] for name in PASSED_ON if name in outer}
    return {
        **inherited,
        "PYTHONPATH": str(settings.BASE_DIR),
        "PYTHONUNBUFFERED": "1",
        # A launcher gives its processes as long to stop as the worker gives the launcher.
        "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(settings.TRAINER_GRACE_SECONDS),
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
