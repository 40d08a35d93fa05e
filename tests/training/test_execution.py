"""A worker and a trainer's process: every way in which a run can end."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from django.conf import settings as django_settings

from labeling.models import Completion, Task
from training import lifecycle, services
from training.execution import run_next
from training.jobs.spec import JobSpec
from training.models import ModelVersion, Run, Snapshot

# A worker closes stale connections as it goes, which a test inside one transaction would not
# survive.
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def run(prompts_pool) -> Run:
    return services.start_run(None, kind="sample", pool=prompts_pool)


def work(run: Run, stop: threading.Event | None = None) -> Run:
    assert run_next("gpu", stop or threading.Event())
    run.refresh_from_db()
    return run


def test_sampled_completions_become_tasks_with_all_their_provenance(run, trainer):
    trainer("complete()\nfinish(completions=12)")
    work(run)
    assert (run.state, run.progress, run.error) == ("succeeded", 1.0, "")
    assert run.metrics["completions"] == 12
    assert Task.objects.filter(prompt__pool=run.pool, completion_count=4).count() == 3
    one = Completion.objects.get(task=Task.objects.first(), number=2)
    assert (one.text, one.token_ids, one.finish_reason, one.seed) == ("text 2", [1, 2], "stop", 2)
    assert (one.model, one.temperature, one.template_sha256) == ("starter", 1.0, "t" * 64)
    assert Task.objects.first().slots.count() == run.pool.overlap


def test_the_trainer_reads_the_spec_and_a_frozen_snapshot(run, trainer):
    trainer("assert spec.kind == 'sample' and spec.data['prompts'].rows == 3\ncomplete()\nfinish()")
    work(run)
    assert run.state == "succeeded", run.error
    snapshot = Snapshot.objects.get()
    assert run.snapshot == snapshot
    kept = Path(django_settings.ARTIFACTS_DIR) / "snapshots" / snapshot.digest / "prompts.jsonl"
    assert kept.read_bytes() == (run.folder / "data" / "prompts.jsonl").read_bytes()


def test_the_trainer_knows_no_secret(run, trainer, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://secret")
    monkeypatch.setenv("SECRET_KEY", "secret")
    trainer(
        "leaked = sorted({'DATABASE_URL', 'SECRET_KEY', 'REDIS_URL'} & set(os.environ))\n"
        "assert not leaked, leaked\ncomplete()\nfinish()"
    )
    assert work(run).state == "succeeded", run.error


def test_a_crash_is_a_failed_run_with_the_last_lines_of_its_log(run, trainer):
    trainer("print('a line of the log')\nraise ValueError('the data is odd')")
    work(run)
    assert run.state == "failed"
    assert "ended with status 1" in run.error
    assert "a line of the log" in run.error
    assert run.error.rstrip().endswith("ValueError: the data is odd")


def test_what_the_trainer_says_of_its_failure_comes_first(run, trainer):
    trainer("events.write('failed', error='lower the learning rate')\nraise SystemExit(1)")
    work(run)
    assert run.error.splitlines()[0] == "lower the learning rate"
    assert "ended with status 1" in run.error


def test_a_killed_trainer_is_tried_again_and_keeps_what_it_had(run, trainer, settings):
    trainer("complete(prompts=1)\ntime.sleep(1.2)\nos.kill(os.getpid(), signal.SIGKILL)")
    work(run)
    assert (run.state, run.attempt) == ("queued", 1)
    assert "killed by signal 9" in run.error
    assert Task.objects.count() == 1
    Run.objects.update(not_before="2020-01-01T00:00Z")
    trainer("complete()\nfinish()")
    work(run)
    assert (run.state, run.attempt, run.error) == ("succeeded", 2, "")
    assert Task.objects.count() == 3
    assert list(run.events.values_list("number", flat=True)) == [0, 1]


def test_a_stop_that_nobody_asked_for_is_charged(run, trainer):
    trainer("sys.exit(75)")
    work(run)
    assert (run.state, run.attempt) == ("queued", 1)
    assert "stopped by somebody else" in run.error


def test_a_launcher_that_exits_with_1_is_asked_by_its_last_event(run, trainer):
    """``accelerate launch`` ends so whatever the trainers that it started ended with."""
    trainer("events.write('sample', step=1, total=3)\nevents.write('interrupted')\nsys.exit(1)")
    work(run)
    assert (run.state, run.attempt) == ("queued", 1)
    assert "stopped by somebody else" in run.error
    Run.objects.update(not_before="2020-01-01T00:00Z")
    # Killed, its trainers could not say why they ended.
    trainer("events.write('starting')\nsys.exit(1)")
    work(run)
    assert (run.state, run.attempt) == ("queued", 2)
    assert "killed by signal 9" in run.error
    Run.objects.update(not_before="2020-01-01T00:00Z")
    # Nothing was said in this attempt: the launcher itself failed.
    trainer("print('no such option')\nsys.exit(2)")
    work(run)
    assert run.state == "failed"
    assert "ended with status 2" in run.error


def test_a_launcher_asked_to_stop_is_not_charged(run, trainer):
    trainer(
        "signal.signal(signal.SIGTERM, lambda *_: (events.write('interrupted'), sys.exit(1)))\n"
        "events.write('starting')\n"
        "while True: time.sleep(0.05)"
    )
    stop = threading.Event()
    threading.Timer(1.0, stop.set).start()
    work(run, stop)
    assert (run.state, run.attempt) == ("queued", 0)


def test_a_folder_of_another_database_is_not_taken_for_this_runs(run, trainer):
    trainer("complete()\nfinish(completions=1)")
    work(run)
    assert (run.folder / "result.json").exists()
    # The database is made anew beside the old folders: the same number, another run.
    Task.objects.all().delete()
    Run.objects.update(state="queued", snapshot=None, metrics={}, attempt=0)
    trainer("complete()\nfinish(completions=2)")
    work(run)
    assert (run.state, run.metrics["completions"]) == ("succeeded", 2)
    assert Task.objects.count() == 3


def test_a_database_that_is_away_at_the_end_does_not_fail_the_run(run, trainer, monkeypatch):
    from django.db import OperationalError

    trainer("complete()\nfinish()")
    succeed = lifecycle.succeed

    def away(*_, **__):
        raise OperationalError("database is locked")

    monkeypatch.setattr(lifecycle, "succeed", away)
    with pytest.raises(OperationalError):
        run_next("gpu", threading.Event())
    monkeypatch.setattr(lifecycle, "succeed", succeed)
    Run.objects.update(lease_until="2020-01-01T00:00Z")
    lifecycle.sweep()
    Run.objects.update(not_before="2020-01-01T00:00Z")
    work(run)
    assert (run.state, Task.objects.count()) == ("succeeded", 3)


def test_events_that_the_database_did_not_take_are_read_again(run, trainer, monkeypatch):
    from django.db import OperationalError

    trainer(
        "for step in (1, 2, 3):\n"
        "    events.write('train', step=step, total=3); time.sleep(0.8)\n"
        "complete()\nfinish()"
    )
    record, calls = lifecycle.record_events, []

    def flaky(run, first, events):
        calls.append(len(events))
        if len(calls) == 2:
            raise OperationalError("server closed the connection")
        record(run, first, events)

    monkeypatch.setattr(lifecycle, "record_events", flaky)
    work(run)
    assert run.state == "succeeded", run.error
    steps = list(run.events.filter(phase="train").values_list("number", "step"))
    assert steps == [(0, 1), (1, 2), (2, 3)]


def test_a_lease_is_kept_while_the_data_is_frozen(run, trainer, settings, monkeypatch):
    from training import snapshots

    settings.RUN_LEASE_SECONDS = 1
    freeze = snapshots.freeze

    def slow(*arguments):
        time.sleep(1.6)
        assert lifecycle.sweep() == 0
        return freeze(*arguments)

    monkeypatch.setattr(snapshots, "freeze", slow)
    trainer("complete()\nfinish()")
    assert work(run).state == "succeeded", run.error


def test_a_trainer_that_is_always_killed_fails_in_the_end(run, trainer, settings):
    trainer("os.kill(os.getpid(), signal.SIGKILL)")
    for _ in range(settings.RUN_MAX_ATTEMPTS):
        Run.objects.update(not_before="2020-01-01T00:00Z")
        work(run)
    assert run.state == "failed"
    assert not run_next("gpu", threading.Event())


STOPPABLE = """
def stop(*_):
    sys.exit(75)
signal.signal(signal.SIGTERM, stop)
events.write("train", step=1, total=9)
time.sleep(60)
"""


def in_a_second(action) -> None:
    threading.Timer(1.0, action).start()


def test_a_stopping_worker_hands_the_run_back_uncharged(run, trainer):
    trainer(STOPPABLE)
    stop = threading.Event()
    in_a_second(stop.set)
    started = time.monotonic()
    work(run, stop)
    assert (run.state, run.attempt) == ("queued", 0)
    assert time.monotonic() - started < 20


def test_a_running_run_can_be_cancelled(run, trainer, settings):
    settings.RUN_LEASE_SECONDS = 6  # a heartbeat, which brings the wish, comes every second
    trainer(STOPPABLE)

    def cancel():
        from django.db import connection

        lifecycle.request_cancel(run)
        connection.close()

    in_a_second(cancel)
    work(run)
    assert run.state == "cancelled"


def test_a_trainer_that_will_not_stop_is_killed(run, trainer, settings):
    settings.TRAINER_GRACE_SECONDS = 0.5
    trainer("signal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(60)")
    stop = threading.Event()
    in_a_second(stop.set)
    work(run, stop)
    assert run.state == "queued"


def test_an_artifact_becomes_a_model_at_its_content_address(run, trainer, cast, make_pool):
    from tests.conftest import rank

    pool = make_pool(tasks=1)
    rank(cast.ben, pool)
    Run.objects.all().delete()
    run = services.start_run(None, kind="reward", pool=pool)
    trainer(
        "(folder.artifacts / 'model').mkdir(exist_ok=True)\n"
        "(folder.artifacts / 'model' / 'config.json').write_text('{}')\n"
        "finish('model', accuracy=0.75)"
    )
    work(run)
    assert run.state == "succeeded", run.error
    model = ModelVersion.objects.get(kind="reward")
    assert (run.made, model.parent.name, model.metrics) == (model, "starter", {"accuracy": 0.75})
    assert (Path(model.location) / "config.json").read_text() == "{}"
    assert not list(Path(model.location).parent.glob(".staging-*"))


def test_success_without_a_result_is_a_failure(run, trainer):
    trainer("complete()")
    assert work(run).state == "failed"


def test_a_fenced_worker_publishes_nothing(run, trainer):
    trainer(
        "complete(prompts=1)\n"
        "while not (folder.root / 'lost').exists(): time.sleep(0.05)\n"
        "complete()\nfinish()"
    )

    def lose() -> None:
        from django.db import connection

        wait_for(lambda: Task.objects.count() == 1)
        Run.objects.update(lease_token="00000000-0000-0000-0000-000000000000")
        (run.folder / "lost").touch()
        connection.close()

    thread = threading.Thread(target=lose)
    thread.start()
    work(run)
    thread.join()
    assert run.state == "running"
    assert Task.objects.count() == 1


def test_the_trainer_dies_with_its_worker(tmp_path):
    import subprocess
    import sys

    pid_file = tmp_path / "pid"
    child = (
        "import os, time, pathlib\n"
        f"pathlib.Path({str(pid_file)!r}).write_text(str(os.getpid())); time.sleep(60)"
    )
    parent = (
        "import subprocess, sys, time; from training.jobs.launch import guarded\n"
        f"subprocess.Popen(guarded([sys.executable, '-c', {child!r}]), start_new_session=True)\n"
        "time.sleep(60)"
    )
    worker = subprocess.Popen([sys.executable, "-c", parent], cwd=django_settings.BASE_DIR)
    pid = wait_for(lambda: pid_file.exists() and pid_file.read_text() and int(pid_file.read_text()))
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    wait_for(lambda: not alive(pid))


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


def wait_for(condition, seconds: float = 20):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
    return value


def test_the_spec_survives_its_trip_through_the_folder(run, trainer):
    trainer("complete()\nfinish()")
    work(run)
    from training.jobs.folder import JobFolder

    spec = JobFolder(run.folder).read_spec()
    assert JobSpec.from_json(spec.to_json()) == spec
