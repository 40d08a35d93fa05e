"""The runs on TRL's trainers from end to end, and how they stop, resume and refuse."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.rlhf.conftest import (
    compared,
    demonstrations,
    events_of,
    metrics_of,
    prefers_a,
    said,
)
from training.rlhf import dpo, sft
from training.rlhf.comparisons import Collator, load_comparisons, to_rows
from training.rlhf.errors import Interrupted, TrainingError
from training.rlhf.losses import logprobs_of
from training.rlhf.models import load_policy
from training.rlhf.rollouts import logprobs_and_entropy

SFT = {"epochs": 6, "learning_rate": 3e-3, "batch_size": 4}


def test_sft_learns_the_demonstrations(make_job: Any, renderer: Any) -> None:
    job = make_job("sft", {"demonstrations": demonstrations(24)}, SFT)
    sft.run(job)
    losses = [m["loss"] for m in events_of(job, "train")]
    assert losses[-1] < 0.5 * losses[0]
    assert metrics_of(job)["eval_loss"] < losses[0]
    tuned = load_policy(str(job.folder.artifacts / "model"))
    text = renderer.render(said("say 1"), {"text": "abab"})
    before = logprobs_and_entropy(load_policy(job.spec.model), [text], 0, 1.0)[0].sum()
    assert logprobs_and_entropy(tuned, [text], 0, 1.0)[0].sum() > before


def test_sft_without_validation_says_so(make_job: Any) -> None:
    job = make_job("sft", {"demonstrations": demonstrations(3)}, SFT | {"epochs": 1})
    sft.run(job)
    assert metrics_of(job)["eval_loss"] is None


def test_empty_and_long_demonstrations_are_counted(make_job: Any) -> None:
    rows = demonstrations(2)
    rows[0]["completion"] = " "
    rows.append({**rows[1], "completion": "z" * 200})
    job = make_job("sft", {"demonstrations": rows}, {"epochs": 1})
    sft.run(job)
    counts, parts = events_of(job, "data")
    assert counts["dropped_empty"] == counts["dropped_too_long"] == counts["demonstrations"] == 1
    assert parts == {"part": "split", "training": 1, "validation": 0}
    with pytest.raises(TrainingError, match=r"no demonstration .* empty 1, refused 0, too_long 1"):
        sft.run(make_job("sft", {"demonstrations": rows[::2]}, name="none"))


def test_a_stopped_run_goes_on_to_the_same_weights(
    make_job: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = {"demonstrations": demonstrations(12)}
    whole, stopped = (make_job("sft", data, SFT, name=name) for name in ("a", "b"))
    sft.run(whole)
    write = stopped.events.write

    def ask_at_the_fourth_step(phase: str, **metrics: Any) -> None:
        write(phase, **metrics)
        stopped.stopping |= phase == "train" and metrics["step"] == 4

    monkeypatch.setattr(stopped.events, "write", ask_at_the_fourth_step)
    with pytest.raises(Interrupted):
        sft.run(stopped)
    assert stopped.folder.read_result() is None
    stopped.stopping = False
    monkeypatch.setattr(stopped.events, "write", write)
    sft.run(stopped)
    assert events_of(stopped, "resuming") == [{}]
    first, second = (
        load_file(job.folder.artifacts / "model" / "model.safetensors") for job in (whole, stopped)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert metrics_of(stopped) == metrics_of(whole)


def test_a_loss_that_is_not_finite_ends_the_run(make_job: Any) -> None:
    job = make_job("sft", {"demonstrations": demonstrations(8)}, SFT | {"learning_rate": 1.0})
    job.spec.params.__dict__["learning_rate"] = 1e30
    with pytest.raises(TrainingError, match="diverged"):
        sft.run(job)
    assert not (job.folder.artifacts / "model").exists()


def test_dpo_prefers_the_winners_more_than_its_reference(make_job: Any) -> None:
    job = make_job(
        "dpo",
        {"comparisons": prefers_a(16)},
        {"epochs": 3, "learning_rate": 1e-3, "batch_size": 4, "beta": 0.5},
    )
    dpo.run(job)
    metrics = metrics_of(job)
    losses = [m["loss"] for m in events_of(job, "train")]
    assert losses[0] == pytest.approx(0.6931, abs=1e-3)
    assert losses[-1] < 0.6
    assert metrics["accuracy"] > 0.8
    assert metrics["margin"] > 0


def test_dpo_counts_the_tokens_that_ppo_counts(
    make_job: Any, renderer: Any, policy_folder: str
) -> None:
    rows = [compared("p", ["one", "three"], [(0, 1)])]
    job = make_job("dpo", {"comparisons": rows})
    [comparison] = load_comparisons(job, renderer, 100)
    batch = Collator(0)(to_rows([comparison]))
    model = load_policy(policy_folder)
    logits = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1]
    shifted = batch["completion_mask"][:, 1:]
    ours = (logprobs_of(logits, batch["input_ids"][:, 1:]) * shifted).sum(1)
    expected = logprobs_and_entropy(model, comparison.texts, 0, 1.0)[0].sum(1)
    assert torch.allclose(ours, expected, atol=1e-4)
