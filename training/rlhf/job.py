"""A running job: its folder, its spec, its events, and whether it has been asked to stop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from training.jobs.events import EventWriter
from training.jobs.folder import JobFolder
from training.jobs.spec import DATA_OF_KIND, JobSpec
from training.rlhf.errors import Interrupted


class SilentEvents(EventWriter):
    """What all ranks but the first write to: an event is told once."""

    def __init__(self) -> None:
        pass

    def write(self, phase: str, *, step: int = 0, total: int = 0, **metrics: object) -> None:
        pass

    def close(self) -> None:
        pass


@dataclass
class Job:
    """What every trainer is given. ``stopping`` is set by the handler of SIGTERM, on this rank."""

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
        """For places where nothing has to be saved: raises Interrupted after a SIGTERM.

        Ranks are not asked: a launcher passes SIGTERM on to all, and as soon as one has ended, the
        others are ended too.
        """
        if self.stopping:
            raise Interrupted

    def any_rank_stopping(self) -> bool:
        """For places where a checkpoint comes first: what one rank knows, all do. Every rank must
        ask.
        """
        # Imported here: torch is not needed to read a job.
        from training.rlhf import distributed

        return distributed.any_rank(self.stopping)

    def finish(self, artifact: str, metrics: Mapping[str, Any], *, total: int = 0) -> None:
        """Write ``result.json`` and say so. The other ranks wait for it."""
        from training.rlhf import distributed

        if distributed.is_main():
            self.folder.write_result(artifact=artifact, metrics=metrics)
        self.events.write("done", step=total, total=total, **metrics)
        distributed.barrier()
