"""The job folder: where a job's parts lie, and how they are written so that a kill leaves no half
file.

job.json       the spec, written once
data/          the snapshot, read-only
events.jsonl   progress, appended by the trainer
checkpoints/   what the trainer resumes from
artifacts/     what it made
result.json    written last; its presence means done
log.txt        standard output and error of the trainer
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from training.jobs.errors import FolderError
from training.jobs.spec import DataFile, JobSpec

# The exit status that means: stopped on request, a checkpoint is in the folder, start me again.
EXIT_INTERRUPTED = 75
STAGING_PREFIX = ".staging-"


class JobFolder:
    """Paths and reads and writes of one job folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.events = root / "events.jsonl"
        self.data = root / "data"
        self.checkpoints = root / "checkpoints"
        self.artifacts = root / "artifacts"
        self.result = root / "result.json"
        self.log = root / "log.txt"

    def create(self) -> None:
        for folder in (self.data, self.checkpoints, self.artifacts):
            folder.mkdir(parents=True, exist_ok=True)

    def write_data(self, name: str, rows: Iterable[Mapping[str, Any]]) -> DataFile:
        """Write ``data/<name>.jsonl`` and return its entry for the spec."""
        path = self.data / f"{name}.jsonl"
        count = 0
        with path.open("w", encoding="utf-8", newline="\n") as file:
            for row in rows:
                file.write(json.dumps(row) + "\n")
                count += 1
            file.flush()
            os.fsync(file.fileno())
        relative = str(path.relative_to(self.root))
        return DataFile(path=relative, sha256=sha256_of_file(path), rows=count)

    def read_data(self, entry: DataFile) -> Iterator[dict[str, Any]]:
        """Raises FolderError when the file is not the one that the spec names."""
        path = self.root / entry.path
        if not path.is_file() or sha256_of_file(path) != entry.sha256:
            raise FolderError(f"{entry.path} is missing or was changed after the job was written")
        with path.open(encoding="utf-8", newline="\n") as file:
            for line in file:
                yield json.loads(line)

    def write_spec(self, spec: JobSpec) -> None:
        write_json(self.root / "job.json", spec.to_json())

    def read_spec(self) -> JobSpec:
        """Raises FolderError without a readable job.json, SpecError when it cannot be run."""
        path = self.root / "job.json"
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise FolderError(f"{path}: {error}") from error
        return JobSpec.from_json(raw)

    def write_result(self, *, artifact: str | None, metrics: Mapping[str, Any]) -> None:
        """``artifact`` is the folder made, relative to ``artifacts/``, or None where none was."""
        write_json(self.result, {"artifact": artifact, "metrics": dict(metrics)})

    def read_result(self) -> dict[str, Any] | None:
        if not self.result.is_file():
            return None
        result: dict[str, Any] = json.loads(self.result.read_text(encoding="utf-8"))
        return result


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write whole or not at all: temporary file, fsync, rename, fsync of the folder."""
    staging = path.with_name(path.name + ".tmp")
    with staging.open("w", encoding="utf-8") as file:
        json.dump(content, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    staging.replace(path)
    sync_folder(path.parent)


def keep_folder(source: Path, target: Path) -> None:
    """Copy a folder to its content address: staged beside it, fsynced, renamed.

    Somebody else may keep the same content at the same time; either copy will do.
    """
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = target.with_name(f"{STAGING_PREFIX}{uuid.uuid4().hex}")
    shutil.copytree(source, staging)
    for path in [*staging.rglob("*"), staging]:
        sync_file(path)
    try:
        staging.rename(target)
    except OSError:
        if not target.exists():
            raise
        shutil.rmtree(staging)
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """fsync a folder's list of names: without it a power cut may lose files that are whole."""
    sync_file(folder)


def sync_file(path: Path) -> None:
    """fsync a file that was written and closed, so that its content survives a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_folder(folder: Path) -> str:
    """A content address: over the sorted relative paths and hashes of all files."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{sha256_of_file(path)}\n".encode())
    return digest.hexdigest()
