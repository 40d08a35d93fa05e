"""Rejection sampling: the winners are the best by reward, and the policy moves towards them."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.rlhf.conftest import events_of, metrics_of, prompts
from training.rlhf import rejection, trainers
from training.rlhf.rejection import SCORES, Candidate, best
from training.rlhf.rendering import Rendered, Renderer
from training.rlhf.sample import COMPLETIONS, read_completions
from training.rlhf.scoring import Scorer

TEXT = Rendered([1], [2])
PARAMS = {"n": 6, "max_new_tokens": 5, "epochs": 2, "learning_rate": 1e-3, "batch_size": 4}


class PowerCut(BaseException):
    """Nothing catches it, as nothing catches a kill."""


def test_the_best_is_the_highest_score_that_ended() -> None:
    cut, poor, good = (
        Candidate(TEXT, False, 9.0),
        Candidate(TEXT, True, 1.0),
        Candidate(TEXT, True, 2.0),
    )
    assert best([cut, poor, good]) is good
    assert best([cut]) is cut


def test_it_trains_on_the_winners(make_job: Any) -> None:
    job = make_job("rejection", {"prompts": prompts(8)}, PARAMS)
    rejection.run(job)
    metrics = metrics_of(job)
    [curve] = events_of(job, "best_of_n")
    assert curve["best_of_1"] == pytest.approx(metrics["reward_mean"], abs=1e-4)
    assert curve["best_of_1"] < curve["best_of_2"] < curve["best_of_4"]
    assert metrics["demonstrations"] == 8
    assert "past_won_share" not in metrics
    losses = [m["loss"] for m in events_of(job, "train")]
    assert losses[-1] < losses[0]
    assert (job.folder.artifacts / "model" / "model.safetensors").is_file()


def scores(
    reward_folder: str, renderer: Renderer, prompt: dict[str, Any], texts: list[str]
) -> dict[str, float]:
    rendered = [renderer.render(prompt["messages"], {"text": text}) for text in texts]
    return dict(zip(texts, Scorer.load(reward_folder).score(rendered).tolist(), strict=True))


def past(prompt: str, text: str, finish_reason: str = "stop", **more: Any) -> dict[str, Any]:
    row = {"prompt": prompt, "text": text, "token_ids": None, "finish_reason": finish_reason}
    return row | more


def test_past_completions_join_the_candidates(
    make_job: Any, renderer: Renderer, reward_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = prompts(4)
    alone = make_job("rejection", {"prompts": rows}, PARAMS, name="alone")
    rejection.run(alone)
    fresh = list(read_completions(alone.folder.checkpoints / COMPLETIONS))
    # Texts that beat all fresh ones of the first prompt, and that lose to all of the second.
    texts = [chr(97 + i) * length for i in range(26) for length in (1, 3, 9)]
    high, low = (scores(reward_folder, renderer, row, texts) for row in rows[:2])
    first, second = max(texts, key=lambda text: high[text]), min(texts, key=lambda text: low[text])
    repeated = next(row for row in fresh if row["prompt"] == "p2")
    pool = [
        past("p0", first),
        past("p0", first, token_ids=renderer.tokenizer(first)["input_ids"]),
        past("p1", second),
        past("p0", first, "length"),
        past("elsewhere", first),
        past("p3", "z" * 200),
        {key: repeated[key] for key in ("prompt", "text", "token_ids", "finish_reason")},
        {"prompt": "p0", "text": first},
        past("p0", first, token_ids=["x"]),
    ]
    data = {"prompts": rows, "completions": pool}
    job = make_job("rejection", data, PARAMS | {"past_completions": True}, name="with")
    learnt: list[Rendered] = []
    fine_tune = rejection.fine_tune

    def seen(job: Any, model: Any, renderer: Any, texts: Any, **how: Any) -> Any:
        learnt.extend(texts)
        return fine_tune(job, model, renderer, texts, **how)

    monkeypatch.setattr(rejection, "fine_tune", seen)
    rejection.run(job)
    told = next(event for event in events_of(job, "data") if event.get("part") == "completions")
    assert told == {
        "part": "completions",
        "past_completions": 3,
        "dropped_unknown_format": 2,
        "dropped_other_prompt": 1,
        "dropped_too_long": 1,
        "dropped_repeated": 2,
        "unknown_format_lines": [8, 9],
    }
    assert learnt[0] == renderer.render(rows[0]["messages"], {"text": first})
    without, with_past = metrics_of(alone), metrics_of(job)
    assert with_past["past_won_share"] == 0.25
    assert with_past["reward_mean"] == pytest.approx(without["reward_mean"], abs=1e-6)
    assert with_past["reward_best"] > without["reward_best"]
    [curve], [curve_without] = (events_of(one, "best_of_n") for one in (job, alone))
    for name in ("best_of_1", "best_of_2", "best_of_4"):
        assert curve[name] == pytest.approx(curve_without[name], abs=1e-6)


def test_a_cut_past_completion_never_wins_over_one_that_ended(
    make_job: Any, renderer: Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def high_when_cut(self: Any, conversations: Any, texts: Any, renderer: Any) -> Any:
        return torch.tensor([0.0 if t.ids[-1] == renderer.end_id else 9.0 for t in texts])

    monkeypatch.setattr(Scorer, "score_completions", high_when_cut)
    pool = [past("p0", "cut", "length"), past("p0", "whole")]
    data = {"prompts": prompts(1), "completions": pool}
    params = PARAMS | {"past_completions": True, "max_new_tokens": 1}
    job = make_job("rejection", data, params)
    rejection.run(job)
    rows = list(read_completions(job.folder.checkpoints / COMPLETIONS))
    assert {row["finish_reason"] for row in rows} == {"length"}
    assert metrics_of(job)["reward_best"] == 0.0
    assert metrics_of(job)["past_won_share"] == 1.0


def test_pessimism_reaches_the_scorer(make_job: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []
    load = Scorer.load

    def seen(name: str, pessimism: float = 0.0) -> Scorer:
        asked.append(pessimism)
        return load(name)

    monkeypatch.setattr(Scorer, "load", seen)
    rejection.run(make_job("rejection", {"prompts": prompts(2)}, PARAMS | {"pessimism": 0.5}))
    assert asked == [0.5]


def test_no_power_cut_changes_the_result(make_job: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut while sampling, before and after scoring, and at steps; a checkpoint a step."""
    monkeypatch.setattr(trainers, "SECONDS_BETWEEN_CHECKPOINTS", -1)
    data = {"prompts": prompts(8), "completions": [past("p1", "aa"), past("p2", "bb")]}
    params = PARAMS | {"batch_prompts": 3, "past_completions": True}
    whole, cut = (make_job("rejection", data, params, name=name) for name in ("a", "b"))
    rejection.run(whole)
    write = cut.events.write
    for phase, step in (("sample", 2), ("data", 0), ("best_of_n", 0), ("train", 2), ("train", 3)):

        def fail(name: str, *, at: tuple[str, int] = (phase, step), **metrics: Any) -> None:
            if (name, metrics.get("step", 0)) == at:
                raise PowerCut
            write(name, **metrics)

        monkeypatch.setattr(cut.events, "write", fail)
        with pytest.raises(PowerCut):
            rejection.run(cut)
    monkeypatch.setattr(cut.events, "write", write)
    stored = cut.folder.checkpoints / SCORES
    assert len(json.loads(stored.read_text(encoding="utf-8"))["scores"]) == 8 * 6 + 2
    rejection.run(cut)
    assert len(events_of(cut, "resuming")) == 2
    assert metrics_of(cut) == metrics_of(whole)
    first, second = (
        load_file(job.folder.artifacts / "model" / "model.safetensors") for job in (whole, cut)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
