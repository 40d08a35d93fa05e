"""One run from claim to end.

1. Sweep: runs of lost workers go back to the queue.
2. Claim the oldest due run; a fresh token fences all that follows.
3. Freeze its data and write the spec, unless an earlier attempt did.
4. Start the trainer; every tick: heartbeat, events to rows, completions to tasks, cancel, stop.
5. Read its exit: publish, requeue, or fail with the last lines of its log.
"""

from __future__ import annotations

import logging
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

from django.conf import settings
from django.db import DatabaseError, InterfaceError, close_old_connections, connection
from django.db import OperationalError as DatabaseUnavailable

from training import lifecycle, snapshots
from training.errors import RunFenced
from training.execution.process import Trainer
from training.execution.publish import CompletionPublisher, publish_model
from training.jobs.events import Event as TrainerEvent
from training.jobs.events import read_events
from training.jobs.folder import EXIT_INTERRUPTED, JobFolder
from training.jobs.params import parse_params
from training.jobs.spec import JobSpec
from training.models import Run

logger = logging.getLogger(__name__)

TICK_SECONDS = 0.5
MAX_ERROR_LINES = 30


def run_next(queue: str, stop: Event) -> bool:
    """Do the next run of ``queue``; False when there was none.

    ``stop`` asks for an early end: the trainer writes a checkpoint and the run goes back to the
    queue.
    """
    lifecycle.sweep()
    run = lifecycle.claim(queue)
    if run is None:
        return False
    logger.info("%s: attempt %d", run, run.attempt)
    try:
        _do(run, stop)
    except RunFenced:
        logger.warning("%s: lost to another worker", run)
    except (DatabaseUnavailable, InterfaceError):
        # The database is away, not the run at fault: its lease ends, and a sweep finds it.
        raise
    except Exception as error:
        # The task wrapper: whatever went wrong must end as a reason that a person can read.
        logger.exception("%s: the worker failed", run)
        _fail_unless_fenced(run, f"{type(error).__name__}: {error}")
    return True


def _do(run: Run, stop: Event) -> None:
    folder = JobFolder(run.folder)
    with _lease_kept(run):
        _prepare(run, folder)
    supervisor = _Supervisor(run, folder, stop)
    try:
        exit_code = supervisor.wait()
    finally:
        supervisor.trainer.kill()
    with _lease_kept(run):
        _conclude(run, folder, supervisor, exit_code)


@contextmanager
def _lease_kept(run: Run) -> Iterator[None]:
    """Heartbeats while this thread is busy with files: freezing and copying may take minutes."""
    done = Event()

    def beat() -> None:
        try:
            while not done.wait(settings.RUN_LEASE_SECONDS / 6):
                lifecycle.heartbeat(run)
        except RunFenced:
            # The next fenced write of the other thread says so too.
            logger.warning("%s: lost while its files were written", run)
        except (DatabaseError, InterfaceError):
            logger.warning("%s: the database does not answer", run, exc_info=True)
        finally:
            connection.close()

    thread = Thread(target=beat, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _prepare(run: Run, folder: JobFolder) -> None:
    # The row tells whether this run was ever prepared: a folder without that is another database's.
    if run.snapshot_id is not None and (folder.root / "job.json").exists():
        return
    if folder.root.exists():
        shutil.rmtree(folder.root)
    folder.create()
    snapshot, files = snapshots.freeze(run, folder)
    folder.write_spec(
        JobSpec(
            run=str(run.pk),
            kind=run.kind,
            seed=run.seed,
            model=run.model.location,
            reward_model=run.reward_model.location if run.reward_model else None,
            params=parse_params(run.kind, run.params),
            data=files,
        )
    )
    lifecycle.record_snapshot(run, snapshot)


class _Supervisor:
    """Watches one trainer and keeps the row true."""

    def __init__(self, run: Run, folder: JobFolder, stop: Event) -> None:
        self.run = run
        self.folder = folder
        self.stop = stop
        self.offset = 0
        self.stored = run.events.count()
        self.seen = 0
        self.latest: TrainerEvent | None = None
        self.completions = CompletionPublisher(run, folder) if run.kind == "sample" else None
        self.next_heartbeat = 0.0
        self.held_until = time.monotonic() + settings.RUN_LEASE_SECONDS
        self.kill_at: float | None = None
        self.trainer = Trainer(run.kind, folder)

    def wait(self) -> int:
        """The trainer's exit code. Raises RunFenced when the lease is lost."""
        while (exit_code := self.trainer.exit_code()) is None:
            self._tick()
            time.sleep(TICK_SECONDS)
        self._copy()
        return self._translated(exit_code)

    def _translated(self, exit_code: int) -> int:
        """What the status of a launcher stands for: it is 1 whatever its processes ended with.

        They say why they end, unless they are killed.
        """
        says_itself = exit_code <= 0 or exit_code == EXIT_INTERRUPTED
        if says_itself or not settings.TRAINER_LAUNCH:
            return exit_code
        if self.latest is None:
            # Ended before it could say anything: because it was told to, or it never began.
            return exit_code if self.kill_at is None else EXIT_INTERRUPTED
        meanings = {"interrupted": EXIT_INTERRUPTED, "failed": exit_code}
        return meanings.get(self.latest.phase, -signal.SIGKILL)

    def reason(self) -> str:
        """Why the trainer says that it failed; empty when it says nothing."""
        if self.latest is None or self.latest.phase != "failed":
            return ""
        return f"{self.latest.metrics.get('error', '')}\n\n"

    def _tick(self) -> None:
        close_old_connections()
        try:
            self._copy()
            asked_at = time.monotonic()
            if asked_at >= self.next_heartbeat:
                lifecycle.heartbeat(self.run)
                self.next_heartbeat = asked_at + settings.RUN_LEASE_SECONDS / 6
                self.held_until = asked_at + settings.RUN_LEASE_SECONDS
        except (DatabaseError, InterfaceError):
            # Training goes on through an outage of the database, but not past the lease: another
            # worker may hold the run by then.
            logger.warning("%s: the database does not answer", self.run, exc_info=True)
            if time.monotonic() > self.held_until:
                raise RunFenced from None
        self._stop_if_asked()

    def _copy(self) -> None:
        """New events become rows; sampled prompts become tasks."""
        events, offset = read_events(self.folder.events, self.offset)
        # After a restart the file still begins with the lines of the earlier attempt.
        known = max(0, min(len(events), self.stored - self.seen))
        lifecycle.record_events(self.run, self.seen + known, events[known:])
        self.latest = events[-1] if events[known:] else self.latest
        # Not before they are stored: what the database did not take is read again.
        self.offset, self.seen = offset, self.seen + len(events)
        if self.completions:
            self.completions.publish_new()

    def _stop_if_asked(self) -> None:
        if not (self.run.cancel_requested or self.stop.is_set()):
            return
        if self.kill_at is None:
            self.trainer.ask_to_stop()
            self.kill_at = time.monotonic() + settings.TRAINER_GRACE_SECONDS
        elif time.monotonic() > self.kill_at:
            self.trainer.kill()


def _conclude(run: Run, folder: JobFolder, supervisor: _Supervisor, exit_code: int) -> None:
    result = folder.read_result() if exit_code == 0 else None
    if result is not None and supervisor.completions is not None:
        lifecycle.succeed(run, result["metrics"])
    elif result is not None:
        publish_model(run, folder, result)
    elif run.cancel_requested:
        lifecycle.cancel_running(run)
    elif supervisor.stop.is_set() and (exit_code == EXIT_INTERRUPTED or exit_code < 0):
        lifecycle.requeue_interrupted(run)
    elif exit_code == EXIT_INTERRUPTED or exit_code < 0:
        how = f"killed by signal {-exit_code}" if exit_code < 0 else "stopped by somebody else"
        lifecycle.requeue_or_fail(run, f"The trainer was {how}.\n{supervisor.trainer.log_tail()}")
    else:
        lines = supervisor.trainer.log_tail().splitlines()[-MAX_ERROR_LINES:]
        status = f"The trainer ended with status {exit_code}."
        lifecycle.fail(run, supervisor.reason() + "\n".join([status, *lines]))


def _fail_unless_fenced(run: Run, error: str) -> None:
    try:
        lifecycle.fail(run, error)
    except RunFenced:
        logger.warning("%s: lost to another worker", run)
