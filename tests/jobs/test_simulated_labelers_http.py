"""Simulated labelers against an HTTP server: they take tasks, submit once, and stop in time."""

import json
import threading
from collections import Counter
from itertools import combinations, islice
from random import Random
from typing import Any

import httpx
import pytest

from training.jobs.world import Habits, SimulatedLabeler, Task, draw_tasks, score
from training.management import labeler_client, simulation
from training.management.labeler_client import LabelerClient, Refused, SimulationError
from training.management.simulation import MOST_UNKNOWN, Outcome, Worker, simulate, submission

ENDED = {"error": {"code": "lease_expired", "message": "The lease has ended."}}


class FakeServer:
    """A pool in memory that answers as the API does; every task is handed out once.

    ``answers`` are given first, whatever is asked. ``after`` gives the answer to a kind of call.
    """

    def __init__(self, tasks: int) -> None:
        self.tasks = list(islice(draw_tasks(3), tasks))
        self.handed_out: Counter[str] = Counter()
        self.calls: list[tuple[str, str, dict[str, Any]]] = []
        self.answers: list[httpx.Response | Exception] = []
        self.after: dict[str, list[httpx.Response]] = {}
        self.prompts = [task.messages for task in self.tasks]
        self._lock = threading.Lock()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        with self._lock:
            if self.answers:
                answer = self.answers.pop(0)
                if isinstance(answer, Exception):
                    raise answer
                return answer
            token = request.headers["Authorization"].removeprefix("Bearer ")
            path = request.url.path.removeprefix("/api/v1/")
            what = path.rstrip("/").rpartition("/")[2]
            self.calls.append((what, token, json.loads(request.content)))
            if self.after.get(what):
                return self.after[what].pop(0)
            if path == "demonstrations/next/":
                return self._next_prompt()
            return self._next(token) if what == "next" else self._answer(what)

    def bodies(self, what: str) -> list[dict[str, Any]]:
        """Of the calls of that kind, in order."""
        return [body for name, _, body in self.calls if name == what]

    def _next(self, token: str) -> httpx.Response:
        assert self.calls[-1][2] == {"pool": "first"}
        number = sum(self.handed_out.values())
        if number == len(self.tasks):
            return httpx.Response(204, headers={"Retry-After": "1"})
        self.handed_out[token] += 1
        return httpx.Response(200, json=payload(self.tasks[number], number))

    def _next_prompt(self) -> httpx.Response:
        if not self.prompts:
            return httpx.Response(204)
        messages = self.prompts.pop(0)
        return httpx.Response(200, json={"handle": str(messages), "prompt": {"messages": messages}})

    def _answer(self, what: str) -> httpx.Response:
        if what == "submit":
            pairs = len(list(combinations(self.calls[-1][2]["ranks"], 2)))
            answer = {"ranking": 1, "comparisons": pairs, "status": "counted"}
            return httpx.Response(201, json=answer)
        if what == "heartbeat":
            return httpx.Response(200, json={"lease_seconds": 30})
        return httpx.Response(201, json={}) if what == "demonstrations" else httpx.Response(204)


def payload(task: Task, number: int) -> dict[str, Any]:
    rng = Random(number)
    texts = {"A": task.good(rng), "B": task.flawed("rude", rng), "C": task.flawed("wrong", rng)}
    return {
        "assignment": f"assignment-{number}",
        "lease_token": f"lease-{number}",
        "lease_seconds": 30,
        "prompt": {"messages": task.messages},
        "completions": [{"alias": alias, "text": text} for alias, text in texts.items()],
        "rubric": {"flags": [{"name": "fails_instruction", "label": "Fails"}]},
    }


def client_of(server: Any) -> LabelerClient:
    return LabelerClient("http://podium.test/", httpx.MockTransport(server))


def workers(count: int, **habits: float) -> list[Worker]:
    return [
        Worker(SimulatedLabeler(seed=n), f"token-{n}", Habits(n, **habits)) for n in range(count)
    ]


def work(server: FakeServer, who: list[Worker], **options: Any) -> Outcome:
    options = {"pool": "first", "rankings": 0, "concurrency": 1} | options
    return simulate(client_of(server), who, **options)


@pytest.fixture(autouse=True)
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds of every pause; none is made."""
    pauses: list[float] = []
    monkeypatch.setattr(labeler_client.time, "sleep", pauses.append)
    monkeypatch.setattr(simulation.Turns, "pause", lambda _, seconds: pauses.append(seconds))
    return pauses


@pytest.mark.parametrize("concurrency", [1, 3])
def test_exactly_the_number_asked_for_is_submitted(concurrency: int) -> None:
    server, told = FakeServer(tasks=50), []
    outcome = work(
        server,
        workers(3),
        rankings=20,
        concurrency=concurrency,
        progress=lambda *progress: told.append(progress),
    )
    submitted = server.bodies("submit")
    assert outcome.rankings == len(submitted) == 20
    assert outcome.comparisons == 60
    assert told == [("rankings", made, 20) for made in range(1, 21)]
    assert len({body["submission_id"] for body in submitted}) == 20


def test_labelers_take_turns_even_one_at_a_time() -> None:
    server = FakeServer(tasks=50)
    work(server, workers(4), rankings=10)
    assert server.handed_out == {"token-0": 3, "token-1": 3, "token-2": 2, "token-3": 2}


def test_it_stops_and_says_so_when_no_task_is_free() -> None:
    server = FakeServer(tasks=5)
    assert work(server, workers(2), rankings=20, concurrency=2).rankings == 5


def test_the_submission_carries_the_lease_the_judgement_and_only_known_flags() -> None:
    task = payload(next(draw_tasks(1)), 0)
    body = submission(SimulatedLabeler(seed=1), task)
    assert body["lease_token"] == "lease-0"
    assert body["ranks"]["A"] == 1
    assert set(body["ranks"]) == set(body["ratings"]) == set(body["flags"]) == {"A", "B", "C"}
    assert {flag for flags in body["flags"].values() for flag in flags} == {"fails_instruction"}


def test_the_same_seed_judges_the_same_whatever_the_threads() -> None:
    """Each labeler is handed every task: what it says of it does not depend on the order."""

    def said(concurrency: int) -> dict[tuple[str, str], dict[str, int]]:
        found = {}
        for worker in workers(3):
            worker.labeler = SimulatedLabeler(seed=worker.labeler.seed, noise=0.3)
            server = FakeServer(tasks=12)
            twins = [worker] * concurrency
            work(server, twins, rankings=12, concurrency=concurrency)
            for body in server.bodies("submit"):
                found[worker.token, body["lease_token"]] = body["ranks"]
        return found

    assert said(1) == said(3)


def test_a_labeler_tires_with_every_task_it_has_ranked() -> None:
    tired, fresh = (Worker(SimulatedLabeler(1, fatigue=f), "t", Habits(1)) for f in (0.05, 0.0))
    ranks = []
    for worker in (tired, fresh):
        server = FakeServer(tasks=60)
        work(server, [worker], rankings=60)
        ranks.append([body["ranks"] for body in server.bodies("submit")])
        assert worker.ranked == 60
    differing = [a != b for a, b in zip(*ranks, strict=True)]
    assert not differing[0]
    assert sum(differing[40:]) > sum(differing[:20])


# --- reading, drafts, skips -----------------------------------------------------------------------


def test_it_reads_in_proportion_to_the_text_and_renews_its_lease_meanwhile(
    waited: list[float],
) -> None:
    server = FakeServer(tasks=1)
    (worker,) = workers(1, pace=60.0)
    work(server, [worker], rankings=1)
    task = payload(server.tasks[0], 0)
    texts = [completion["text"] for completion in task["completions"]]
    seconds = worker.habits.reading_seconds(task["prompt"]["messages"], texts)
    assert sum(waited) == pytest.approx(seconds)
    assert seconds > 20
    # A lease of 30 seconds is renewed every 10.
    assert [pause for pause in waited if pause > 10] == []
    assert server.bodies("heartbeat") == [{"lease_token": "lease-0"}] * int(seconds // 10)


def test_without_a_pace_nobody_waits(waited: list[float]) -> None:
    server = FakeServer(tasks=5)
    work(server, workers(2), rankings=5)
    assert set(waited) == {0.0}
    assert not server.bodies("heartbeat")


def test_a_draft_is_saved_before_some_of_the_rankings() -> None:
    server = FakeServer(tasks=40)
    outcome = work(server, workers(2, drafts=0.5), rankings=40)
    drafts = {body["lease_token"]: body["draft"] for body in server.bodies("draft")}
    assert 10 <= len(drafts) == outcome.drafts <= 30
    for body in server.bodies("submit"):
        draft = drafts.get(body["lease_token"])
        assert draft in (None, {name: body[name] for name in ("ranks", "ratings", "flags")})
    names = [name for name, *_ in server.calls]
    assert all(names[at + 1] == "submit" for at, name in enumerate(names) if name == "draft")


def test_some_tasks_are_skipped_with_a_reason_and_made_up_for() -> None:
    server = FakeServer(tasks=60)
    outcome = work(server, workers(2, skips=0.3), rankings=30)
    skips = server.bodies("skip")
    assert outcome.rankings == 30
    assert 5 <= len(skips) == outcome.skipped <= 25
    assert all(body["reason"] and body["lease_token"] for body in skips)


def test_a_skip_whose_answer_was_lost_is_a_skip() -> None:
    server = FakeServer(tasks=1)
    error = {"code": "assignment_closed", "message": "Closed.", "data": {"state": "skipped"}}
    server.after["skip"] = [httpx.Response(409, json={"error": error})]
    assert work(server, workers(1, skips=1.0), rankings=1).skipped == 1


# --- demonstrations -------------------------------------------------------------------------------


def test_demonstrations_are_good_and_as_many_as_asked_for() -> None:
    server = FakeServer(tasks=20)
    outcome = work(server, workers(3), demonstrations=12, concurrency=2)
    written = server.bodies("demonstrations")
    assert outcome.demonstrations == len(written) == 12
    assert len({body["submission_id"] for body in written}) == 12
    messages_of = {str(task.messages): task.messages for task in server.tasks}
    assert all(score(messages_of[body["handle"]], body["text"]).fully_right for body in written)


def test_spammers_write_no_demonstrations() -> None:
    server = FakeServer(tasks=5)
    spammer = Worker(SimulatedLabeler(1, spam="shown"), "token", Habits(1))
    outcome = work(server, [spammer], demonstrations=3, rankings=2)
    assert (outcome.demonstrations, outcome.rankings) == (0, 2)


def test_prompts_from_elsewhere_are_skipped_and_not_for_ever() -> None:
    server = FakeServer(tasks=4)
    foreign = [{"role": "user", "content": "Explain how volcanoes erupt."}]
    server.prompts = [foreign, server.tasks[0].messages, *[foreign] * 50]
    outcome = work(server, workers(1), demonstrations=9)
    assert outcome.demonstrations == 1
    assert len(server.bodies("skip")) == 1 + MOST_UNKNOWN
    assert all(body["reason"] for body in server.bodies("skip"))


# --- trouble --------------------------------------------------------------------------------------


def test_a_broken_connection_and_a_busy_server_are_tried_again() -> None:
    server = FakeServer(tasks=5)
    server.answers = [
        httpx.ReadTimeout("slow"),
        httpx.Response(503),
        httpx.Response(429, headers={"Retry-After": "2"}),
    ]
    assert work(server, workers(1), rankings=3).rankings == 3


def test_a_submission_that_is_tried_again_keeps_its_id() -> None:
    seen = []

    def server(request: httpx.Request) -> httpx.Response:
        seen.append(json.loads(request.content))
        if len(seen) == 1:
            raise httpx.ReadTimeout("slow")
        return httpx.Response(201, json={"ranking": 1, "comparisons": 3, "status": "counted"})

    client_of(server).submit("token", "1", {"submission_id": "x"})
    assert seen == [{"submission_id": "x"}, {"submission_id": "x"}]


def test_a_server_that_stays_away_is_an_error_that_names_it() -> None:
    server = FakeServer(tasks=5)
    server.answers = [httpx.ConnectError("refused") for _ in range(10)]
    with pytest.raises(SimulationError, match=r"assignments/next/.*podium\.test"):
        work(server, workers(1), rankings=3)


def test_a_refusal_stops_the_others_and_carries_the_servers_answer() -> None:
    server = FakeServer(tasks=500)
    error = {"code": "not_found", "message": "There is no such pool.", "data": {"pool": "first"}}
    server.answers = [httpx.Response(404, json={"error": error})]
    with pytest.raises(Refused) as refused:
        work(server, workers(2), rankings=400)
    assert str(refused.value) == (
        "POST /api/v1/assignments/next/ was answered with 404 not_found: "
        'There is no such pool. {"pool": "first"}'
    )
    assert not server.bodies("submit")


@pytest.mark.parametrize(
    ("what", "habits", "options"),
    [
        ("submit", {}, {"rankings": 3}),
        ("draft", {"drafts": 1.0}, {"rankings": 3}),
        ("skip", {"skips": 1.0}, {"rankings": 3}),
        ("heartbeat", {"pace": 100.0}, {"rankings": 3}),
        ("demonstrations", {}, {"demonstrations": 3}),
    ],
)
def test_an_error_at_any_call_is_reported_with_its_path(
    what: str, habits: dict[str, float], options: dict[str, int]
) -> None:
    server = FakeServer(tasks=5)
    server.after[what] = [httpx.Response(500, text="<h1>Server Error</h1>")]
    with pytest.raises(Refused, match=rf"{what}/ was answered with 500: <h1>Server Error</h1>"):
        work(server, workers(1, **habits), **options)


def test_an_answer_that_is_no_json_is_reported_too() -> None:
    server = FakeServer(tasks=5)
    server.answers = [httpx.Response(200, text="<html>a login page</html>")]
    with pytest.raises(Refused, match="200: <html>a login page"):
        work(server, workers(1), rankings=1)


def test_an_ended_lease_is_taken_anew_and_the_ranking_submitted_again() -> None:
    server = FakeServer(tasks=1)
    server.after["submit"] = [httpx.Response(409, json=ENDED)]
    assert work(server, workers(1), rankings=1).rankings == 1
    first, second = server.bodies("submit")
    assert first == second
    assert len(server.bodies("heartbeat")) == 1


def test_late_work_is_handed_in_and_not_counted() -> None:
    server = FakeServer(tasks=3)
    server.after["submit"] = [
        httpx.Response(409, json=ENDED),
        httpx.Response(201, json={"ranking": 1, "comparisons": 3, "status": "late"}),
    ]
    server.after["heartbeat"] = [httpx.Response(409, json=ENDED)]
    outcome = work(server, workers(1), rankings=3)
    assert (outcome.rankings, outcome.late, outcome.comparisons) == (2, 1, 6)


def test_a_server_that_is_not_there_is_noticed_before_work_begins() -> None:
    server = FakeServer(tasks=5)
    server.answers = [httpx.ConnectError("refused")]
    with pytest.raises(SimulationError, match="no server answers"):
        client_of(server).check()
