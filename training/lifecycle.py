"""The only writer of run states. Each move is one guarded UPDATE; its row count tells whether it
held.

Whoever claims a run gets a fresh token. Heartbeats, progress and the end are fenced by it: a worker
that slept past its lease finds no row and must stop. All times are the database's.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Case, F, Q, QuerySet, Value, When
from django.db.models.functions import Now

from labeling.lifecycle import current_round, open_round
from labeling.models import Round, User
from training.errors import NotPromotable, RunFenced
from training.jobs.events import Event
from training.models import ModelVersion, Promotion, Run, RunEvent, Snapshot

BACKOFF_SECONDS = 15
MAX_ERROR_CHARACTERS = 8000
LEASE_ENDED = Q(state=Run.State.RUNNING, lease_until__lte=Now())
UNLEASED: dict[str, Any] = {"lease_token": None, "lease_until": None}


def claim(queue: str) -> Run | None:
    """Take the oldest due run of ``queue``; None when there is none."""
    due = _due_runs().filter(queue=queue).order_by("id")
    # An idle worker asks every second: it must not take SQLite's write lock to learn that all is
    # quiet.
    if not due.exists():
        return None
    with transaction.atomic():
        run = due.select_for_update(skip_locked=True).first()
        if run is None:
            return None
        Run.objects.filter(pk=run.pk).update(
            state=Run.State.RUNNING,
            attempt=F("attempt") + 1,
            lease_token=uuid.uuid4(),
            lease_until=_lease_end(),
            started_at=Now(),
            error="",
        )
        run.refresh_from_db()
    return run


def heartbeat(run: Run) -> None:
    """Extend the lease and read whether a cancel was asked for. Raises RunFenced if it is lost."""
    _fenced_update(run, lease_until=_lease_end())
    run.cancel_requested = Run.objects.values_list("cancel_requested", flat=True).get(pk=run.pk)


@transaction.atomic
def record_events(run: Run, first_number: int, events: Sequence[Event]) -> None:
    """Store events and the progress they tell of. Raises RunFenced when the lease is lost."""
    if not events:
        return
    last = events[-1]
    run.metrics = {**run.metrics, **{k: v for e in events for k, v in _figures(e).items()}}
    _fenced_update(
        run,
        lease_until=_lease_end(),
        phase=last.phase[:64],
        progress=min(1.0, last.step / last.total) if last.total else 0.0,
        metrics=run.metrics,
    )
    RunEvent.objects.bulk_create(
        RunEvent(
            run=run,
            number=number,
            phase=event.phase[:64],
            step=event.step,
            total=event.total,
            metrics=event.metrics,
            happened_at=datetime.fromtimestamp(event.time, tz=UTC),
        )
        for number, event in enumerate(events, start=first_number)
    )


def _figures(event: Event) -> dict[str, Any]:
    """What of an event is a figure; texts and lists stay with the event."""
    return {k: v for k, v in event.metrics.items() if v is None or isinstance(v, int | float)}


def succeed(run: Run, metrics: Mapping[str, Any], made: ModelVersion | None = None) -> None:
    """The result's metrics replace those of the events, which remain with the events.

    Raises RunFenced; call it in the transaction that publishes what the run made.
    """
    _fenced_update(
        run,
        state=Run.State.SUCCEEDED,
        progress=1.0,
        metrics=dict(metrics),
        made=made,
        finished_at=Now(),
        **UNLEASED,
    )


def fail(run: Run, error: str) -> None:
    _fenced_update(
        run,
        state=Run.State.FAILED,
        error=error[-MAX_ERROR_CHARACTERS:],
        finished_at=Now(),
        **UNLEASED,
    )


def cancel_running(run: Run) -> None:
    _fenced_update(run, state=Run.State.CANCELLED, finished_at=Now(), **UNLEASED)


def record_snapshot(run: Run, snapshot: Snapshot) -> None:
    """From now on the run's folder is its own, and an attempt after this one goes on from it."""
    _fenced_update(run, snapshot=snapshot)
    run.snapshot = snapshot


def requeue_interrupted(run: Run) -> None:
    """The worker had to stop and the trainer wrote a checkpoint: the attempt is not charged."""
    _fenced_update(run, attempt=F("attempt") - 1, **_queued_again())


def requeue_or_fail(run: Run, error: str) -> None:
    """The trainer was killed: try again after a while, but not for ever."""
    if run.attempt >= settings.RUN_MAX_ATTEMPTS:
        fail(run, f"{error}\nGiven up after {run.attempt} attempts.")
        return
    again = {**_queued_again(), "not_before": _backoff(run.attempt)}
    _fenced_update(run, error=error[-MAX_ERROR_CHARACTERS:], **again)


def request_cancel(run: Run) -> bool:
    """End a queued run, or ask the worker of a running one to; False when it had ended already."""
    # One statement: a run that changes hands meanwhile cannot slip between two.
    is_queued = Q(state=Run.State.QUEUED)
    alive = Run.objects.filter(pk=run.pk, state__in=[Run.State.QUEUED, Run.State.RUNNING])
    return bool(
        alive.update(
            cancel_requested=True,
            finished_at=Case(When(is_queued, then=Now()), default=F("finished_at")),
            state=Case(When(is_queued, then=Value(Run.State.CANCELLED)), default=F("state")),
        )
    )


def sweep() -> int:
    """Give runs whose worker is lost back to the queue; those lost too often fail. Returns how
    many.

    Idempotent: any number of workers may sweep at once.
    """
    swept = 0
    for run in Run.objects.filter(LEASE_ENDED):
        try:
            with transaction.atomic():
                # Taken first: a heartbeat that comes after all finds another token, and stops.
                _take_from_worker(run)
                requeue_or_fail(run, "The worker was lost: its lease ended without a heartbeat.")
        except RunFenced:
            continue
        swept += 1
    return swept


def _take_from_worker(run: Run) -> None:
    token = uuid.uuid4()
    ended = Run.objects.filter(LEASE_ENDED, pk=run.pk, lease_token=run.lease_token)
    if not ended.update(lease_token=token):
        raise RunFenced
    run.lease_token = token


def due_queues() -> list[str]:
    """Queues with a run that a worker could claim now."""
    return list(_due_runs().order_by("queue").values_list("queue", flat=True).distinct())


@transaction.atomic
def promote(model: ModelVersion, by: User | None) -> Promotion:
    """Open the next round with ``model`` as its sampler; the first promotion takes round one."""
    current_round()
    # Locked: of two clicks the second sees what the first promoted.
    list(Round.objects.select_for_update(no_key=True).order_by("-number")[:1])
    latest = Promotion.objects.select_related("round").order_by("-round").first()
    if latest is not None and latest.model_id == model.pk:
        raise NotPromotable(f"{model} is the sampler of {latest.round} already.")
    round_ = open_round() if latest else current_round()
    return Promotion.objects.create(round=round_, model=model, promoted_by=by)


def _due_runs() -> QuerySet[Run]:
    return Run.objects.filter(state=Run.State.QUEUED, not_before__lte=Now())


def _fenced_update(run: Run, **changes: Any) -> None:
    held = Run.objects.filter(pk=run.pk, state=Run.State.RUNNING, lease_token=run.lease_token)
    if not held.update(**changes):
        raise RunFenced


def _queued_again() -> dict[str, Any]:
    """Back to the queue, unless somebody has asked for an end: the row knows, our copy may not."""
    cancelled = When(cancel_requested=True, then=Value(Run.State.CANCELLED))
    return {
        "state": Case(cancelled, default=Value(Run.State.QUEUED)),
        "finished_at": Case(When(cancel_requested=True, then=Now()), default=F("finished_at")),
        **UNLEASED,
    }


def _lease_end() -> Any:
    return Now() + timedelta(seconds=settings.RUN_LEASE_SECONDS)


def _backoff(attempt: int) -> Any:
    return Now() + timedelta(seconds=BACKOFF_SECONDS * 2 ** max(0, attempt - 1))
