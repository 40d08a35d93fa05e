"""What a worker does for labeling on the clock; harmless however often and wherever it runs."""

from __future__ import annotations

from celery import shared_task

from labeling import lifecycle


@shared_task(name="labeling.release_ended_leases", ignore_result=True)
def release_ended_leases() -> None:
    lifecycle.release_ended_leases()
