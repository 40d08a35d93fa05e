"""Podium as a user starts it: real processes on a folder and a port of their own."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
REQUIRED = os.environ.get("PODIUM_REQUIRE_SERVICES") == "1"
POSTGRES = os.environ.get("TEST_DATABASE_URL", "postgresql://postgres@127.0.0.1:5432/postgres")
REDIS = os.environ.get("TEST_REDIS_URL", "redis://127.0.0.1:6379")


def wait_for(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.2)
    return value


class Installation:
    """A data folder, its environment, and the processes started in it."""

    def __init__(self, folder: Path, **environment: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.folder = folder
        self.environment = {
            **{k: v for k, v in os.environ.items() if k not in ("DATABASE_URL", "REDIS_URL")},
            "DATA_DIR": str(folder / "data"),
            "PORT": str(self.port),
            "RUN_LEASE_SECONDS": "6",
            "PYTHONUNBUFFERED": "1",
            **environment,
        }
        self.processes: list[subprocess.Popen[bytes]] = []
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=60)

    def manage(self, *arguments: str) -> str:
        """Run a command to its end and return what it printed."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=600,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self, log: str, *program: str) -> subprocess.Popen[bytes]:
        with (self.folder / log).open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, *program],
                cwd=ROOT, env=self.environment, stdout=out, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
        self.processes.append(process)
        return process

    def log(self, name: str) -> str:
        return (self.folder / name).read_text(errors="replace")

    def serve(self) -> subprocess.Popen[bytes]:
        process = self.start("serve.log", "manage.py", "serve")
        wait_for(self._is_ready, 180, f"the server\n{self.log('serve.log')}")
        return process

    def _is_ready(self) -> bool:
        try:
            return self.http.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def passwords(self) -> dict[str, str]:
        found = re.findall(r"^  (admin|labeler\d) +(\S+)$", self.log("serve.log"), re.MULTILINE)
        return dict(found)

    def as_admin(self) -> None:
        token = self.manage("issue_token", "admin").strip()
        self.http.headers["Authorization"] = f"Bearer {token}"

    def get(self, path: str) -> Any:
        answer = self.http.get(f"/api/v1/{path}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, body: Any = None, status: int = 201) -> Any:
        answer = self.http.post(f"/api/v1/{path}", json=body or {})
        assert answer.status_code == status, answer.text
        return answer.json()

    def finished(self, run: int, seconds: float = 240) -> dict[str, Any]:
        """The run once it has succeeded."""

        def ended() -> dict[str, Any] | None:
            shown = self.get(f"runs/{run}/")
            return shown if shown["state"] not in ("queued", "running") else None

        shown: dict[str, Any] = wait_for(ended, seconds, f"run {run}")
        assert shown["state"] == "succeeded", shown["error"]
        return shown

    def stop(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self.http.close()


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[Installation]:
    made = Installation(tmp_path)
    yield made
    made.stop()


def _empty_redis() -> str:
    """A database of the server that nobody uses: what is emptied afterwards is ours alone."""
    import redis

    for number in range(15, 0, -1):
        url = f"{REDIS}/{number}"
        if redis.from_url(url, socket_connect_timeout=3).dbsize() == 0:
            return url
    raise redis.RedisError("no database of the server is empty")


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Installation]:
    """PostgreSQL with a database of its own, and Redis."""
    import psycopg
    import redis

    try:
        admin = psycopg.connect(POSTGRES, autocommit=True, connect_timeout=3)
        url_of_redis = _empty_redis()
    except (psycopg.OperationalError, redis.RedisError) as error:
        if REQUIRED:
            raise
        pytest.skip(f"service mode needs PostgreSQL and Redis: {error}")
    name = f"podium_{uuid.uuid4().hex[:12]}"
    admin.execute(f"CREATE DATABASE {name}")
    url = POSTGRES.rsplit("/", 1)[0] + f"/{name}"
    made = Installation(tmp_path, DATABASE_URL=url, REDIS_URL=url_of_redis)
    yield made
    made.stop()
    redis.from_url(url_of_redis).flushdb()
    admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    admin.close()
