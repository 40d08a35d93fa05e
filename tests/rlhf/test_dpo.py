"""DPO on whole rankings: TRL's own loss and gradients, each completion encoded once."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from trl import DPOConfig, DPOTrainer

from tests.rlhf.conftest import compared, events_of, metrics_of, prefers_a
from training.rlhf import dpo
from training.rlhf.comparisons import Collator
from training.rlhf.dpo import KwiseDpoTrainer
from training.rlhf.errors import TrainingError
from training.rlhf.models import load_policy
from training.rlhf.rendering import Renderer

PROMPT = [1, 3, 80, 81, 82, 83, 84, 85, 4]
COMPLETIONS = [[90, 91, 2], [92, 2], [93, 94, 95, 2], [96, 97, 98]]
PAIRS = list(itertools.combinations(range(4), 2))


def arguments(folder: Path, **more: Any) -> DPOConfig:
    return DPOConfig(
        output_dir=str(folder),
        report_to="none",
        use_cpu=True,
        bf16=False,
        max_length=None,
        activation_checkpointing=False,
        beta=0.3,
        **more,
    )


def row() -> dict[str, Any]:
    return {
        "prompt_ids": PROMPT,
        "completions": COMPLETIONS,
        "pairs": [list(pair) for pair in PAIRS],
        "weights": [1.0] * len(PAIRS),
        "distances": [0.0] * len(PAIRS),
        "best": [0],
    }


def policies(folder: str) -> tuple[Any, Any]:
    """A policy that has moved from its reference."""
    policy, reference = load_policy(folder), load_policy(folder, frozen=True)
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return policy, reference


def step(trainer: DPOTrainer, model: Any, batch: Any) -> tuple[float, dict[str, torch.Tensor]]:
    loss = trainer.compute_loss(model, batch)
    loss.backward()
    return loss.item(), {n: p.grad.clone() for n, p in model.named_parameters()}


@pytest.mark.parametrize("share", [False, True])
def test_it_is_the_loss_and_the_gradient_of_trl(
    policy_folder: str, renderer: Renderer, tmp_path: Path, share: bool
) -> None:
    policy, reference = policies(policy_folder)
    ours = KwiseDpoTrainer(
        model=policy, ref_model=reference, args=arguments(tmp_path),
        train_dataset=Dataset.from_list([row()]), processing_class=renderer.tokenizer,
    )  # fmt: skip
    batch = Collator(renderer.pad_id, share)([row()])
    assert ("prefix_ids" in batch) is share
    loss, gradients = step(ours, policy, batch)

    policy, reference = policies(policy_folder)
    rows = [
        {
            "prompt_ids": PROMPT,
            "chosen_ids": COMPLETIONS[winner],
            "rejected_ids": COMPLETIONS[loser],
        }
        for winner, loser in PAIRS
    ]
    peer = DPOTrainer(
        model=policy, ref_model=reference, args=arguments(tmp_path),
        train_dataset=Dataset.from_list([dict.fromkeys(("prompt", "chosen", "rejected"), "a")]),
        processing_class=renderer.tokenizer,
    )  # fmt: skip
    expected, expected_gradients = step(peer, policy, peer.data_collator(rows))
    assert loss == pytest.approx(expected, abs=1e-5)
    for name, gradient in gradients.items():
        assert torch.allclose(gradient, expected_gradients[name], atol=1e-5), name


def test_smoothing_is_trls_too(policy_folder: str, renderer: Renderer, tmp_path: Path) -> None:
    losses = []
    for smoothing in (0.0, 0.25, 0.49):
        policy, reference = policies(policy_folder)
        trainer = KwiseDpoTrainer(
            model=policy, ref_model=reference, args=arguments(tmp_path, label_smoothing=smoothing),
            train_dataset=Dataset.from_list([row()]), processing_class=renderer.tokenizer,
        )  # fmt: skip
        batch = Collator(renderer.pad_id)([row()])
        losses.append(float(trainer.compute_loss(policy, batch)))
        implied = 0.3 * (policy(**batch) - reference(**batch)).detach()
    lead = torch.stack([implied[winner] - implied[loser] for winner, loser in PAIRS])
    right, wrong = (-torch.nn.functional.logsigmoid(sign * lead).mean() for sign in (1, -1))
    assert losses[0] == pytest.approx(float(right), abs=1e-6)
    assert losses[1] == pytest.approx(float(0.75 * right + 0.25 * wrong), abs=1e-6)
    assert losses[2] == pytest.approx(float(0.51 * right + 0.49 * wrong), abs=1e-6)


def test_a_step_is_the_same_however_it_is_cut(make_job: Any, monkeypatch: Any) -> None:
    """Eight prompts at once, or two at a time with accumulation: one gradient, one result."""
    weights = []
    for name, tokens in (("whole", 10_000), ("cut", 150)):
        monkeypatch.setattr("training.rlhf.trainers.tokens_per_pass", lambda tokens=tokens: tokens)
        job = make_job(
            "dpo", {"comparisons": prefers_a(11)}, {"epochs": 2, "batch_size": 8}, name=name
        )
        dpo.run(job)
        model = load_policy(str(job.folder.artifacts / "model"))
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.allclose(*weights, atol=2e-5)


def test_ties_and_equal_texts_are_counted_and_left_out(make_job: Any) -> None:
    rows = [
        compared("tied", ["a", "b", "c"], [(0, 2), (1, 2)]),
        compared("same", ["a", "a"], [(0, 1)]),
    ]
    rows[0]["rankings"][0]["ties"] = 1
    job = make_job("dpo", {"comparisons": rows}, {"epochs": 1})
    dpo.run(job)
    [counts] = events_of(job, "data")
    assert (counts["ties_dropped"], counts["pairs_unusable"], counts["pairs"]) == (1, 1, 2)
    assert metrics_of(job)["prompts"] == 1
    with pytest.raises(TrainingError, match="no prompt has two different completions"):
        dpo.run(make_job("dpo", {"comparisons": rows[1:]}, name="none"))
