"""What a worker does for labeling on the clock; harmless however often and wherever it runs."""

from __future__ import annotations

from labeling import lifecycle


def release_ended_leases() -> None:
    """Slots whose lease has ended become free; both kinds of worker call it as they sweep."""
    lifecycle.release_ended_leases()
