"""Sampling: what a completion depends on, and what it does not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from tests.rlhf.conftest import events_of, metrics_of, prompts, said
from training.rlhf import generate as generating
from training.rlhf import sample
from training.rlhf.batching import pad, positions
from training.rlhf.errors import Interrupted, TrainingError
from training.rlhf.generate import (
    Completion,
    Request,
    Sampling,
    draw,
    generate,
    nucleus,
    uniforms,
)
from training.rlhf.losses import logprobs_of
from training.rlhf.sample import COMPLETIONS, read_completions

HOW = Sampling(temperature=1.0, top_p=1.0, end_id=2, pad_id=0)
FOUR = range(4)


def test_left_padding_leaves_the_logits_alone(policy: Any) -> None:
    sequences = [[1, 3, 90, 4], [1, 3, 70, 71, 72, 73, 74, 4]]
    ids, mask = pad(sequences, 0, "left")
    together = policy(input_ids=ids, attention_mask=mask, position_ids=positions(mask)).logits
    for row, sequence in enumerate(sequences):
        alone = policy(torch.tensor([sequence])).logits[0]
        assert torch.allclose(together[row, -len(sequence) :], alone, atol=1e-5)


def test_the_cache_gives_the_logits_of_a_full_pass(policy: Any) -> None:
    greedy = Sampling(temperature=0.0, top_p=1.0, end_id=-1, pad_id=0)
    requests = [Request([1, 3, 80, 4], [0, 0], 6), Request([1, 3, 80, 81, 82, 4], [0], 6)]
    for request, answers in zip(requests, generate(policy, requests, greedy), strict=True):
        for answer in answers:
            ids = list(request.prompt_ids)
            for token in answer.token_ids:
                assert policy(torch.tensor([ids])).logits[0, -1].argmax().item() == token
                ids.append(token)


def test_a_completion_does_not_depend_on_its_batch(policy: Any) -> None:
    requests = [Request([1, 3, 70 + n] + [90] * n + [4], [n, n + 100], 12) for n in range(5)]
    together = generate(policy, requests, HOW)
    assert [generate(policy, [request], HOW)[0] for request in requests] == together
    assert generate(policy, [Request(requests[2].prompt_ids, [102], 12)], HOW)[0] == [
        together[2][1]
    ]


def test_rows_keep_their_own_limits(policy: Any) -> None:
    endless = Sampling(temperature=1.0, top_p=1.0, end_id=-1, pad_id=0)
    short, long = generate(policy, [Request([1], [1], 2), Request([1], [1], 9)], endless)
    assert [len(short[0].token_ids), len(long[0].token_ids)] == [2, 9]
    assert long[0].token_ids[:2] == short[0].token_ids


def test_drawing_follows_the_probabilities() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.2, 0.3]])).expand(3000, 3)
    noise = uniforms(1, 3000)
    counts = torch.bincount(draw(logits, noise, HOW)[0], minlength=3) / 3000
    assert torch.allclose(counts, torch.tensor([0.5, 0.2, 0.3]), atol=0.03)


def test_the_nucleus_holds_the_fewest_likeliest_tokens() -> None:
    kept = nucleus(torch.tensor([[0.1, 0.5, 0.25, 0.15]]), 0.7)
    assert kept.tolist() == [[0.0, 0.5, 0.25, 0.0]]


def test_a_token_without_probability_is_never_drawn() -> None:
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf]])
    for noise in (0.0, 0.5, 1 - 2**-53):
        token, logprob = draw(logits, torch.tensor([noise], dtype=torch.float64), HOW)
        assert (token.tolist(), logprob.tolist()) == ([1], [0.0])


def teacher_forced(policy: Any, prompt_ids: Sequence[int], tokens: Sequence[int], t: float) -> Any:
    """Log-probabilities of the tokens in one pass without a cache."""
    ids = torch.tensor([[*prompt_ids, *tokens]])
    logits = policy(input_ids=ids).logits[:, len(prompt_ids) - 1 : -1]
    return logprobs_of(logits, ids[:, len(prompt_ids) :], t)[0]


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 1.0), (1.3, 0.6), (0.0, 1.0)])
def test_logprobs_are_those_of_the_whole_distribution_at_the_temperature(
    policy: Any, temperature: float, top_p: float
) -> None:
    how = Sampling(temperature=temperature, top_p=top_p, end_id=2, pad_id=0)
    requests = [
        Request([1, 3, 80, 4], range(20), 30),
        Request([1, 3, 80, 81, 82, 83, 84, 4], range(20, 25), 7),
    ]
    answers = generate(policy, requests, how)
    ended = 0
    for request, completions in zip(requests, answers, strict=True):
        for completion in completions:
            assert completion.logprobs is not None
            assert len(completion.logprobs) == len(completion.token_ids)
            assert (completion.end_logprob is not None) == completion.ended
            end = [2] if completion.ended else []
            told = [*completion.logprobs, *([completion.end_logprob] if end else [])]
            expected = teacher_forced(
                policy, request.prompt_ids, [*completion.token_ids, *end], temperature or 1.0
            )
            assert torch.allclose(torch.tensor(told), expected, atol=1e-5)
            ended += completion.ended
    assert ended or temperature == 0


def test_a_completion_may_be_empty(policy: Any) -> None:
    class Ends(torch.nn.Module):
        """The policy, but sure to end."""

        def __init__(self) -> None:
            super().__init__()
            self.policy = policy
            self.config = policy.config

        def forward(self, **inputs: Any) -> Any:
            output = self.policy(**inputs)
            output.logits = torch.full_like(output.logits, -1e9)
            output.logits[..., 2] = 0.0
            return output

    [[first, second]] = generate(Ends(), [Request([1, 3, 4], [1, 2], 5)], HOW)
    assert first == second == Completion([], True, [], 0.0)


def test_nothing_wanted_is_nothing_written(policy: Any) -> None:
    assert generate(policy, [Request([1], [], 3), Request([1, 3], [], 3)], HOW) == [[], []]
    assert generate(policy, [], HOW) == []


def texts(job: Any) -> list[dict[str, Any]]:
    return list(read_completions(job.folder.artifacts / COMPLETIONS))


def test_the_same_seed_writes_the_same_text(make_job: Any) -> None:
    data, params = {"prompts": prompts(3, FOUR)}, {"max_new_tokens": 8, "batch_prompts": 2}
    first, second = (make_job("sample", data, params, name=name) for name in ("a", "b"))
    other = make_job("sample", data, params, name="c", seed=8)
    for job in (first, second, other):
        sample.run(job)
    assert texts(first) == texts(second)
    assert texts(first) != texts(other)
    assert [(row["prompt"], row["index"]) for row in texts(first)] == [
        (f"p{n}", k) for n in range(3) for k in FOUR
    ]
    assert metrics_of(first)["completions"] == 12
    assert metrics_of(first)["tokens"] == sum(len(row["token_ids"]) for row in texts(first))


def test_completions_say_how_they_ended(make_job: Any, renderer: Any) -> None:
    job = make_job("sample", {"prompts": prompts(6, FOUR)}, {"max_new_tokens": 40})
    sample.run(job)
    rows = texts(job)
    assert {row["finish_reason"] for row in rows} == {"stop", "length"}
    for row in rows:
        assert renderer.end_id not in row["token_ids"]
        assert (len(row["token_ids"]) == 40) == (row["finish_reason"] == "length")
        assert row["text"] == renderer.text(row["token_ids"])
        assert row["template_sha256"] == renderer.template_sha256
        assert len(row["logprobs"]) == len(row["token_ids"])
        assert (row["end_logprob"] is None) == (row["finish_reason"] == "length")
        assert all(value == round(value, 5) <= 0 for value in row["logprobs"])


@pytest.mark.parametrize("torn", ["", '{"prompt": "p4", "ind'])
def test_an_interrupted_run_writes_what_is_missing(make_job: Any, torn: str) -> None:
    data, params = {"prompts": prompts(5, FOUR)}, {"max_new_tokens": 8, "batch_prompts": 2}
    whole, resumed = (make_job("sample", data, params, name=name) for name in ("a", "b"))
    sample.run(whole)
    expected = (whole.folder.artifacts / COMPLETIONS).read_bytes()
    # Killed in the second chunk: its first rows are there, the last one perhaps torn.
    written = b"".join(expected.splitlines(keepends=True)[:11]) + torn.encode()
    (resumed.folder.artifacts / COMPLETIONS).write_bytes(written)
    sample.run(resumed)
    assert (resumed.folder.artifacts / COMPLETIONS).read_bytes() == expected
    assert len(events_of(resumed, "sample")) == 2


def test_a_request_to_stop_is_honoured_between_tokens(make_job: Any) -> None:
    job = make_job("sample", {"prompts": prompts(2, FOUR)}, {"max_new_tokens": 8})
    job.stopping = True
    with pytest.raises(Interrupted):
        sample.run(job)
    assert job.folder.read_result() is None


def test_only_the_wanted_indexes_are_written(make_job: Any) -> None:
    rows = [{"prompt": "p", "messages": said("hi"), "indexes": [2, 5]}]
    job = make_job("sample", {"prompts": rows}, {"max_new_tokens": 3})
    sample.run(job)
    assert [row["index"] for row in texts(job)] == [2, 5]
    assert json.loads((job.folder.artifacts / COMPLETIONS).read_text().splitlines()[0])["seed"] > 0


def test_a_prompt_that_fills_the_context_is_reported(make_job: Any) -> None:
    rows = [*prompts(1, FOUR), {"prompt": "long", "messages": said("y" * 130), "indexes": [0]}]
    job = make_job("sample", {"prompts": rows}, {"max_new_tokens": 4})
    sample.run(job)
    assert metrics_of(job)["prompts_dropped"] == 1
    assert events_of(job, "data")[0]["prompts"] == ["long"]
    alone = make_job("sample", {"prompts": rows[1:]}, name="alone")
    with pytest.raises(TrainingError, match="leaves room"):
        sample.run(alone)


def test_a_conversation_that_the_template_refuses_is_reported(make_job: Any) -> None:
    odd = [{"role": "tool", "content": "x"}]
    rows = [*prompts(1, [0]), {"prompt": "odd", "messages": odd, "indexes": [0]}]
    job = make_job("sample", {"prompts": rows}, {"max_new_tokens": 2})
    sample.run(job)
    [event] = events_of(job, "data")
    assert (event["reason"], event["prompts"]) == ("refused_by_template", ["odd"])


def test_prompts_get_what_room_is_left_beside_each_other(make_job: Any) -> None:
    """A prompt has three tokens more than letters; the context is 128."""
    letters = {"fills": 125, "leaves one": 124, "leaves five": 120, "short": 1}
    rows = [
        {"prompt": name, "messages": said("y" * count), "indexes": list(range(6))}
        for name, count in letters.items()
    ]
    job = make_job("sample", {"prompts": rows}, {"max_new_tokens": 50})
    sample.run(job)
    [event] = events_of(job, "data")
    assert event["prompts"] == ["fills"]
    longest: dict[str, int] = {}
    for row in texts(job):
        length = len(row["token_ids"]) + (row["finish_reason"] == "stop")
        longest[row["prompt"]] = max(length, longest.get(row["prompt"], 0))
    assert longest["leaves one"] == 1
    assert longest["leaves five"] == 5
    assert longest["short"] > 5


@pytest.mark.parametrize("value", [float("nan"), -float("inf")])
def test_a_logprob_that_is_no_number_is_refused(renderer: Any, value: float) -> None:
    """The label store could not hold it."""
    with pytest.raises(TrainingError, match="log-probability"):
        sample._row(renderer, Completion([80], False, [value]), exact=True)


@pytest.mark.parametrize("tokens", [1, 60, 100, 10_000])
def test_a_bound_on_the_cache_changes_no_completion(
    policy: Any, monkeypatch: pytest.MonkeyPatch, tokens: int
) -> None:
    """Requests are cut between and within; rows and tokens of each batch keep to the bound."""
    requests = [
        Request([1, 3, *range(80, 80 + n), 4], list(range(10 * n, 10 * n + count)), 4 + n % 5)
        for n, count in enumerate([3, 0, 7, 1, 5, 2])
    ]
    whole = generate(policy, requests, HOW)
    batches: list[int] = []
    inner = generating._generate_batch

    def watched(model: Any, given: Any, *more: Any) -> Any:
        widest = max(len(request.prompt_ids) + request.limit for request in given)
        rows = sum(len(request.seeds) for request in given)
        assert rows == 1 or rows * widest <= tokens
        batches.append(rows)
        return inner(model, given, *more)

    monkeypatch.setattr(generating, "_generate_batch", watched)
    monkeypatch.setattr(generating, "CACHE_TOKENS", {"cpu": tokens, "cuda": tokens})
    assert generate(policy, requests, HOW) == whole
    assert sum(batches) == 18
    assert (len(batches) == 1) == (tokens == 10_000)
    assert [len(group) for group in whole] == [3, 0, 7, 1, 5, 2]
