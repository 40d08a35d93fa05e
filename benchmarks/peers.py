"""Peers in another version than the one that Podium installs, each in an environment of its own.

An environment is a folder that Python searches before its own packages. It holds what differs and
nothing else: torch and the other large packages are those of Podium's environment. The folders lie
in the virtual environment, so they are ignored and cleaned with it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENTS = Path(sys.prefix) / "peers"


def environment(requirement: str) -> dict[str, str]:
    """The variables of a process in which ``requirement`` is installed; made on the first call.

    Raises:
        SystemExit: it cannot be installed.
    """
    folder = ENVIRONMENTS / requirement
    if not folder.is_dir():
        _install(requirement, folder)
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}


def _install(requirement: str, folder: Path) -> None:
    """Into a folder beside it, renamed when it is whole."""
    staging = folder.with_name(f"{folder.name}.tmp")
    shutil.rmtree(staging, ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    target = ["--no-deps", "--target", str(staging), requirement]
    if subprocess.run(pip + target).returncode != 0:
        raise SystemExit(f"{requirement}, a peer, cannot be installed")
    staging.rename(folder)
