"""Claim, fence, sweep: the rules of the queue, without a trainer."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models import F

from training import lifecycle, services
from training.errors import RunFenced
from training.jobs.events import Event
from training.models import Run, RunEvent

EVENT = Event(phase="train", step=1, total=2, metrics={"loss": 1.0}, time=0.0)


@pytest.fixture
def run(prompts_pool) -> Run:
    return services.start_run(None, kind="sample", pool=prompts_pool)


def lose_lease(run: Run) -> None:
    Run.objects.filter(pk=run.pk).update(lease_until=F("lease_until") - timedelta(days=1))


def make_due(run: Run) -> None:
    Run.objects.filter(pk=run.pk).update(not_before=F("not_before") - timedelta(days=1))


def test_a_run_is_claimed_once_with_a_fresh_token(run):
    claimed = lifecycle.claim("gpu")
    assert (claimed.pk, claimed.state, claimed.attempt) == (run.pk, "running", 1)
    assert claimed.lease_token is not None
    assert lifecycle.claim("gpu") is None
    assert lifecycle.claim("other") is None


def test_a_lost_run_goes_back_to_the_queue_after_a_while_and_the_old_worker_is_fenced(run):
    first = lifecycle.claim("gpu")
    lose_lease(run)
    assert lifecycle.sweep() == 1
    assert lifecycle.claim("gpu") is None  # back-off
    make_due(run)
    second = lifecycle.claim("gpu")
    assert (second.attempt, second.lease_token != first.lease_token) == (2, True)
    for write in (
        lambda: lifecycle.heartbeat(first),
        lambda: lifecycle.record_events(first, 0, [EVENT]),
        lambda: lifecycle.succeed(first, {}),
        lambda: lifecycle.fail(first, "x"),
        lambda: lifecycle.cancel_running(first),
        lambda: lifecycle.requeue_interrupted(first),
    ):
        with pytest.raises(RunFenced):
            write()
    assert not RunEvent.objects.exists()
    lifecycle.succeed(second, {"x": 1})
    run.refresh_from_db()
    assert (run.state, run.metrics) == ("succeeded", {"x": 1})


def test_a_run_that_keeps_losing_its_worker_fails_in_the_end(run, settings):
    for _ in range(settings.RUN_MAX_ATTEMPTS):
        make_due(run)
        assert lifecycle.claim("gpu") is not None
        lose_lease(run)
        assert lifecycle.sweep() == 1
    run.refresh_from_db()
    assert run.state == "failed"
    assert "worker was lost" in run.error
    assert f"Given up after {settings.RUN_MAX_ATTEMPTS} attempts" in run.error


def test_sweeping_twice_changes_nothing_more(run):
    lifecycle.claim("gpu")
    assert lifecycle.sweep() == 0
    lose_lease(run)
    assert (lifecycle.sweep(), lifecycle.sweep()) == (1, 0)


def test_a_lost_run_that_was_to_be_cancelled_is(run):
    lifecycle.claim("gpu")
    assert lifecycle.request_cancel(run)
    lose_lease(run)
    lifecycle.sweep()
    run.refresh_from_db()
    assert run.state == "cancelled"


def test_an_interrupted_run_is_not_charged_for_the_attempt(run):
    lifecycle.requeue_interrupted(lifecycle.claim("gpu"))
    assert lifecycle.claim("gpu").attempt == 1


def test_a_heartbeat_brings_the_wish_to_cancel(run):
    claimed = lifecycle.claim("gpu")
    lifecycle.heartbeat(claimed)
    assert not claimed.cancel_requested
    lifecycle.request_cancel(run)
    lifecycle.heartbeat(claimed)
    assert claimed.cancel_requested


@pytest.mark.django_db(transaction=True)
def test_many_clicks_on_promote_open_one_round(prompts_pool):
    from labeling.models import Round
    from training.errors import NotPromotable
    from training.models import ModelVersion

    base = services.ensure_first_policy()
    tuned = ModelVersion.objects.create(
        name="ppo-1", kind="policy", digest="d" * 64, parent=base, round=base.round
    )
    barrier = threading.Barrier(6)

    def click(_) -> bool:
        barrier.wait()
        try:
            services.promote_model(None, tuned)
        except NotPromotable:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(6) as threads:
        assert sorted(threads.map(click, range(6))) == [False] * 5 + [True]
    assert Round.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_many_workers_claim_each_run_once(prompts_pool):
    runs = [services.start_run(None, kind="sample", pool=prompts_pool, seed=n) for n in range(8)]
    barrier = threading.Barrier(6)

    def work(_) -> list[int]:
        barrier.wait()
        got = []
        try:
            while run := lifecycle.claim("gpu"):
                got.append(run.pk)
        finally:
            connection.close()
        return got

    with ThreadPoolExecutor(6) as threads:
        claimed = [pk for got in threads.map(work, range(6)) for pk in got]
    # A claim that meets only rows locked by others comes back empty: nothing is claimed twice.
    assert len(claimed) == len(set(claimed))
    while run := lifecycle.claim("gpu"):
        claimed.append(run.pk)
    assert sorted(claimed) == sorted(run.pk for run in runs)
