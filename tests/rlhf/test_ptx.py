"""PPO-ptx: which examples, and that their gradient is added whole, scaled, and not overwritten."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.rlhf.conftest import demonstrations, events_of, metrics_of, prompts, said
from training.rlhf import ppo, ptx
from training.rlhf.errors import TrainingError
from training.rlhf.roles import load_models
from training.rlhf.rollouts import collect
from training.rlhf.sample import Prompt, fit_prompts

COEF = 2.5
SMALL = {
    "steps": 2,
    "batch_size": 6,
    "minibatch_size": 3,
    "max_new_tokens": 6,
    "learning_rate": 1e-3,
    "ptx_ratio": 1.5,
    "ptx_coef": COEF,
}
ROWS = [{"text": "the quick brown fox"}, *demonstrations(3), {"text": "jumps over " * 3}]


def job_of(make_job: Any, rows: Any = ROWS, name: str = "job", **params: Any) -> Any:
    return make_job("ppo", {"prompts": prompts(5), "ptx": rows}, SMALL | params, name=name)


def examples_of(job: Any, context: int = 128) -> Any:
    return ptx.load_examples(job, load_models(job, job.spec.params).renderer, context)


def learner_and_experience(job: Any) -> tuple[Any, Any]:
    params = job.spec.params
    models = load_models(job, params)
    rows = [(row, ()) for row in job.rows()]
    fitted: list[Prompt] = fit_prompts(job, models.renderer, 128, rows, params.max_new_tokens)
    experience, _ = collect(models, fitted, params, 1, 0, params.kl_coef)
    return ppo.new_learner(models, params, examples_of(job)), experience


def flat_gradient(learner: Any) -> Tensor:
    """Of the policy, taken: the next one starts from nothing."""
    found = torch.cat([p.grad.flatten() for p in learner.policy.values()])
    learner.policy_optimizer.zero_grad()
    return found


@pytest.mark.parametrize("adapters", [{}, {"lora_rank": 4}])
def test_trap_25_the_gradient_is_that_of_ppo_plus_gamma_times_that_of_ptx(
    make_job: Any, adapters: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_of(make_job, **adapters)
    params = job.spec.params
    learner, experience = learner_and_experience(job)
    # A first step, so that adapters, which start as zero, have gradients everywhere.
    ppo.update(learner, experience, params, 1)
    examples = ptx.due(learner.ptx, 1.0, 0, 4, 1)
    rows = range(5)
    ppo.gradients(learner, experience, rows, params)
    alone = flat_gradient(learner)
    tokens, nll = 0, torch.zeros(())
    with learner.models.acting("policy"):
        for example in examples:
            labels = [-100] * len(example.prompt_ids) + example.completion_ids
            loss = learner.models.policy(
                torch.tensor([example.ids]), labels=torch.tensor([labels])
            ).loss
            nll = nll + loss * len(example.completion_ids)
            tokens += len(example.completion_ids)
        (nll / tokens).backward()
    pretraining = flat_gradient(learner)
    for at_once in (4096, 20):
        monkeypatch.setattr(ptx, "tokens_per_pass", lambda at_once=at_once: at_once)
        told = ppo.gradients(learner, experience, rows, params, examples)
        both = flat_gradient(learner)
        assert torch.allclose(both, alone + COEF * pretraining, atol=1e-6, rtol=1e-5)
        assert told["ptx_loss"] == pytest.approx((nll / tokens).item(), rel=1e-5)
    assert pretraining.abs().max() > 1e-3
    assert not torch.allclose(both, alone, atol=1e-3)


def test_trap_25_gamma_zero_is_ppo_to_the_bit(make_job: Any) -> None:
    ends = []
    for name, change in (("with", {"ptx_coef": 0.0}), ("without", {"ptx_coef": 0.0, "ptx": ()})):
        job = job_of(make_job, name=name)
        learner, experience = learner_and_experience(job)
        learner.ptx = change.get("ptx", learner.ptx)
        params = dataclasses.replace(job.spec.params, ptx_coef=0.0)
        told = ppo.update(learner, experience, params, 1)
        assert "ptx_loss" not in told
        ends.append(torch.cat([p.detach().flatten() for p in learner.policy.values()]))
    assert torch.equal(*ends)


def test_a_run_mixes_them_in_and_says_so(make_job: Any) -> None:
    job = job_of(make_job)
    ppo.run(job)
    assert metrics_of(job)["ptx_loss"] > 0
    assert events_of(job, "data")[-1] == {
        "part": "ptx",
        "ptx_examples": 5,
        "texts_cut": 0,
        "texts_dropped_as_empty": 0,
        "dropped_empty": 0,
        "dropped_refused": 0,
        "dropped_too_long": 0,
    }


def test_pretraining_lowers_the_loss_that_it_is_measured_by(make_job: Any) -> None:
    job = job_of(make_job, steps=12, learning_rate=1e-2, checkpoint_every=100)
    ppo.run(job)
    losses = [event["ptx_loss"] for event in events_of(job, "ppo")]
    assert losses[-1] < 0.5 * losses[0]


def test_of_text_all_tokens_learn_and_of_a_demonstration_the_answer(make_job: Any) -> None:
    job = job_of(make_job, [{"text": "abc"}, demonstrations(1)[0]])
    text, demonstration = examples_of(job)
    renderer = load_models(job, job.spec.params).renderer
    assert text.ids == list(renderer.tokenizer("abc")["input_ids"])
    assert len(text.prompt_ids) == 1
    assert renderer.text(demonstration.completion_ids) == "abab<end>"
    assert demonstration.prompt_ids == renderer.prompt_ids(said("say 0"))


def test_long_text_is_cut_and_long_answers_are_dropped(make_job: Any) -> None:
    rows = [
        {"text": "x" * 25},
        {"text": ""},
        {"messages": said("short"), "completion": "y" * 30},
        {"messages": [{"role": "tool", "content": "?"}], "completion": "y"},
        {"messages": said("nothing"), "completion": ""},
        {"messages": said("a"), "completion": "b"},
    ]
    job = job_of(make_job, rows)
    found = examples_of(job, context=12)
    assert [len(example) for example in found] == [12, 12, 6]  # a piece of one has nothing to learn
    assert events_of(job, "data")[-1] == {
        "part": "ptx",
        "ptx_examples": 3,
        "texts_cut": 1,
        "texts_dropped_as_empty": 1,
        "dropped_empty": 1,
        "dropped_refused": 1,
        "dropped_too_long": 1,
    }


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([{"txt": "a"}], "row 1 of the ptx data"),
        ([{"text": "a b"}, ["text"]], "row 2 of the ptx data"),
        ([{"text": ""}], "no ptx example is left"),
    ],
)
def test_unusable_data_is_refused(make_job: Any, rows: Any, reason: str) -> None:
    with pytest.raises(TrainingError, match=reason):
        ppo.run(job_of(make_job, rows))


def test_every_example_has_its_turn_whatever_the_ratio() -> None:
    examples: Any = list(range(7))
    taken = []
    for first in range(0, 60, 3):
        taken.append(ptx.due(examples, 0.7, first, 3, seed=5))
    flat = [example for part in taken for example in part]
    assert len(flat) == 42
    assert all(sorted(flat[n : n + 7]) == examples for n in range(0, 42, 7))
    assert {len(part) for part in taken} == {2, 3}
    assert taken[4] == ptx.due(examples, 0.7, 12, 3, seed=5)
