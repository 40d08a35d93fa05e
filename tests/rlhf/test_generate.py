"""Sampling: what a completion depends on, and what it does not."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from tests.rlhf.conftest import events_of, metrics_of, prompts, said
from training.rlhf import sample
from training.rlhf.batching import pad, positions
from training.rlhf.errors import Interrupted, TrainingError
from training.rlhf.generate import Request, Sampling, draw, generate, nucleus, uniforms
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
    counts = torch.bincount(draw(logits, noise, HOW), minlength=3) / 3000
    assert torch.allclose(counts, torch.tensor([0.5, 0.2, 0.3]), atol=0.03)


def test_the_nucleus_holds_the_fewest_likeliest_tokens() -> None:
    kept = nucleus(torch.tensor([[0.1, 0.5, 0.25, 0.15]]), 0.7)
    assert kept.tolist() == [[0.0, 0.5, 0.25, 0.0]]


def test_a_token_without_probability_is_never_drawn() -> None:
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf]])
    for noise in (0.0, 0.5, 1 - 2**-53):
        assert draw(logits, torch.tensor([noise], dtype=torch.float64), HOW).tolist() == [1]


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


def test_a_long_prompt_gets_what_room_is_left(make_job: Any) -> None:
    rows = [{"prompt": "long", "messages": said("y" * 120), "indexes": [0, 1, 2]}]
    job = make_job("sample", {"prompts": rows}, {"max_new_tokens": 50})
    sample.run(job)
    assert all(len(row["token_ids"]) <= 128 - 123 for row in texts(job))
