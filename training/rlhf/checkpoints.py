"""Checkpoints that are whole or not there: a manifest of hashes, written last, vouches for each.

A kill at any moment leaves either a folder without a manifest, which is ignored, or one that can be
checked byte by byte. What fails the check is set aside under another name, for a person to look at,
and the one before it is used.

Of several ranks the first one writes, looks and clears; all of them must call.
"""

from __future__ import annotations

import errno
import json
import logging
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from training.jobs.folder import sha256_of_file, sync_file, sync_folder, write_json
from training.rlhf import distributed
from training.rlhf.errors import TrainingError

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"
NAME = re.compile(r"checkpoint-(\d+)")


def write(root: Path, step: int, fill: Callable[[Path], None]) -> Path:
    """Let ``fill`` write into a staging folder, then publish it as ``checkpoint-<step>``.

    What only the other ranks know must be gathered before.
    """
    if distributed.is_main():
        _write(root, step, fill)
    distributed.barrier()
    return root / f"checkpoint-{step}"


def _write(root: Path, step: int, fill: Callable[[Path], None]) -> None:
    staging = root / f"staging-{step}"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    fill(staging)
    seal(staging)
    final = root / f"checkpoint-{step}"
    shutil.rmtree(final, ignore_errors=True)
    staging.rename(final)
    sync_folder(root)


def seal(folder: Path) -> None:
    """fsync every file and record its hash; only then is the folder a checkpoint."""
    (folder / MANIFEST).unlink(missing_ok=True)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in files:
        sync_file(path)
    hashes = {path.relative_to(folder).as_posix(): sha256_of_file(path) for path in files}
    write_json(folder / MANIFEST, {"files": hashes})


def newest(root: Path) -> Path | None:
    """The newest checkpoint whose files are as they were written; damaged ones are set aside.

    Raises:
        TrainingError: all are damaged. To start over in silence would hide that the disk fails.
    """
    return distributed.from_main(lambda: _newest(root))


def _newest(root: Path) -> Path | None:
    damaged = [folder.name for folder in root.glob("damaged-*")]
    for folder in reversed(_numbered(root)):
        if not (folder / MANIFEST).is_file():
            continue
        if is_whole(folder):
            return folder
        aside = _free_name(root / f"damaged-{folder.name}")
        folder.rename(aside)
        damaged.append(aside.name)
        logger.warning("%s is not as it was written: set aside as %s", folder, aside.name)
    if damaged:
        raise TrainingError(
            f"every checkpoint is damaged ({', '.join(sorted(damaged))}): check the disk under "
            f"{root}, remove them and the run begins anew"
        )
    return None


def is_whole(folder: Path) -> bool:
    """Whether every file of the manifest is there, readable and unchanged.

    Raises:
        OSError: something else stands in the way, such as too many open files. That is no damage.
    """
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        return all(sha256_of_file(folder / name) == digest for name, digest in files.items())
    except (FileNotFoundError, ValueError, KeyError):
        return False
    except OSError as error:
        if error.errno == errno.EIO:
            return False
        raise


def step_of(folder: Path) -> int:
    match = NAME.fullmatch(folder.name)
    return int(match.group(1)) if match else 0


def prune(root: Path, keep: int = 2, spare: int | None = None) -> None:
    """Remove all but the newest and that of step ``spare``: two, so that one damaged does not
    cost the run. Those that a kill left without a manifest do not count.
    """
    if not distributed.is_main():
        return
    sealed = [folder for folder in _numbered(root) if (folder / MANIFEST).is_file()]
    oldest = step_of(sealed[-keep:][0]) if sealed else 0
    for folder in _numbered(root):
        if step_of(folder) < oldest and step_of(folder) != spare:
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
