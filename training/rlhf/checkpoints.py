"""Checkpoints that are whole or not there: a manifest of hashes, written last, vouches for each.

A kill at any moment leaves either a folder without a manifest, which is ignored, or one that can be
checked byte by byte. What fails the check is set aside under another name, for a person to look at,
and the one before it is used.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from training.jobs.folder import sha256_of_file, sync_folder, write_json

MANIFEST = "manifest.json"
NAME = re.compile(r"checkpoint-(\d+)")


def write(root: Path, step: int, fill: Callable[[Path], None]) -> Path:
    """Let ``fill`` write into a staging folder, then publish it as ``checkpoint-<step>``."""
    staging = root / f"staging-{step}"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    fill(staging)
    seal(staging)
    final = root / f"checkpoint-{step}"
    shutil.rmtree(final, ignore_errors=True)
    staging.rename(final)
    sync_folder(root)
    return final


def seal(folder: Path) -> None:
    """fsync every file and record its hash; only then is the folder a checkpoint."""
    (folder / MANIFEST).unlink(missing_ok=True)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in files:
        _sync_file(path)
    hashes = {path.relative_to(folder).as_posix(): sha256_of_file(path) for path in files}
    write_json(folder / MANIFEST, {"files": hashes})


def newest(root: Path) -> Path | None:
    """The newest checkpoint whose files are as they were written; damaged ones are set aside."""
    for folder in reversed(_numbered(root)):
        if not (folder / MANIFEST).is_file():
            continue
        if is_whole(folder):
            return folder
        folder.rename(_free_name(root / f"damaged-{folder.name}"))
    return None


def is_whole(folder: Path) -> bool:
    """Whether every file of the manifest is there and unchanged."""
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        return all(sha256_of_file(folder / name) == digest for name, digest in files.items())
    except (OSError, ValueError, KeyError):
        return False


def step_of(folder: Path) -> int:
    match = NAME.fullmatch(folder.name)
    return int(match.group(1)) if match else 0


def prune(root: Path, keep: int = 2) -> None:
    """Remove all but the newest: two, so that one damaged does not cost the run."""
    for folder in _numbered(root)[:-keep]:
        shutil.rmtree(folder)


def clear(root: Path) -> None:
    """Remove all checkpoints, whole or not."""
    for pattern in ("checkpoint-*", "staging-*"):
        for folder in root.glob(pattern):
            shutil.rmtree(folder)


def _numbered(root: Path) -> list[Path]:
    found = [path for path in root.glob("checkpoint-*") if NAME.fullmatch(path.name)]
    return sorted(found, key=step_of)


def _free_name(path: Path) -> Path:
    candidates = [path, *(path.with_name(f"{path.name}.{n}") for n in range(1, 1000))]
    return next(candidate for candidate in candidates if not candidate.exists())


def _sync_file(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
