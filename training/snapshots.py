"""Freezing a run's data: written once into the job folder, kept under its content address."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from training import selectors
from training.jobs.folder import JobFolder, keep_folder, sha256_of_folder
from training.jobs.spec import DataFile
from training.models import Run, Snapshot, snapshot_folder

Files = dict[str, Iterator[selectors.Row]]


def freeze(run: Run, folder: JobFolder) -> tuple[Snapshot, dict[str, DataFile]]:
    """Write the data of ``run`` into ``folder`` and the store: the same data, the same address."""
    files = {name: folder.write_data(name, rows) for name, rows in _rows_of(run).items()}
    digest = sha256_of_folder(folder.data)
    keep_folder(folder.data, snapshot_folder(digest))
    snapshot, _ = Snapshot.objects.get_or_create(
        digest=digest, defaults={"files": {name: asdict(file) for name, file in files.items()}}
    )
    return snapshot, files


def _rows_of(run: Run) -> Files:
    if run.kind == Run.Kind.SAMPLE:
        assert run.pool is not None
        return {"prompts": selectors.prompts_to_sample(run.pool, run.round)}
    if run.kind == Run.Kind.SFT:
        return {"demonstrations": selectors.demonstrations(run.pool)}
    if run.kind in (Run.Kind.PPO, Run.Kind.REJECTION):
        return {"prompts": selectors.prompts(run.pool)}
    comparisons = {"comparisons": selectors.comparison_groups(run.pool, run.labelers)}
    if run.kind == Run.Kind.DPO:
        return comparisons
    # The reward model is shifted so that demonstrations score 0 on average.
    return {**comparisons, "demonstrations": selectors.demonstrations(run.pool)}
