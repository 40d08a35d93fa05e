"""Simulated labelers at work on a running server: they use the same HTTP API as any program.

Knows nothing of Django: :mod:`training.management.commands.simulate_labelers` makes the accounts.
What a labeler thinks and how it works is decided in :mod:`training.jobs.world`.
"""

from __future__ import annotations

import threading
import time
import uuid
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from typing import Any

from training.jobs.world import Habits, SimulatedLabeler
from training.management.labeler_client import LabelerClient, Refused

LEASE_EXPIRED = "lease_expired"
# While it reads, a labeler renews its lease so often, as the page does.
HEARTBEATS_PER_LEASE = 3
UNKNOWN_PROMPT = "I do not know how to answer this prompt"
# So many prompts in a row from outside the starter world, and a labeler writes no more.
MOST_UNKNOWN = 5

# What is being made, how many are made, how many were asked for.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Outcome:
    """What came of the work. ``late`` rankings are stored and not counted among ``rankings``."""

    rankings: int
    comparisons: int
    demonstrations: int
    late: int
    skipped: int
    drafts: int
    seconds: float


@dataclass
class Worker:
    """A labeler, the token it signs in with, its way of working, and its sitting so far."""

    labeler: SimulatedLabeler
    token: str
    habits: Habits
    ranked: int = 0
    unknown: int = 0


class Turn(Enum):
    """What came of one turn of a worker."""

    MADE = "made"
    NOT_COUNTED = "not counted"
    NOTHING_LEFT = "nothing left"


class Turns:
    """Shared by the threads: whose turn it is, and how many are still to be made.

    Labelers take turns, so that all of them work at any concurrency; with one thread they do so in
    a fixed order.
    """

    def __init__(self, workers: Sequence[Worker], wanted: int, told: Callable[[int], None]) -> None:
        self._lock = threading.Lock()
        self._idle = deque(workers)
        self._open = wanted
        self._told = told
        self.made = 0
        self.stopped = threading.Event()

    def begin(self) -> Worker | None:
        """The next worker; None when enough is begun, nobody is free, or a thread has failed."""
        with self._lock:
            if self.stopped.is_set() or self._open == 0 or not self._idle:
                return None
            self._open -= 1
            return self._idle.popleft()

    def end(self, worker: Worker, turn: Turn) -> None:
        """A worker for whom nothing is left has no more turns."""
        with self._lock:
            if turn is not Turn.NOTHING_LEFT:
                self._idle.append(worker)
            if turn is Turn.MADE:
                self.made += 1
                self._told(self.made)
            else:
                self._open += 1

    def pause(self, seconds: float) -> None:
        """Cut short when another thread fails."""
        if seconds > 0:
            self.stopped.wait(seconds)


def simulate(
    client: LabelerClient,
    workers: Sequence[Worker],
    *,
    pool: str,
    rankings: int,
    concurrency: int,
    demonstrations: int = 0,
    progress: Progress = lambda what, made, wanted: None,
) -> Outcome:
    """Have ``workers`` write ``demonstrations`` and then submit ``rankings``, so many in all and
    ``concurrency`` of them at a time.

    A worker for whom no task is free stops; when all have stopped, the outcome has fewer than asked
    for. Spammers write nothing. Raises SimulationError as soon as one of them is refused.
    """
    started = time.monotonic()
    counts: Counter[str] = Counter()

    def make(what: str, wanted: int, who: Sequence[Worker], take: type[_Work]) -> int:
        turns = Turns(who, wanted, lambda made: progress(what, made, wanted))
        _take_turns(take(client, pool, counts, turns), turns, min(concurrency, max(1, len(who))))
        return turns.made

    writers = [worker for worker in workers if not worker.labeler.spam]
    written = make("demonstrations", demonstrations, writers, _Writing)
    ranked = make("rankings", rankings, workers, _Ranking)
    return Outcome(
        rankings=ranked,
        comparisons=counts["comparisons"],
        demonstrations=written,
        late=counts["late"],
        skipped=counts["skipped"],
        drafts=counts["drafts"],
        seconds=time.monotonic() - started,
    )


def _take_turns(work: _Work, turns: Turns, threads: int) -> None:
    def run() -> None:
        try:
            while worker := turns.begin():
                turns.end(worker, work.turn(worker))
        except BaseException:
            turns.stopped.set()
            raise

    with ThreadPoolExecutor(max_workers=threads) as executor:
        jobs = [executor.submit(run) for _ in range(threads)]
    for job in jobs:
        job.result()


class _Work(ABC):
    """One turn of one worker, by its calls; ``counts`` is what came of it besides."""

    def __init__(
        self, client: LabelerClient, pool: str, counts: Counter[str], turns: Turns
    ) -> None:
        self.client = client
        self.pool = pool
        self.turns = turns
        self._counts = counts
        self._lock = threading.Lock()

    @abstractmethod
    def turn(self, worker: Worker) -> Turn:
        """Raises SimulationError."""

    def count(self, what: str, number: int = 1) -> None:
        with self._lock:
            self._counts[what] += number


class _Ranking(_Work):
    def turn(self, worker: Worker) -> Turn:
        task = self.client.next_task(worker.token, self.pool)
        if task is None:
            return Turn.NOTHING_LEFT
        seen = (task["prompt"]["messages"], _texts(task).values())
        if reason := worker.habits.skip_reason(*seen):
            self.client.skip(worker.token, task, reason)
            self.count("skipped")
            return Turn.NOT_COUNTED
        self._read(worker, task, worker.habits.reading_seconds(*seen))
        body = submission(worker.labeler, task, worker.ranked)
        if worker.habits.saves_draft(*seen):
            draft = {name: body[name] for name in ("ranks", "ratings", "flags")}
            self.client.save_draft(worker.token, task, draft)
            self.count("drafts")
        answer = self._submit(worker, task, body)
        worker.ranked += 1
        if answer["status"] == "late":
            self.count("late")
            return Turn.NOT_COUNTED
        self.count("comparisons", answer["comparisons"])
        return Turn.MADE

    def _read(self, worker: Worker, task: dict[str, Any], seconds: float) -> None:
        """Keep the task in hand while reading. Whoever loses it hands in late."""
        stretch = max(1.0, task["lease_seconds"] / HEARTBEATS_PER_LEASE)
        while seconds > stretch:
            self.turns.pause(stretch)
            seconds -= stretch
            if self.turns.stopped.is_set():
                return
            self._renew(worker, task)
        self.turns.pause(seconds)

    def _submit(self, worker: Worker, task: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
        """As the page does it: a lease that has ended is taken anew before the second try."""
        try:
            return self.client.submit(worker.token, task["assignment"], body)
        except Refused as refused:
            if refused.code != LEASE_EXPIRED:
                raise
        self._renew(worker, task)
        return self.client.submit(worker.token, task["assignment"], body)

    def _renew(self, worker: Worker, task: dict[str, Any]) -> None:
        try:
            self.client.heartbeat(worker.token, task)
        except Refused as refused:
            if refused.code != LEASE_EXPIRED:
                raise


class _Writing(_Work):
    def turn(self, worker: Worker) -> Turn:
        asked = self.client.next_prompt(worker.token, self.pool)
        if asked is None:
            return Turn.NOTHING_LEFT
        messages = asked["prompt"]["messages"]
        text = worker.labeler.demonstrate(messages)
        if text is None:
            self.client.skip_prompt(worker.token, asked["handle"], UNKNOWN_PROMPT)
            worker.unknown += 1
            return Turn.NOTHING_LEFT if worker.unknown == MOST_UNKNOWN else Turn.NOT_COUNTED
        worker.unknown = 0
        self.turns.pause(worker.habits.reading_seconds(messages, [text]))
        self.client.submit_demonstration(worker.token, asked["handle"], text)
        return Turn.MADE


def submission(labeler: SimulatedLabeler, task: dict[str, Any], done: int = 0) -> dict[str, Any]:
    """The labeler's judgement of ``task``, after ``done`` others, as a submission, with the flags
    its rubric knows.
    """
    judgement = labeler.judge(task["prompt"]["messages"], _texts(task), done)
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


def _texts(task: dict[str, Any]) -> dict[str, str]:
    """By alias, in shown order."""
    return {completion["alias"]: completion["text"] for completion in task["completions"]}
