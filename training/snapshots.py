"""Freezing a run's data: written once into the job folder, kept under its content address."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from training import selectors
from training.jobs.folder import JobFolder, keep_folder, sha256_of_folder
from training.jobs.params import parse_params
from training.jobs.spec import DataFile, data_of
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
    params = parse_params(run.kind, run.params)
    names = [*data_of(run.kind, params)]
    if run.kind == Run.Kind.REWARD:
        # The reward model is shifted so that demonstrations score 0 on average.
        names.append("demonstrations")
    return {name: selectors.rows_of(run, name) for name in names}
