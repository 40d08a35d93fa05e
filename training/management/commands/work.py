"""``manage.py work``: the worker of the embedded mode. It polls the table that is the queue."""

from __future__ import annotations

import signal
import threading
import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.db import DatabaseError, InterfaceError, close_old_connections

from labeling.tasks import compute_quality, release_ended_leases, work_lightly
from training.execution import run_next
from training.models import GPU_QUEUE

POLL_SECONDS = 1.0
SWEEP_SECONDS = 10.0


class Command(BaseCommand):
    help = "Do queued runs, one at a time, until told to stop. SIGTERM: checkpoint and hand back."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--queue", default=GPU_QUEUE)
        parser.add_argument("--once", action="store_true", help="end when the queue is empty")

    def handle(self, *args: Any, **options: Any) -> None:
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        self.stdout.write(f"worker: waiting for runs on queue {options['queue']}")
        light = threading.Thread(target=work_lightly, args=[stop], name="light work", daemon=True)
        if not options["once"]:
            light.start()
        sweep_at = 0.0
        while not stop.is_set():
            if time.monotonic() >= sweep_at:
                self._sweep()
                sweep_at = time.monotonic() + SWEEP_SECONDS
            if self._try_next(options["queue"], stop):
                continue
            if options["once"]:
                compute_quality(stop)
                break
            stop.wait(POLL_SECONDS)
        self.stdout.write("worker: stopped")

    def _sweep(self) -> None:
        close_old_connections()
        try:
            release_ended_leases()
        except (DatabaseError, InterfaceError) as error:
            self.stderr.write(f"worker: the database does not answer: {error}")

    def _try_next(self, queue: str, stop: threading.Event) -> bool:
        close_old_connections()
        try:
            return run_next(queue, stop)
        except (DatabaseError, InterfaceError) as error:
            # The database may be restarting; the loop must outlive it.
            self.stderr.write(f"worker: the database does not answer: {error}")
            return False
