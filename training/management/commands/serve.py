"""``manage.py serve``: the web server and, in the embedded mode, one worker beside it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from training.jobs.launch import guarded
from training.management.first_start import prepare

# A thread is held by each body that arrives slowly and each export that is read slowly.
WEB_THREADS = 32
# What a worker needs beyond its trainer's time to write a checkpoint.
SPARE_SECONDS = 30
RESTART_SECONDS = 5.0


class Command(BaseCommand):
    help = "Migrate, prepare a first start, and serve until stopped."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default=os.environ.get("HOST") or "127.0.0.1")
        parser.add_argument("--port", type=int, default=int(os.environ.get("PORT") or 8000))

    def handle(self, *args: Any, **options: Any) -> None:
        host, port = options["host"], options["port"]
        _check_free(host, port)
        call_command("migrate", interactive=False, verbosity=0)
        prepare(self.stdout.write)
        signal.signal(signal.SIGTERM, _raise_interrupt)
        web = _start(
            "-m",
            "gunicorn",
            "config.wsgi",
            f"--bind={host}:{port}",
            "--worker-class=gthread",
            f"--threads={WEB_THREADS}",
            "--timeout=120",
            "--no-control-socket",
        )
        self.stdout.write(f"Podium is at http://{host}:{port}/  (data in {settings.DATA_DIR})")
        self.stdout.flush()
        # In service mode the workers are Celery's, on whatever machines they are wanted.
        self.worker = None if settings.REDIS_URL else _start_worker()
        try:
            self._watch(web)
        except KeyboardInterrupt:
            self.stdout.write("Stopping: a running job writes its checkpoint first …")
        finally:
            _stop(process for process in (web, self.worker) if process)

    def _watch(self, web: subprocess.Popen[bytes]) -> None:
        """Until the web server ends; a worker that ends is replaced."""
        while web.poll() is None:
            if self.worker is not None and self.worker.poll() is not None:
                status = self.worker.returncode
                self.stderr.write(f"The worker ended with status {status}; starting it again.")
                time.sleep(RESTART_SECONDS)
                self.worker = _start_worker()
            time.sleep(0.5)
        raise CommandError(f"The web server ended with status {web.returncode}.")


def _start(*arguments: str) -> subprocess.Popen[bytes]:
    program = guarded([sys.executable, *arguments])
    # A session of its own: Ctrl+C reaches us alone, and we stop the parts in order.
    return subprocess.Popen(program, cwd=settings.BASE_DIR, start_new_session=True)


def _start_worker() -> subprocess.Popen[bytes]:
    return _start("manage.py", "work")


def _stop(processes: Any) -> None:
    running = [process for process in processes if process.poll() is None]
    for process in running:
        process.terminate()
    deadline = time.monotonic() + settings.TRAINER_GRACE_SECONDS + SPARE_SECONDS
    for process in running:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()


def _check_free(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            raise CommandError(
                f"{host}:{port} cannot be used: {error}. Choose another with PORT."
            ) from error


def _raise_interrupt(*_: object) -> None:
    raise KeyboardInterrupt
