"""Simulated labelers at work on a running server: they use the same HTTP API as any program.

Knows nothing of Django: :mod:`training.management.commands.simulate_labelers` makes the accounts.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Self

import httpx

from training.jobs.world import SimulatedLabeler

TIMEOUT_SECONDS = 30.0
ATTEMPTS = 4
# A worker gives up after this many refused submissions in a row.
REFUSALS = 5
FIRST_PAUSE_SECONDS = 0.25
LONGEST_PAUSE_SECONDS = 10.0
BUSY = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})


class SimulationError(RuntimeError):
    """The server cannot be reached or refuses the work; the message says why."""


@dataclass(frozen=True)
class Outcome:
    """What came of the work. ``refused`` were not stored: their lease had ended, or the like."""

    rankings: int
    comparisons: int
    refused: int
    seconds: float
    ran_dry: bool


@dataclass(frozen=True)
class Worker:
    """A labeler and the token it signs in with."""

    labeler: SimulatedLabeler
    token: str


class Client:
    """The two calls of a labeler, tried again on trouble: both are idempotent."""

    def __init__(self, url: str, transport: httpx.BaseTransport | None = None) -> None:
        self.url = url.rstrip("/")
        self._http = httpx.Client(
            base_url=f"{self.url}/api/v1/", timeout=TIMEOUT_SECONDS, transport=transport
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def check(self) -> None:
        """Raises SimulationError when nobody answers at the address."""
        try:
            self._http.get("")
        except httpx.TransportError as error:
            raise SimulationError(f"no server answers at {self.url} ({error})") from error

    def next_task(self, token: str, pool: str) -> dict[str, Any] | None:
        """The task in hand or the next one; None when none is free for this labeler now."""
        response = self._post("assignments/next/", token, {"pool": pool})
        if response.status_code == HTTPStatus.NO_CONTENT:
            return None
        return _content(response)

    def submit(self, token: str, assignment: str, body: dict[str, Any]) -> dict[str, Any] | None:
        """What the server says of the ranking; None when it refuses it as outdated (409)."""
        response = self._post(f"assignments/{assignment}/submit/", token, body)
        if response.status_code == HTTPStatus.CONFLICT:
            return None
        return _content(response)

    def _post(self, path: str, token: str, body: dict[str, Any]) -> httpx.Response:
        """Tries again, later and later, while the server is busy or the connection breaks."""
        headers = {"Authorization": f"Bearer {token}"}
        pause = FIRST_PAUSE_SECONDS
        for attempt in range(1, ATTEMPTS + 1):
            try:
                response = self._http.post(path, json=body, headers=headers)
            except httpx.TransportError as error:
                if attempt == ATTEMPTS:
                    raise SimulationError(f"lost the server at {self.url} ({error})") from error
            else:
                if response.status_code not in BUSY or attempt == ATTEMPTS:
                    return response
                pause = _wanted_pause(response, pause)
            time.sleep(min(pause, LONGEST_PAUSE_SECONDS))
            pause *= 2
        raise AssertionError("the last attempt returns or raises")


def _wanted_pause(response: httpx.Response, pause: float) -> float:
    given = response.headers.get("Retry-After", "")
    return float(given) if given.isdigit() else pause


def _content(response: httpx.Response) -> dict[str, Any]:
    if response.is_success:
        content: dict[str, Any] = response.json()
        return content
    try:
        said = response.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        said = response.text[:200]
    raise SimulationError(f"the server refused: {response.status_code} {said}")


class Tally:
    """Shared by the threads: how many rankings may still be made, and what was made."""

    def __init__(self, rankings: int, progress: Callable[[int, int], None]) -> None:
        self._lock = threading.Lock()
        self._open = self._wanted = rankings
        self._progress = progress
        self.rankings = self.comparisons = self.refused = 0
        self.stopped = False

    def take(self) -> bool:
        """Whether one more ranking may be begun."""
        with self._lock:
            granted = self._open > 0 and not self.stopped
            self._open -= granted
            return granted

    def give_back(self) -> None:
        """A ranking that was begun and not made."""
        with self._lock:
            self._open += 1

    def stop(self) -> None:
        """Nobody begins another one: a thread has failed."""
        with self._lock:
            self.stopped = True

    def count(self, answer: dict[str, Any] | None) -> None:
        with self._lock:
            if answer is None:
                self.refused += 1
                self._open += 1
                return
            self.rankings += 1
            self.comparisons += answer["comparisons"]
            self._progress(self.rankings, self._wanted)


def simulate(
    client: Client,
    workers: Sequence[Worker],
    *,
    pool: str,
    rankings: int,
    concurrency: int,
    progress: Callable[[int, int], None] = lambda done, wanted: None,
) -> Outcome:
    """Have ``workers`` submit ``rankings`` rankings in all, ``concurrency`` of them at a time.

    A worker for whom no task is free stops; when all have stopped before the number is reached, the
    outcome says so. Raises SimulationError as soon as one of them is refused.
    """
    started = time.monotonic()
    tally = Tally(rankings, progress)
    with ThreadPoolExecutor(max_workers=concurrency) as threads:
        jobs = [threads.submit(_work, client, worker, pool, tally) for worker in workers]
    for job in jobs:
        job.result()
    return Outcome(
        rankings=tally.rankings,
        comparisons=tally.comparisons,
        refused=tally.refused,
        seconds=time.monotonic() - started,
        ran_dry=tally.rankings < rankings,
    )


def _work(client: Client, worker: Worker, pool: str, tally: Tally) -> None:
    """Rank until the number is reached, no task is free, or REFUSALS in a row were refused."""
    refused, finished = 0, False
    try:
        while refused < REFUSALS and tally.take():
            task = client.next_task(worker.token, pool)
            if task is None:
                tally.give_back()
                break
            body = submission(worker.labeler, task)
            answer = client.submit(worker.token, task["assignment"], body)
            tally.count(answer)
            refused = refused + 1 if answer is None else 0
        finished = True
    finally:
        if not finished:
            tally.stop()


def submission(labeler: SimulatedLabeler, task: dict[str, Any]) -> dict[str, Any]:
    """The labeler's judgement of ``task`` as a submission, with the flags its rubric knows."""
    texts = {completion["alias"]: completion["text"] for completion in task["completions"]}
    judgement = labeler.judge(task["prompt"]["messages"], texts)
    known = {flag["name"] for flag in task["rubric"].get("flags", [])}
    return {
        "lease_token": task["lease_token"],
        "submission_id": str(uuid.uuid4()),
        "ranks": judgement.ranks,
        "ratings": judgement.ratings,
        "flags": {
            alias: [f for f in flags if f in known] for alias, flags in judgement.flags.items()
        },
    }
