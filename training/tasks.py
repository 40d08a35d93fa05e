"""Celery's face: a doorbell.

The message carries only the queue's name; what is to be done stands in the database.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

from celery import shared_task
from celery.signals import worker_ready, worker_shutting_down
from django.conf import settings
from django.db import DatabaseError, InterfaceError, close_old_connections, transaction
from kombu.exceptions import KombuError, OperationalError

from labeling.tasks import release_ended_leases, work_lightly
from training import execution, lifecycle
from training.models import GPU_QUEUE

logger = logging.getLogger(__name__)

SWEEP_SECONDS = 10.0
stop = threading.Event()


@shared_task(name="training.run_next", ignore_result=True, acks_late=False)
def run_next(queue: str) -> None:
    """Do runs until the queue is empty. A second ring finds nothing and costs nothing."""
    while not stop.is_set() and execution.run_next(queue, stop):
        pass


def ring(queue: str = GPU_QUEUE) -> None:
    """Wake a worker once the present transaction is committed.

    A lost ring delays a run by one sweep; a broker that is down must not fail a request.
    """
    if settings.REDIS_URL:
        transaction.on_commit(lambda: _send(queue), robust=True)


def _send(queue: str) -> None:
    try:
        # Rings for a busy worker must not pile up: the sweep rings again while a run is due.
        run_next.apply_async((queue,), queue=queue, retry=False, expires=6 * SWEEP_SECONDS)
    except (OperationalError, KombuError, OSError):
        logger.warning("the broker does not answer; the next sweep starts the run", exc_info=True)


@worker_ready.connect
def _watch_the_queue(**_: Any) -> None:
    threading.Thread(target=_sweep_for_ever, name="sweeper", daemon=True).start()
    threading.Thread(target=work_lightly, args=[stop], name="light work", daemon=True).start()


def _sweep_for_ever() -> None:
    """Redis may lose every ring: what is due is found here all the same."""
    while not stop.wait(SWEEP_SECONDS):
        close_old_connections()
        try:
            release_ended_leases()
            lifecycle.sweep()
            due = lifecycle.due_queues()
        except (DatabaseError, InterfaceError):
            logger.warning("the sweep found no database", exc_info=True)
            continue
        for queue in due:
            _send(queue)


@worker_shutting_down.connect
def _stop_the_trainer(**_: Any) -> None:
    stop.set()
