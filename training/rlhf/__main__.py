"""``python -m training.rlhf KIND --job DIR``: runs the job in a folder, then exits.

0: done, ``result.json`` is there. 75: asked to stop by SIGTERM, what is needed to go on is in the
folder. Anything else: failed, the last event and standard error say why.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from training.jobs.events import EventWriter
from training.jobs.folder import EXIT_INTERRUPTED, JobFolder
from training.jobs.spec import KINDS, JobSpec
from training.rlhf.errors import Interrupted
from training.rlhf.job import Job

THREADS = "PODIUM_TORCH_THREADS"


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status. Heavy libraries load only once the job is known to be readable."""
    parser = argparse.ArgumentParser(prog="python -m training.rlhf", description=__doc__)
    parser.add_argument("kind", choices=KINDS, help="what to do; the job must be of this kind")
    parser.add_argument("--job", type=Path, required=True, help="the job folder")
    chosen = parser.parse_args(arguments)
    folder = JobFolder(chosen.job)
    if not chosen.job.is_dir():
        parser.error(f"no folder at {chosen.job}")
    folder.create()
    events = EventWriter(folder.events)
    try:
        return _run(folder, events, chosen.kind)
    except Interrupted:
        events.write("interrupted")
        return EXIT_INTERRUPTED
    except Exception as error:  # noqa: BLE001  (the one place that turns any failure into an event)
        traceback.print_exc()
        events.write("failed", error=f"{error}" or type(error).__name__)
        return 1


def _run(folder: JobFolder, events: EventWriter, kind: str) -> int:
    spec = folder.read_spec()
    if spec.kind != kind:
        raise ValueError(f"the job is of kind {spec.kind}, not {kind}")
    job = Job(folder, spec, events)

    def stop(*_: object) -> None:
        job.stopping = True

    signal.signal(signal.SIGTERM, stop)
    _prepare_environment(spec)
    events.write("starting")
    _use_threads()
    importlib.import_module(f"training.rlhf.{kind}").run(job)
    return 0


def _prepare_environment(spec: JobSpec) -> None:
    """Before the libraries load, because they read these once."""
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TQDM_DISABLE", "1")
    # Threads that spin while they wait lose several times over where cores are shared.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    models = [name for name in (spec.model, spec.reward_model) if name]
    if all(Path(name).is_dir() for name in models):
        for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"):
            os.environ[name] = "1"


def _use_threads() -> None:
    import torch

    if os.environ.get(THREADS):
        torch.set_num_threads(int(os.environ[THREADS]))


if __name__ == "__main__":
    sys.exit(main())
