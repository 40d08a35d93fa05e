"""Sampling from another distribution than the one that is trained ends a run."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from tests.rlhf.conftest import events_of
from tests.rlhf.test_ppo import loaded, ppo_job
from training.rlhf import ppo, rollouts
from training.rlhf.agreement import check_agreement
from training.rlhf.errors import TrainingError


def test_sampling_and_training_see_the_same_distribution(make_job: Any) -> None:
    job = ppo_job(make_job, temperature=0.7)
    ppo.run(job)
    assert max(event["sampling_error"] for event in events_of(job, "ppo")) < 1e-4


def test_a_sampler_of_another_temperature_ends_the_run(
    make_job: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At any step, not just the first."""
    job = ppo_job(make_job)
    models, fitted, params = loaded(job)
    learner = ppo.new_learner(models, params)
    assert ppo.iterate(job, learner, fitted, params)
    generate = rollouts.generate

    def hotter(model: Any, requests: Any, how: Any) -> Any:
        return generate(model, requests, dataclasses.replace(how, temperature=1.2))

    monkeypatch.setattr(rollouts, "generate", hotter)
    with pytest.raises(TrainingError, match="different distributions"):
        ppo.iterate(job, learner, fitted, params)


def test_what_is_no_number_does_not_agree() -> None:
    told = torch.tensor([[-1.0, -2.0, 0.0]])
    mask = torch.tensor([[1, 1, 0]])
    check_agreement(told, told + 1e-5, mask)
    for wrong in (float("nan"), float("inf"), -2.1):
        with pytest.raises(TrainingError, match="different distributions"):
            check_agreement(told, torch.tensor([[-1.0, wrong, 0.0]]), mask)


@pytest.mark.parametrize("shift", [0.1, float("nan")])
def test_training_on_other_logprobs_than_were_judged_ends_the_run(
    make_job: Any, monkeypatch: pytest.MonkeyPatch, shift: float
) -> None:
    models, fitted, params = loaded(ppo_job(make_job))
    experience, _ = rollouts.collect(models, fitted, params, 1, 0, 0.0)
    learner = ppo.new_learner(models, params)
    logprobs = ppo.completion_logprobs
    monkeypatch.setattr(ppo, "completion_logprobs", lambda *given: logprobs(*given) + shift)
    monkeypatch.setattr(ppo, "apply_gradients", lambda *_: {"grad_norm": 0.0})
    with pytest.raises(TrainingError, match="when they were judged"):
        ppo.update(learner, experience, params, 1)
