"""The policy that PPO keeps, and that the result's figures are of that one."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.rlhf.conftest import events_of, metrics_of
from tests.rlhf.test_ppo import loaded, ppo_job
from training.jobs.errors import SpecError
from training.jobs.params import parse_params
from training.rlhf import ppo
from training.rlhf.errors import Interrupted
from training.rlhf.learner import set_rates
from training.rlhf.models import load_policy
from training.rlhf.order import visits
from training.rlhf.rollouts import collect

FIGURES = ("reward_mean", "reward_std", "kl", "entropy", "length_mean", "eos_share")


@pytest.mark.parametrize(
    "options",
    [{}, {"ema_decay": 0.5}, {"lora_rank": 4}, {"kl_target": 1.0, "kl_horizon": 6}],
    ids=str,
)
def test_the_result_tells_the_figures_of_the_artifact(
    make_job: Any, options: dict[str, Any]
) -> None:
    """Of the loaded artifact, on the prompts and with the noise of the step that would follow."""
    job = ppo_job(make_job, steps=2, learning_rate=3e-2, **options)
    ppo.run(job)
    metrics = metrics_of(job)
    models, fitted, params = loaded(ppo_job(make_job, name="again", steps=2))
    models.policy.load_state_dict(
        load_policy(str(job.folder.artifacts / "model")).state_dict(), strict=True
    )
    batch = [fitted[n] for n in visits(len(fitted), job.spec.seed, 12, 6)]
    _, measured = collect(models, batch, params, job.spec.seed, 12, 0.0)
    for name in FIGURES:
        assert metrics[name] == pytest.approx(measured[name], abs=1e-3), name
    assert metrics["kl"] > 1e-3
    assert metrics["reward_mean"] != events_of(job, "ppo")[-1]["reward_mean"]
    assert metrics["policy_loss"] == events_of(job, "ppo")[-1]["policy_loss"]


@pytest.mark.parametrize("options", [{}, {"ema_decay": 0.5}], ids=str)
def test_a_stop_after_the_last_step_costs_nothing(make_job: Any, options: dict[str, Any]) -> None:
    whole, stopped = (ppo_job(make_job, name=n, steps=2, **options) for n in ("a", "b"))
    ppo.run(whole)
    models, fitted, params = loaded(stopped)
    learner = ppo.new_learner(models, params)
    for _ in range(2):
        assert ppo.iterate(stopped, learner, fitted, params)
    stopped.stopping = True
    with pytest.raises(Interrupted):
        ppo._keep(stopped, learner, params)
    stopped.stopping = False
    ppo.run(stopped)
    assert metrics_of(stopped) == metrics_of(whole)


def test_a_budget_that_the_start_spends_keeps_the_start(make_job: Any) -> None:
    job = ppo_job(make_job, kl_budget=1.0)
    models, fitted, params = loaded(job)
    with torch.no_grad():
        models.policy.lm_head.weight.mul_(8)
    learner = ppo.new_learner(models, params)
    assert not ppo.iterate(job, learner, fitted, params)
    assert learner.step == 0
    assert learner.latest["kl"] > 1.0


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"kl_target": 5.0, "kl_horizon": 63}, "kl_horizon"),
        ({"kl_target": 5.0, "batch_size": 20_000}, "kl_horizon"),
        ({"kl_budget": 1.0, "ema_decay": 0.9}, "ema_decay"),
        ({"value_coef": 0.1}, "value_coef"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(params: dict[str, Any], field: str) -> None:
    with pytest.raises(SpecError, match=rf"params\.{field}"):
        parse_params("ppo", params)


def test_the_coefficient_stays_positive_at_the_shortest_horizon(make_job: Any) -> None:
    job = ppo_job(make_job, steps=3, kl_target=1e6, kl_horizon=6)
    ppo.run(job)
    coefs = [event["kl_coef"] for event in events_of(job, "ppo")]
    assert coefs == pytest.approx([0.2, 0.2 * 0.8, 0.2 * 0.8**2])


SPENDING = {"learning_rate": 1e-2, "kl_budget": 0.5, "kl_coef": 0.0, "checkpoint_every": 1}


def test_a_spent_kl_budget_ends_the_run_with_the_last_policy_within_it(make_job: Any) -> None:
    job = ppo_job(make_job, steps=50, **SPENDING)
    ppo.run(job)
    [spent] = events_of(job, "kl_budget")
    metrics = metrics_of(job)
    assert metrics["kl"] <= 0.5 < spent["kl"]
    assert metrics["steps"] < 49
    # What is kept is the policy of a run that was asked for so many steps in the first place.
    short = ppo_job(make_job, name="short", steps=metrics["steps"], **SPENDING)
    # The warm-up counts in steps of the whole run.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ppo, "set_rates", lambda learner, _: set_rates(learner, 50))
        ppo.run(short)
    kept, expected = (
        load_policy(str(j.folder.artifacts / "model")).state_dict() for j in (job, short)
    )
    assert all(torch.equal(kept[name], expected[name]) for name in expected)
    assert events_of(short, "kl_budget") == []
    # And so are its figures, measured before the update that was undone.
    assert metrics_of(short) == metrics
    assert metrics["kl"] == events_of(job, "ppo")[-1]["kl"]
    assert metrics["policy_loss"] == events_of(job, "ppo")[-2]["policy_loss"]


def test_what_the_budget_allows_survives_a_stop(make_job: Any) -> None:
    whole, stopped = (ppo_job(make_job, name=n, steps=50, **SPENDING) for n in ("a", "b"))
    ppo.run(whole)
    steps = metrics_of(whole)["steps"]
    models, fitted, params = loaded(stopped)
    learner = ppo.new_learner(models, params)
    for _ in range(steps):
        assert ppo.iterate(stopped, learner, fitted, params)
    stopped.stopping = True
    with pytest.raises(Interrupted):
        ppo._keep(stopped, learner, params)
    stopped.stopping = False
    ppo.run(stopped)
    assert metrics_of(stopped) == metrics_of(whole)
    kept, expected = (
        load_policy(str(j.folder.artifacts / "model")).state_dict() for j in (stopped, whole)
    )
    assert all(torch.equal(kept[name], expected[name]) for name in expected)
