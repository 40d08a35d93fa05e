"""``python -m training.rlhf KIND --job DIR``: runs the job in a folder, then exits.

0: done, ``result.json`` is there. 75: asked to stop by SIGTERM, what is needed to go on is in the
folder. Anything else: failed, the last event and standard error say why.

``accelerate launch`` starts the same program once a GPU. The first rank writes; how the run ended
is told by the rank that ends first, as what follows on the others is only its echo. A launcher
exits with 1 whatever its processes ended with, so the last event is what tells a stop from a
failure.
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
from typing import Any

from training.jobs.errors import SpecError
from training.jobs.events import EventWriter
from training.jobs.folder import EXIT_INTERRUPTED, JobFolder
from training.jobs.launch import die_with_parent
from training.jobs.spec import KINDS, JobSpec
from training.rlhf.errors import Interrupted, TrainingError
from training.rlhf.job import Job, SilentEvents
from training.rlhf.memory import keep_freed_memory

THREADS = "PODIUM_TORCH_THREADS"
ONLINE = {"ppo", "rloo", "grpo"}


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
    try:
        return _run(folder, chosen.kind)
    except Interrupted:
        _tell(folder, "interrupted")
        return EXIT_INTERRUPTED
    except Exception as error:  # noqa: BLE001  (the one place that turns any failure into an event)
        traceback.print_exc()
        _tell(folder, "failed", error=_in_one_line(error))
        return 1


def _run(folder: JobFolder, kind: str) -> int:
    spec = folder.read_spec()
    if spec.kind != kind:
        raise SpecError("kind", f"the job is of kind {spec.kind}, not {kind}")
    job = Job(folder, spec, _events(folder))
    if folder.read_result() is not None:
        # Whoever started it did not learn that it had ended.
        job.events.write("done_before")
        return 0

    def stop(*_: object) -> None:
        job.stopping = True

    def stop_now(*_: object) -> None:
        # A library may catch the exception; the job remembers.
        job.stopping = True
        raise Interrupted

    # Until the ranks have met there is nothing to keep, and waiting for them may take long.
    signal.signal(signal.SIGTERM, stop_now)
    job.events.write("starting")
    _prepare_environment(spec)
    if _is_rank():
        _join()
    _refuse_sharding(kind)
    signal.signal(signal.SIGTERM, stop)
    job.stop_if_asked()
    _use_threads()
    keep_freed_memory()
    importlib.import_module(f"training.rlhf.{kind}").run(job)
    return 0


def _is_rank() -> bool:
    """Whether a launcher started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", 1)) > 1


def _join() -> None:
    """Meet the other ranks. A launcher puts each in a session of its own: without the death signal
    they would outlive a launcher that is killed.
    """
    die_with_parent()
    from training.rlhf import distributed

    distributed.start()


def _refuse_sharding(kind: str) -> None:
    """Raises TrainingError for kinds that write completions with the weights that they train: each
    token would gather them anew.
    """
    from training.rlhf import distributed

    if kind in ONLINE and (spread := distributed.sharded()):
        raise TrainingError(
            f"a {kind} run cannot spread its weights over GPUs ({spread}): start it with "
            "accelerate/ddp.yaml; where memory is short, set lora_rank in a ppo run"
        )


def _events(folder: JobFolder) -> EventWriter:
    return EventWriter(folder.events) if os.environ.get("RANK", "0") == "0" else SilentEvents()


def _tell(folder: JobFolder, phase: str, **metrics: Any) -> None:
    """The end of the run, once, by the rank that comes first."""
    if _is_rank():
        from training.rlhf import distributed

        if not distributed.is_first("end"):
            return
    EventWriter(folder.events).write(phase, **metrics)


def _in_one_line(error: Exception) -> str:
    """What a person is shown; the whole of it is on standard error."""
    return " ".join(str(error).split()) or type(error).__name__


def _prepare_environment(spec: JobSpec) -> None:
    """Before the libraries load, because they read these once."""
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TQDM_DISABLE", "1")
    # Threads that spin while they wait lose several times over where cores are shared.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if not _is_rank():
        # One process, one device: with several in sight the library would split each batch.
        seen = os.environ.get("CUDA_VISIBLE_DEVICES", "0")
        os.environ["CUDA_VISIBLE_DEVICES"] = seen.split(",")[0]
    models = [name for name in (spec.model, spec.reward_model) if name]
    if all(Path(name).is_dir() for name in models):
        for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"):
            os.environ[name] = "1"


def _use_threads() -> None:
    import torch

    if os.environ.get(THREADS):
        torch.set_num_threads(int(os.environ[THREADS]))


if __name__ == "__main__":
    status = main()
    if _is_rank():
        from training.rlhf import distributed

        distributed.end(status)
    sys.exit(status)
