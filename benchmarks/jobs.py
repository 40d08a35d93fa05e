"""Runs of the real program on job folders, as a worker starts them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from training.jobs.folder import JobFolder
from training.jobs.params import parse_params
from training.jobs.spec import JobSpec, needs_reward_model

Row = Mapping[str, Any]


def new_job(
    root: Path,
    kind: str,
    model: Path,
    data: Mapping[str, Iterable[Row]],
    params: Mapping[str, Any],
    *,
    seed: int,
    reward_model: Path | None = None,
) -> JobFolder:
    """A job folder that is ready to run. A reward model is named in it where its kind needs one."""
    folder = JobFolder(root)
    folder.create()
    parsed = parse_params(kind, params)
    needed = reward_model if needs_reward_model(kind, parsed) else None
    spec = JobSpec(
        run=root.name,
        kind=kind,
        seed=seed,
        model=str(model),
        reward_model=str(needed) if needed else None,
        params=parsed,
        data={name: folder.write_data(name, rows) for name, rows in data.items()},
    )
    folder.write_spec(spec)
    return folder


def start(folder: JobFolder, kind: str) -> subprocess.Popen[bytes]:
    """The program on a job folder; what it prints goes to the folder's log."""
    with folder.log.open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "training.rlhf", kind, "--job", str(folder.root)],
            env=dict(os.environ),
            stdout=log,
            stderr=log,
        )


def run(folder: JobFolder, kind: str) -> dict[str, Any]:
    """The program to its end: the metrics of its result.

    Raises:
        SystemExit: it failed; the end of its log is shown.
    """
    status = start(folder, kind).wait()
    result = folder.read_result()
    if status != 0 or result is None:
        tail = folder.log.read_text(encoding="utf-8", errors="replace")[-2000:]
        raise SystemExit(f"{tail}\nthe {kind} run in {folder.root} ended with {status}")
    return dict(result["metrics"])


def model_of(folder: JobFolder) -> Path:
    """The model that a job made."""
    result = folder.read_result()
    assert result
    return folder.artifacts / str(result["artifact"])
