"""Rejection sampling: the winners are the best by reward, and the policy moves towards them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.rlhf.conftest import events_of, metrics_of, prompts
from training.rlhf import rejection
from training.rlhf.rejection import Candidate, best
from training.rlhf.rendering import Rendered

TEXT = Rendered([1], [2])


def test_the_best_is_the_highest_score_that_ended() -> None:
    cut, poor, good = (
        Candidate(TEXT, False, 9.0),
        Candidate(TEXT, True, 1.0),
        Candidate(TEXT, True, 2.0),
    )
    assert best([cut, poor, good]) is good
    assert best([cut]) is cut


def test_it_trains_on_the_winners(make_job: Any) -> None:
    params = {"n": 6, "max_new_tokens": 5, "epochs": 2, "learning_rate": 1e-3, "batch_size": 4}
    job = make_job("rejection", {"prompts": prompts(8)}, params)
    rejection.run(job)
    metrics = metrics_of(job)
    [curve] = events_of(job, "best_of_n")
    assert curve["best_of_1"] == pytest.approx(metrics["reward_mean"], abs=1e-4)
    assert curve["best_of_1"] < curve["best_of_2"] < curve["best_of_4"]
    assert metrics["demonstrations"] == 8
    losses = [m["loss"] for m in events_of(job, "train")]
    assert losses[-1] < losses[0]
    assert (job.folder.artifacts / "model" / "model.safetensors").is_file()
