"""The cast and the stage: four people, a pool, and a client that speaks for each of them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from labeling import services
from labeling.models import Pool, User

REAL_DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data"


@dataclass
class Caller:
    """A person at the API, by bearer token."""

    user: User
    token: str
    http: Client

    def get(self, path: str, **query: Any) -> Any:
        return self.http.get(f"/api/v1/{path}", query, headers=self._headers())

    def post(self, path: str, body: Any = None) -> Any:
        content = body if isinstance(body, bytes | str) else json.dumps(body or {})
        return self.http.post(
            f"/api/v1/{path}",
            content,
            content_type="application/json",
            headers=self._headers(),
        )

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


@dataclass
class Cast:
    """Ada runs the place, Rob reviews, Ben and Cho label."""

    ada: Caller
    rob: Caller
    ben: Caller
    cho: Caller


def caller(name: str, role: str, *, is_simulated: bool = False) -> Caller:
    user = services.create_user(username=name, password=None, role=role, is_simulated=is_simulated)
    return Caller(user, services.issue_token(user, name="test"), Client())


@pytest.fixture
def cast(db: None) -> Cast:
    return Cast(
        ada=caller("ada", "admin"),
        rob=caller("rob", "reviewer"),
        ben=caller("ben", "labeler"),
        cho=caller("cho", "labeler"),
    )


def line(prompt: str, count: int = 4, **extra: Any) -> dict[str, Any]:
    """An import line with ``count`` completions, each naming the model that wrote it."""
    completions = [{"text": f"{prompt}: answer {n}", "model": f"model-{n}"} for n in range(count)]
    return {"prompt": prompt, "completions": completions, **extra}


def as_lines(*rows: Any) -> list[bytes]:
    return [(row if isinstance(row, str) else json.dumps(row)).encode() + b"\n" for row in rows]


@pytest.fixture
def make_pool(db: None) -> Callable[..., Pool]:
    """A pool with ``tasks`` tasks of ``count`` completions."""

    def make(tasks: int = 1, *, count: int = 4, **settings: Any) -> Pool:
        settings.setdefault("name", f"pool {uuid.uuid4().hex[:8]}")
        pool = services.create_pool(**settings)
        services.import_prompts(pool, as_lines(*(line(f"prompt {n}", count) for n in range(tasks))))
        return pool

    return make


@pytest.fixture
def pool(make_pool: Callable[..., Pool]) -> Pool:
    return make_pool(tasks=2)


def take(labeler: Caller, pool: Pool) -> dict[str, Any]:
    """The labeler's next task as the API shows it."""
    response = labeler.post("assignments/next/", {"pool": pool.pk})
    assert response.status_code == 200, response.content
    return response.json()


def submission(
    task: dict[str, Any], ranks: list[int] | None = None, **extra: Any
) -> dict[str, Any]:
    """A valid body for ``task``; by default the first alias is best."""
    aliases = [completion["alias"] for completion in task["completions"]]
    return {
        "lease_token": task["lease_token"],
        "submission_id": str(uuid.uuid4()),
        "ranks": dict(zip(aliases, ranks or range(1, len(aliases) + 1), strict=True)),
        **extra,
    }


def submit(labeler: Caller, task: dict[str, Any], body: dict[str, Any] | None = None) -> Any:
    return labeler.post(f"assignments/{task['assignment']}/submit/", body or submission(task))


def rank(labeler: Caller, pool: Pool, ranks: list[int] | None = None) -> dict[str, Any]:
    """Take the next task and rank it."""
    task = take(labeler, pool)
    response = submit(labeler, task, submission(task, ranks))
    assert response.status_code == 201, response.content
    return response.json()


def error_code(response: Any) -> str:
    return response.json()["error"]["code"]


def real_data(name: str) -> Path:
    """A file of the real data, or a skip that says where it was looked for."""
    import os

    folder = Path(os.environ.get("PODIUM_REAL_DATA", REAL_DATA))
    if not (folder / name).is_file():
        pytest.skip(f"real data absent: {folder / name}")
    return folder / name
