"""A running job: its folder, its spec, its events, and whether it has been asked to stop."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from training.jobs.events import EventWriter
from training.jobs.folder import JobFolder
from training.jobs.spec import DATA_OF_KIND, JobSpec
from training.rlhf.errors import Interrupted


@dataclass
class Job:
    """What every trainer is given. ``stopping`` is set by the handler of SIGTERM."""

    folder: JobFolder
    spec: JobSpec
    events: EventWriter
    stopping: bool = False

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows that this kind of run works on."""
        return self.folder.read_data(self.spec.data[DATA_OF_KIND[self.spec.kind]])

    def demonstrations(self) -> list[dict[str, Any]]:
        """Those given beside the comparisons; may be none."""
        entry = self.spec.data.get("demonstrations")
        return list(self.folder.read_data(entry)) if entry else []

    def stop_if_asked(self) -> None:
        """For places where nothing has to be saved: raises Interrupted after a SIGTERM."""
        if self.stopping:
            raise Interrupted
