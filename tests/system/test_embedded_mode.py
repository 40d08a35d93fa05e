"""One person on a fresh machine: serve, rank, go round the loop, pull the plug."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.system.conftest import Installation, wait_for

pytestmark = pytest.mark.system

SHORT = [
    "--param=reward.epochs=1",
    "--param=ppo.steps=1", "--param=ppo.batch_size=16", "--param=ppo.minibatch_size=16",
    "--param=ppo.max_new_tokens=24", "--param=ppo.epochs=1",
    "--param=rejection.n=2", "--param=rejection.epochs=1", "--param=rejection.max_new_tokens=24",
]  # fmt: skip


def test_a_fresh_installation_goes_once_around_the_loop(embedded: Installation):
    server = embedded.serve()
    assert set(embedded.passwords()) == {"admin", "labeler1", "labeler2"}
    embedded.as_admin()

    # The starter pool can be ranked at once.
    (pool,) = embedded.get("pools/")
    assert (pool["prompts"], pool["tasks"], pool["open"]) == (32, 32, 32)

    printed = embedded.manage("loop", "--rounds", "1", *SHORT)
    assert "round 1: 32 rankings" in printed
    assert "lineage: starter -> ppo-" in printed

    # The promoted policy wrote the next round's completions.
    (pool,) = embedded.get("pools/")
    assert (pool["tasks"], pool["open"], pool["rankings"], pool["comparisons"]) == (64, 32, 32, 192)
    models = {m["name"]: m for m in embedded.get("models/")}
    policy = next(m for m in models.values() if m["promoted"])
    assert policy["parent"] == models["starter"]["id"]
    (reward,) = (m for m in models.values() if m["kind"] == "reward")
    assert (policy["reward_model"], len(reward["snapshot"])) == (reward["id"], 64)

    rows = embedded.http.get(f"/api/v1/pools/{pool['id']}/export/").text.splitlines()
    assert len(rows) == 192

    assert "FAULT" not in embedded.manage("doctor")
    warm_start_keeps_everything(embedded, server)


def warm_start_keeps_everything(embedded: Installation, server) -> None:
    server.send_signal(signal.SIGTERM)
    assert server.wait(60) == 0
    embedded.serve()
    assert embedded.passwords() == {}
    (pool,) = embedded.get("pools/")
    assert pool["rankings"] == 32
    web_is_small_and_free_of_torch(embedded)


def web_is_small_and_free_of_torch(embedded: Installation) -> None:
    listing = subprocess.run(
        ["pgrep", "-f", f"gunicorn.*{embedded.port}"], capture_output=True, text=True
    )
    pids = list(map(int, listing.stdout.split()))
    assert len(pids) >= 2  # gunicorn's master and its worker
    for pid in pids:
        status = Path(f"/proc/{pid}/status").read_text()
        resident_kb = int(status.split("VmRSS:")[1].split()[0])
        assert resident_kb < 250_000
        assert "libtorch" not in Path(f"/proc/{pid}/maps").read_text()


def test_a_killed_worker_is_replaced_and_the_run_goes_on(embedded: Installation):
    embedded.serve()
    embedded.as_admin()
    body = {
        "name": "long", "max_new_tokens": 48, "completions_per_prompt": 9, "overlap": 1,
        "temperature": 1.0, "top_p": 1.0, "guidelines": "",
    }  # fmt: skip
    big = embedded.post("pools/", body)
    lines = "\n".join(f'{{"prompt": "Name {n} colours, please."}}' for n in range(2, 42))
    embedded.http.post(f"/api/v1/pools/{big['id']}/import/", content=lines)
    run = embedded.post(f"pools/{big['id']}/sample/", status=202)["run"]

    wait_for(lambda: embedded.get(f"pools/{big['id']}/")["tasks"] > 0, 120, "the first tasks")
    before = embedded.get(f"pools/{big['id']}/")["tasks"]
    assert before < 40
    for pid in worker_pids(embedded):
        os.kill(pid, signal.SIGKILL)

    shown = embedded.finished(run)
    assert (shown["attempt"], embedded.get(f"pools/{big['id']}/")["tasks"]) == (2, 40)
    assert "FAULT" not in embedded.manage("doctor")


def worker_pids(embedded: Installation) -> list[int]:
    """The worker of this installation: its data folder is in its environment."""
    listing = subprocess.run(["pgrep", "-f", "manage.py work"], capture_output=True, text=True)
    mark = f"DATA_DIR={embedded.environment['DATA_DIR']}".encode()
    return [
        pid
        for pid in map(int, listing.stdout.split())
        if mark in Path(f"/proc/{pid}/environ").read_bytes()
    ]


def test_a_port_in_use_is_told_in_one_line(embedded: Installation):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", embedded.port))
        taken.listen()
        process = embedded.start("busy.log", "manage.py", "serve")
        assert process.wait(60) == 1
    assert "Choose another with PORT" in embedded.log("busy.log").strip().splitlines()[-1]


def test_commands_refuse_what_cannot_work_in_one_line(embedded: Installation):
    import sys

    from tests.system.conftest import ROOT

    embedded.manage("migrate", "-v0")
    for arguments, says in {
        ("issue_token", "nobody"): "no account",
        ("import_prompts", "nothing.jsonl", "--pool", "x"): "There is no pool",
        ("create_user", "x y", "--role", "labeler"): "username",
        ("loop", "--rounds", "0"): "at least 1",
        ("loop", "--rounds", "1"): "no server answers",
        ("loop", "--param", "ppo.steps=x"): "KIND.NAME=NUMBER",
        ("simulate_labelers", "--pool", "x"): "no server answers",
    }.items():
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT, env=embedded.environment, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode != 0, arguments
        assert says in done.stderr, done.stderr
        assert "Traceback" not in done.stderr, arguments
