"""What a worker does for labeling on the clock; harmless however often and wherever it runs."""

from __future__ import annotations

import logging
from threading import Event

from django.db import DatabaseError, InterfaceError, close_old_connections

from labeling import lifecycle
from labeling.execution.quality import compute_next_quality

logger = logging.getLogger(__name__)

LIGHT_WORK_SECONDS = 20.0


def release_ended_leases() -> None:
    """Slots whose lease has ended become free; both kinds of worker call it as they sweep."""
    lifecycle.release_ended_leases()


def compute_quality(stop: Event) -> None:
    """Quality figures of every pool that is due."""
    while not stop.is_set() and compute_next_quality():
        pass


def work_lightly(stop: Event) -> None:
    """Light work until ``stop``, in a thread of its own beside runs that take hours."""
    while not stop.wait(LIGHT_WORK_SECONDS):
        close_old_connections()
        try:
            compute_quality(stop)
        except (DatabaseError, InterfaceError):
            logger.warning("light work found no database", exc_info=True)
