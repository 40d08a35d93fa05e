"""PostgreSQL, Redis and a real Celery worker: the same code, the same loop."""

import os
import signal

import pytest

from tests.system.conftest import Installation, wait_for

pytestmark = pytest.mark.system


def celery_worker(service: Installation, log: str = "celery.log"):
    return service.start(
        log, "-m", "celery", "-A", "config", "worker", "-Q", "gpu", "-P", "threads", "-c", "1",
        "--prefetch-multiplier=1", "--without-mingle", "--without-gossip", "--loglevel=INFO",
    )  # fmt: skip


def test_the_loop_runs_on_celery_and_survives_a_killed_worker_and_an_empty_redis(
    service: Installation,
):
    service.serve()
    service.as_admin()
    worker = celery_worker(service)
    (pool,) = service.get("pools/")
    wait_for(lambda: service.get(f"pools/{pool['id']}/")["open"] == 32, 120, "the starter pool")
    printed = service.manage(
        "simulate_labelers", "--pool", "Starter pool", "--labelers", "2", "--rankings", "12",
        "--noise", "0.1",
    )  # fmt: skip
    assert "12 rankings, 72 comparisons" in printed

    # Killed in the middle: the lease ends, the next worker finds the run by itself.
    asked = {"kind": "reward", "pool": pool["id"], "labelers": "simulated"}
    run = service.post("runs/", asked)["id"]
    wait_for(lambda: service.get(f"runs/{run}/")["state"] == "running", 60, "the run to start")
    os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()
    import redis

    redis.from_url(service.environment["REDIS_URL"]).flushdb()
    worker = celery_worker(service, "celery-2.log")
    reward = service.finished(run)
    assert reward["attempt"] == 2
    assert reward["metrics"]["pairs"] > 0

    # Told to stop: the trainer hands the run back, the attempt is not charged.
    run = service.post("runs/", {"kind": "ppo", "pool": pool["id"], "params": {"steps": 500}})["id"]
    wait_for(lambda: service.get(f"runs/{run}/")["phase"] not in ("", "starting"), 120, "PPO")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(90) == 0
    handed_back = service.get(f"runs/{run}/")
    assert (handed_back["state"], handed_back["attempt"]) == ("queued", 0)
    cancelled = service.post(f"runs/{run}/cancel/", status=202)
    assert cancelled["state"] == "cancelled"
    assert "FAULT" not in service.manage("doctor")
