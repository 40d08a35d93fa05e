"""Simulated labelers against an HTTP server: they take tasks, submit once, and stop in time."""

import json
import threading
from collections import Counter
from itertools import combinations, islice
from random import Random
from typing import Any

import httpx
import pytest

from training.jobs.world import SimulatedLabeler, Task, draw_tasks
from training.management import simulation
from training.management.simulation import Client, SimulationError, Worker, simulate, submission


class FakeServer:
    """A pool in memory that answers as the API does; every task is handed out once."""

    def __init__(self, tasks: int) -> None:
        self.tasks = list(islice(draw_tasks(3), tasks))
        self.handed_out: Counter[str] = Counter()
        self.submissions: list[dict[str, Any]] = []
        self.answers: list[httpx.Response | Exception] = []
        self.refuse_submissions = False
        self._lock = threading.Lock()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        with self._lock:
            if self.answers:
                answer = self.answers.pop(0)
                if isinstance(answer, Exception):
                    raise answer
                return answer
            token = request.headers["Authorization"].removeprefix("Bearer ")
            body = json.loads(request.content)
            return self._next(token, body) if "next" in request.url.path else self._submit(body)

    def _next(self, token: str, body: dict[str, Any]) -> httpx.Response:
        assert body == {"pool": "first"}
        number = sum(self.handed_out.values())
        if number == len(self.tasks):
            return httpx.Response(204, headers={"Retry-After": "1"})
        self.handed_out[token] += 1
        return httpx.Response(200, json=payload(self.tasks[number], number))

    def _submit(self, body: dict[str, Any]) -> httpx.Response:
        if self.refuse_submissions:
            return httpx.Response(409, json={"error": {"message": "The lease has ended."}})
        self.submissions.append(body)
        pairs = len(list(combinations(body["ranks"], 2)))
        answer = {"ranking": len(self.submissions), "comparisons": pairs, "status": "counted"}
        return httpx.Response(201, json=answer)


def payload(task: Task, number: int) -> dict[str, Any]:
    rng = Random(number)
    texts = {"A": task.good(rng), "B": task.flawed("rude", rng), "C": task.flawed("wrong", rng)}
    return {
        "assignment": f"assignment-{number}",
        "lease_token": f"lease-{number}",
        "prompt": {"messages": task.messages},
        "completions": [{"alias": alias, "text": text} for alias, text in texts.items()],
        "rubric": {"flags": [{"name": "fails_instruction", "label": "Fails"}]},
    }


def client_of(server: FakeServer) -> Client:
    return Client("http://podium.test/", httpx.MockTransport(server))


def workers(count: int) -> list[Worker]:
    return [Worker(SimulatedLabeler(seed=n), f"token-{n}") for n in range(count)]


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation.time, "sleep", lambda seconds: None)


@pytest.mark.parametrize("concurrency", [1, 3])
def test_exactly_the_number_asked_for_is_submitted(concurrency: int) -> None:
    server, told = FakeServer(tasks=50), []
    outcome = simulate(
        client_of(server),
        workers(3),
        pool="first",
        rankings=20,
        concurrency=concurrency,
        progress=lambda done, wanted: told.append((done, wanted)),
    )
    assert outcome.rankings == len(server.submissions) == 20
    assert outcome.comparisons == 60
    assert not outcome.ran_dry
    assert told == [(done, 20) for done in range(1, 21)]
    assert len({body["submission_id"] for body in server.submissions}) == 20


def test_it_stops_and_says_so_when_no_task_is_free() -> None:
    server = FakeServer(tasks=5)
    outcome = simulate(client_of(server), workers(2), pool="first", rankings=20, concurrency=2)
    assert outcome.rankings == 5
    assert outcome.ran_dry


def test_the_submission_carries_the_lease_the_judgement_and_only_known_flags() -> None:
    task = payload(next(draw_tasks(1)), 0)
    body = submission(SimulatedLabeler(seed=1), task)
    assert body["lease_token"] == "lease-0"
    assert body["ranks"]["A"] == 1
    assert set(body["ranks"]) == set(body["ratings"]) == set(body["flags"]) == {"A", "B", "C"}
    assert {flag for flags in body["flags"].values() for flag in flags} == {"fails_instruction"}


def test_a_broken_connection_and_a_busy_server_are_tried_again() -> None:
    server = FakeServer(tasks=5)
    server.answers = [
        httpx.ReadTimeout("slow"),
        httpx.Response(503),
        httpx.Response(429, headers={"Retry-After": "2"}),
    ]
    outcome = simulate(client_of(server), workers(1), pool="first", rankings=3, concurrency=1)
    assert outcome.rankings == 3


def test_a_submission_that_is_tried_again_keeps_its_id() -> None:
    seen = []

    def server(request: httpx.Request) -> httpx.Response:
        seen.append(json.loads(request.content))
        if len(seen) == 1:
            raise httpx.ReadTimeout("slow")
        return httpx.Response(201, json={"ranking": 1, "comparisons": 3, "status": "counted"})

    client = Client("http://podium.test", httpx.MockTransport(server))
    client.submit("token", "1", {"submission_id": "x"})
    assert seen == [{"submission_id": "x"}, {"submission_id": "x"}]


def test_a_server_that_stays_away_is_an_error_that_names_it() -> None:
    server = FakeServer(tasks=5)
    server.answers = [httpx.ConnectError("refused") for _ in range(10)]
    with pytest.raises(SimulationError, match=r"podium\.test"):
        simulate(client_of(server), workers(1), pool="first", rankings=3, concurrency=1)


def test_a_refusal_stops_the_others_and_carries_the_servers_message() -> None:
    server = FakeServer(tasks=500)
    server.answers = [httpx.Response(404, json={"error": {"message": "There is no such pool."}})]
    with pytest.raises(SimulationError, match="There is no such pool"):
        simulate(client_of(server), workers(2), pool="first", rankings=400, concurrency=1)
    assert not server.submissions


def test_late_work_is_not_counted_and_not_tried_for_ever() -> None:
    server = FakeServer(tasks=500)
    server.refuse_submissions = True
    outcome = simulate(client_of(server), workers(1), pool="first", rankings=20, concurrency=1)
    assert outcome.rankings == 0
    assert outcome.refused == simulation.REFUSALS
    assert outcome.ran_dry


def test_a_server_that_is_not_there_is_noticed_before_work_begins() -> None:
    server = FakeServer(tasks=5)
    server.answers = [httpx.ConnectError("refused")]
    with pytest.raises(SimulationError, match="no server answers"):
        client_of(server).check()
