"""Where completions come from: what engines are asked, what is read back, and who is trusted."""

from __future__ import annotations

import dataclasses
import json
import sys
import threading
import types
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import torch

from tests.rlhf.conftest import events_of, metrics_of, prompts
from training.rlhf import engines, rejection, sample, server
from training.rlhf.errors import Interrupted, TrainingError
from training.rlhf.generate import Completion, Request, Sampling, completion_seed, generate
from training.rlhf.sample import COMPLETIONS, read_completions
from training.rlhf.server import Address, ServerEngine, address

HOW = Sampling(temperature=1.0, top_p=1.0, end_id=2, pad_id=0)
# What a server is asked answers, with a status.
Answer = Callable[[dict[str, Any]], tuple[int, Any]]


class Server:
    """An HTTP server in this process. ``answer`` may be changed; ``asked`` are the bodies."""

    def __init__(self) -> None:
        self.answer: Answer = lambda body: (200, choice())
        self.asked: list[dict[str, Any]] = []
        self.headers: list[Any] = []
        self.paths: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.asked.append(body)
                outer.headers.append(self.headers)
                outer.paths.append(self.path)
                status, answer = outer.answer(body)
                raw = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        # A client that has gone away is no trouble of the server's.
        self.http.handle_error = lambda *_: None  # type: ignore[method-assign]
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that the environment names; nothing waits between attempts."""
    found = Server()
    monkeypatch.setenv("PODIUM_OPENAI_URL", found.url + "/")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(server, "FIRST_DELAY", 0.0)
    yield found
    found.http.shutdown()
    found.http.server_close()


def choice(**changes: Any) -> dict[str, Any]:
    """The answer to a request: ``hi``, ended."""
    whole = {
        "index": 0,
        "text": "hi",
        "finish_reason": "stop",
        "stop_reason": None,
        "token_ids": [80, 81, 2],
        "logprobs": {"token_logprobs": [-1.0, -2.0, -0.5]},
    }
    return {"id": "cmpl-1", "choices": [whole | changes], "usage": {}}


def engine_for(served: Server, renderer: Any, between: Callable[[], None] = lambda: None) -> Any:
    return ServerEngine(Address(served.url), renderer, 128, None, between)


def serve(model: Any, seed_of: dict[int, int], how: Sampling = HOW) -> Answer:
    """Answers of ``model``, drawn as it would be here: sent seeds stand for the whole ones."""

    def answer(body: dict[str, Any]) -> tuple[int, Any]:
        request = Request(body["prompt"], [seed_of[body["seed"]]], body["max_tokens"])
        [[done]] = generate(model, [request], how)
        end = [how.end_id] if done.ended else []
        told = [*(done.logprobs or []), *([done.end_logprob] if end else [])]
        return 200, choice(
            token_ids=[*done.token_ids, *end],
            finish_reason="stop" if done.ended else "length",
            logprobs={"token_logprobs": told},
        )

    return answer


def seeds_sent(count: int, indexes: Sequence[int], seed: int = 7) -> dict[int, int]:
    whole = [completion_seed(seed, f"p{n}", i) for n in range(count) for i in indexes]
    return {one % 2**31: one for one in whole}


def rows_of(job: Any) -> list[dict[str, Any]]:
    return list(read_completions(job.folder.artifacts / COMPLETIONS))


PARAMS = {"max_new_tokens": 8, "batch_prompts": 2}


def test_a_server_of_the_same_model_writes_what_the_model_would(
    make_job: Any, served: Server, policy: Any
) -> None:
    data = {"prompts": prompts(3, range(4))}
    remote, local = (make_job("sample", data, PARAMS, name=name) for name in ("a", "b"))
    served.answer = serve(policy, seeds_sent(3, range(4)))
    sample.run(remote)
    assert len(served.asked) == 12
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PODIUM_OPENAI_URL")
        sample.run(local)
    for ours, theirs in zip(rows_of(local), rows_of(remote), strict=True):
        for name in ("logprobs", "end_logprob"):
            assert theirs.pop(name) == pytest.approx(ours.pop(name), abs=2e-5)
        assert ours == theirs
    assert metrics_of(remote)["tokens"] == metrics_of(local)["tokens"]
    [event] = events_of(remote, "engine_check")
    assert event["mean_difference"] < 1e-5
    assert event["completions"] == 8
    assert [e["engine"] for e in events_of(remote, "engine")] == ["server"]


def test_a_server_of_another_model_is_found_out_before_a_row_is_written(
    make_job: Any, served: Server, policy: Any
) -> None:
    with torch.no_grad():
        policy.lm_head.weight.mul_(3.0)
    served.answer = serve(policy, seeds_sent(2, range(4)))
    job = make_job("sample", {"prompts": prompts(2, range(4))}, PARAMS)
    with pytest.raises(TrainingError, match="another model"):
        sample.run(job)
    assert rows_of(job) == []
    assert events_of(job, "engine_check")[0]["mean_difference"] > 0.1


@pytest.mark.parametrize("before_temperature", [True, False])
@pytest.mark.parametrize("top_p", [1.0, 0.5])
def test_servers_may_tell_logprobs_from_before_or_after_the_temperature(
    make_job: Any, served: Server, policy: Any, before_temperature: bool, top_p: float
) -> None:
    how = dataclasses.replace(HOW, temperature=0.5, top_p=top_p)
    draws = serve(policy, seeds_sent(2, range(4)), how)

    def answer(body: dict[str, Any]) -> tuple[int, Any]:
        status, answer = draws(body)
        [its] = answer["choices"]
        ids = torch.tensor([[*body["prompt"], *its["token_ids"]]])
        logits = policy(input_ids=ids).logits[0, len(body["prompt"]) - 1 : -1].double()
        told = logits.log_softmax(-1)
        if not before_temperature:
            likely = (logits / 0.5).softmax(-1)
            if top_p < 1:
                likely = engines.nucleus(likely, top_p)
            told = (likely / likely.sum(-1, keepdim=True)).log()
        its["logprobs"]["token_logprobs"] = (
            told.gather(-1, ids[:, len(body["prompt"]) :].T).flatten().tolist()
        )
        return status, answer

    served.answer = answer
    params = PARAMS | {"temperature": 0.5, "top_p": top_p}
    job = make_job("sample", {"prompts": prompts(2, range(4))}, params)
    sample.run(job)
    [event] = events_of(job, "engine_check")
    assert event["mean_difference"] < 1e-4
    # Which of the two a server tells is its own affair: not what is stored under that name.
    assert {row["logprobs"] for row in rows_of(job)} == {None}


def test_everything_that_draws_tokens_is_said(
    make_job: Any, served: Server, monkeypatch: pytest.MonkeyPatch, renderer: Any
) -> None:
    monkeypatch.setenv("PODIUM_OPENAI_KEY", "secret")
    monkeypatch.setenv("PODIUM_OPENAI_MODEL", "policy-7")
    monkeypatch.setattr(engines, "TOLERANCE", float("inf"))
    rows = prompts(1, [5])
    job = make_job("sample", {"prompts": rows}, {"temperature": 0.7, "top_p": 0.9})
    sample.run(job)
    [body] = served.asked
    assert served.paths == ["/v1/completions"]
    assert served.headers[0]["Authorization"] == "Bearer secret"
    expected = {
        "model": "policy-7",
        "prompt": renderer.prompt_ids(rows[0]["messages"]),
        "temperature": 0.7,
        "top_p": 0.9,
        "top_k": -1,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "n": 1,
        "seed": completion_seed(7, "p0", 5) % 2**31,
        "stop_token_ids": [renderer.end_id],
        "return_token_ids": True,
    }
    assert {name: body[name] for name in expected} == expected
    assert body["max_tokens"] == min(128, 128 - len(body["prompt"]))
    assert "secret" not in repr(Address(served.url, "secret"))


def test_text_without_ids_is_kept_as_text(make_job: Any, served: Server, renderer: Any) -> None:
    bare = {"token_ids": None, "logprobs": None}
    served.answer = lambda body: (200, choice(text="hello<end>", **bare))
    job = make_job("sample", {"prompts": prompts(1, [0])}, PARAMS)
    sample.run(job)
    [row] = rows_of(job)
    assert (row["text"], row["token_ids"], row["logprobs"]) == ("hello", None, None)
    assert row["finish_reason"] == "stop"
    assert metrics_of(job)["tokens"] == 5
    assert events_of(job, "engine_check") == [{"engine": "server", "completions": 0}]
    rendered = renderer.render([{"role": "user", "content": "x"}], row)
    assert rendered.completion_ids[-1] == renderer.end_id


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, Completion([80, 81], True)),
        ({"finish_reason": "length", "token_ids": [80, 81, 82]}, Completion([80, 81, 82], False)),
        # The end token was the last that fitted: it ended all the same.
        ({"finish_reason": "length"}, Completion([80, 81], True)),
        # An end that only the server knows.
        ({"token_ids": [80, 81, 90], "stop_reason": 90}, Completion([80, 81], True)),
        ({"token_ids": [2], "logprobs": {"token_logprobs": [-1]}}, Completion([], True)),
        ({"token_ids": [80, 81], "logprobs": None}, Completion([80, 81], True)),
    ],
)
def test_how_a_completion_ended(
    served: Server, renderer: Any, changes: dict[str, Any], expected: Completion
) -> None:
    served.answer = lambda body: (200, choice(**changes))
    [[found]] = engine_for(served, renderer).complete([Request([1, 3, 4], [1], 3)], HOW)
    assert found == expected
    if found.logprobs is not None:
        assert len(found.logprobs) == len(found.token_ids)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"<html>busy</html>", "something else than JSON"),
        ([], "list of one choice"),
        ({"choices": []}, "list of one choice"),
        ({"choices": [choice()["choices"][0]] * 2}, "list of one choice"),
        ({"choices": "many"}, "list of one choice"),
        (choice(text=None), "text"),
        (choice(finish_reason="abort"), "finish_reason"),
        (choice(token_ids=["80", "81", "2"]), "token ids"),
        (choice(token_ids=[True, 81, 2]), "token ids"),
        (choice(token_ids=[80, -1, 2]), "token ids"),
        (choice(token_ids=[80] * 9), "token ids"),
        (choice(logprobs={"token_logprobs": [-1.0]}), "log-probabilities for 3 tokens"),
        (choice(logprobs={"token_logprobs": [-1.0, None, -1.0]}), "token_logprobs"),
        (choice(logprobs={"token_logprobs": [-1.0, float("nan"), -1.0]}), "token_logprobs"),
        (choice(logprobs=[-1.0]), "token_logprobs"),
    ],
)
def test_nonsense_is_refused(served: Server, renderer: Any, answer: Any, reason: str) -> None:
    served.answer = lambda body: (200, answer)
    with pytest.raises(TrainingError, match=reason):
        engine_for(served, renderer).complete([Request([1, 3, 4], [1], 5)], HOW)


@pytest.mark.parametrize("status", [500, 503, 429, 408])
def test_a_busy_server_is_asked_again(served: Server, renderer: Any, status: int) -> None:
    answers = iter([(status, "later"), (status, "later"), (200, choice())])
    served.answer = lambda body: next(answers)
    [[found]] = engine_for(served, renderer).complete([Request([1, 3, 4], [1], 5)], HOW)
    assert found == Completion([80, 81], True)
    assert len(served.asked) == 3
    assert served.asked[0] == served.asked[2]


def test_a_broken_server_is_not_asked_for_ever(served: Server, renderer: Any) -> None:
    served.answer = lambda body: (500, {"error": "out of memory"})
    with pytest.raises(TrainingError, match="out of memory"):
        engine_for(served, renderer).complete([Request([1, 3, 4], [1], 5)], HOW)
    assert len(served.asked) == server.ATTEMPTS


def test_a_refusal_is_told_with_the_servers_words(served: Server, renderer: Any) -> None:
    served.answer = lambda body: (400, {"error": "model `x` does not exist"})
    with pytest.raises(TrainingError, match=r"400.*model `x` does not exist"):
        engine_for(served, renderer).complete([Request([1, 3, 4], [1, 2], 5)], HOW)
    assert len(served.asked) <= 2


def test_no_server_at_all(served: Server, renderer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "ATTEMPTS", 2)
    nobody = ServerEngine(Address("http://127.0.0.1:1/v1"), renderer, 128, None, lambda: None)
    with pytest.raises(TrainingError, match="failed 2 times"):
        nobody.complete([Request([1, 3, 4], [1], 5)], HOW)


def test_a_request_to_stop_calls_off_what_is_under_way(served: Server, renderer: Any) -> None:
    """The first answer never comes; the request to stop does not wait for it."""
    asked, release = threading.Event(), threading.Event()

    def hang(body: dict[str, Any]) -> tuple[int, Any]:
        asked.set()
        release.wait(30)
        return 200, choice()

    def between() -> None:
        if asked.is_set():
            raise Interrupted

    served.answer = hang
    try:
        with pytest.raises(Interrupted):
            engine_for(served, renderer, between).complete([Request([1, 3], range(3), 5)], HOW)
    finally:
        release.set()


def test_an_address_must_be_one() -> None:
    assert address({}) is None
    assert address({"PODIUM_OPENAI_URL": ""}) is None
    with pytest.raises(TrainingError, match="http"):
        address({"PODIUM_OPENAI_URL": "gpu:8000"})


def test_an_interrupted_run_asks_for_what_is_missing(
    make_job: Any, served: Server, policy: Any
) -> None:
    data = {"prompts": prompts(3, range(4))}
    whole, resumed = (make_job("sample", data, PARAMS, name=name) for name in ("a", "b"))
    served.answer = serve(policy, seeds_sent(3, range(4)))
    sample.run(whole)
    expected = (whole.folder.artifacts / COMPLETIONS).read_bytes()
    written = b"".join(expected.splitlines(keepends=True)[:9])
    (resumed.folder.artifacts / COMPLETIONS).write_bytes(written)
    served.asked.clear()
    sample.run(resumed)
    assert (resumed.folder.artifacts / COMPLETIONS).read_bytes() == expected
    assert len(served.asked) == 4


def test_rejection_samples_from_the_server_too(make_job: Any, served: Server, policy: Any) -> None:
    served.answer = serve(policy, seeds_sent(3, range(4)))
    params = {"n": 4, "max_new_tokens": 5, "epochs": 1, "learning_rate": 1e-3}
    job = make_job("rejection", {"prompts": prompts(3)}, params)
    rejection.run(job)
    assert len(served.asked) == 12
    assert metrics_of(job)["reward_best"] >= metrics_of(job)["reward_mean"]


@dataclasses.dataclass
class Logprob:
    logprob: float


class Vllm(types.ModuleType):
    """Stands in for vLLM: takes what it takes, gives what it gives."""

    def __init__(self, policy: Any) -> None:
        super().__init__("vllm")
        self.policy = policy
        self.loaded: list[dict[str, Any]] = []
        self.asked: list[tuple[dict[str, Any], dict[str, Any]]] = []
        outer = self

        class LLM:
            def __init__(self, **arguments: Any) -> None:
                outer.loaded.append(arguments)

            def generate(
                self, prompts: Any, sampling_params: Any = None, *, use_tqdm: bool = True
            ) -> list[Any]:
                assert not use_tqdm
                asked = list(zip(prompts, sampling_params, strict=True))
                outer.asked += asked
                return [outer.output(*one) for one in asked]

        self.LLM = LLM
        self.SamplingParams = dict

    def output(self, prompt: dict[str, Any], settings: dict[str, Any]) -> Any:
        request = Request(prompt["prompt_token_ids"], [settings["seed"]], settings["max_tokens"])
        [[done]] = generate(self.policy, [request], HOW)
        ids = (*done.token_ids, *([2] if done.ended else []))
        told = [*(done.logprobs or []), *([done.end_logprob] if done.ended else [])]
        one = types.SimpleNamespace(
            token_ids=ids,
            finish_reason="stop" if done.ended else "length",
            logprobs=[{i: Logprob(p)} for i, p in zip(ids, told, strict=True)],
        )
        return types.SimpleNamespace(outputs=[one])


def test_vllm_is_asked_for_the_same_completions(
    make_job: Any, policy: Any, policy_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    vllm = Vllm(policy)
    data = {"prompts": prompts(3, range(4))}
    own, other = (make_job("sample", data, PARAMS, name=name) for name in ("a", "b"))
    sample.run(own)
    monkeypatch.setitem(sys.modules, "vllm", vllm)
    monkeypatch.setattr(
        engines, "choose", lambda job, *_: engines.VllmEngine(policy_folder, 128, lambda: None)
    )
    sample.run(other)
    for ours, theirs in zip(rows_of(own), rows_of(other), strict=True):
        for name in ("logprobs", "end_logprob"):
            assert theirs.pop(name) == pytest.approx(ours.pop(name), abs=2e-5)
        assert ours == theirs
    [loaded] = vllm.loaded
    assert loaded["model"] == policy_folder
    assert loaded["max_model_len"] == 128
    assert loaded["logprobs_mode"] == "processed_logprobs"
    assert loaded["generation_config"] == "vllm"
    assert not loaded["trust_remote_code"]
    _, settings = vllm.asked[0]
    assert settings["stop_token_ids"] == [2]
    assert settings["logprobs"] == 0
    assert events_of(other, "engine_check")[0]["mean_difference"] < 1e-5


def test_the_engine_is_chosen_by_what_is_there(
    make_job: Any, renderer: Any, policy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job("sample", {"prompts": prompts(1, [0])})
    assert engines.choose(job, renderer, policy).name == "own"
    monkeypatch.setenv("PODIUM_OPENAI_URL", "http://gpu:8000/v1")
    chosen = engines.choose(job, renderer)
    assert (chosen.name, chosen.context) == ("server", 128)
    assert chosen.checked_against == job.spec.model
