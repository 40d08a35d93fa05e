"""Packed examples: as if each were alone, to the last token."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import BloomConfig, BloomForCausalLM, Gemma2Config, Gemma2ForCausalLM

from tests.rlhf.conftest import events_of, metrics_of, said
from training.rlhf import sft, trainers
from training.rlhf.errors import TrainingError
from training.rlhf.losses import logprobs_of
from training.rlhf.packing import IGNORED, Collator, best_fit, labelled, pack, require_separation
from training.rlhf.rendering import Rendered


def examples(count: int, seed: int = 0) -> list[Rendered]:
    draw = random.Random(seed)
    return [
        Rendered(
            [1, *draw.choices(range(6, 200), k=draw.randint(1, 20))],
            [*draw.choices(range(6, 200), k=draw.randint(1, 30)), 2],
        )
        for _ in range(count)
    ]


def answer_losses(model: Any, batch: dict[str, Tensor]) -> dict[tuple[int, ...], list[float]]:
    """The losses of each answer's tokens, by the answer."""
    labels = batch.pop("labels")
    with torch.no_grad():
        logits = model(**batch, use_cache=False).logits
    found: dict[tuple[int, ...], list[float]] = {}
    for row, wanted in enumerate(labels.tolist()):
        columns = [column for column, label in enumerate(wanted) if label != IGNORED]
        while columns:
            run = [columns.pop(0)]
            while columns and columns[0] == run[-1] + 1:
                run.append(columns.pop(0))
            ids = batch["input_ids"][row, run]
            before = logits[row, [column - 1 for column in run]]
            found[tuple(ids.tolist())] = (-logprobs_of(before, ids)).tolist()
    return found


def test_best_fit_fills_rows_with_each_example_once() -> None:
    assert best_fit([5, 3, 2, 4, 1], 5) == [[0], [3, 4], [1, 2]]
    lengths = random.Random(1).choices(range(1, 60), k=200)
    rows = best_fit(lengths, 60)
    assert sorted(place for row in rows for place in row) == list(range(200))
    assert max(sum(lengths[place] for place in row) for row in rows) <= 60
    assert len(rows) <= 11 / 9 * sum(lengths) / 60 + 1


def test_rows_are_as_long_as_wastes_least() -> None:
    assert pack([50, 10, 10]) == [[0, 1, 2]]
    assert pack([50, 30, 20]) == [[0], [1, 2]]
    assert pack([50] * 3) == [[0], [1], [2]]


def test_every_token_has_the_loss_it_has_alone(policy: Any) -> None:
    rows = [labelled(text) for text in examples(40)]
    together, alone = Collator(0, packing=True)(rows), Collator(0)(rows)
    assert len(together["input_ids"]) < 0.75 * len(alone["input_ids"])
    packed, unpacked = answer_losses(policy, together), answer_losses(policy, alone)
    assert packed.keys() == unpacked.keys()
    assert len(packed) == 40
    for answer, losses in packed.items():
        assert losses == pytest.approx(unpacked[answer], abs=1e-5)


def test_without_positions_of_their_own_they_would_leak(policy: Any) -> None:
    batch = Collator(0, packing=True)([labelled(text) for text in examples(40)])
    apart = answer_losses(policy, dict(batch))
    batch["position_ids"] = torch.arange(batch["labels"].shape[1]).expand_as(batch["labels"])
    mixed = answer_losses(policy, batch)
    differences = [abs(a - b) for k in apart for a, b in zip(apart[k], mixed[k], strict=True)]
    assert max(differences) > 1e-2


def test_the_first_token_of_an_example_is_nobodys_answer() -> None:
    batch = Collator(0, packing=True)([{"input_ids": [7, 8], "labels": [7, 8]}] * 2)
    assert batch["labels"].tolist() == [[IGNORED, 8]] * 2


def small(kind: type, config: type, **changes: Any) -> Any:
    torch.manual_seed(0)
    return kind(config(vocab_size=262, hidden_size=32, initializer_range=0.1, **changes)).eval()


def test_a_model_that_cannot_keep_them_apart_is_refused() -> None:
    """ALiBi knows no positions that start anew."""
    with pytest.raises(TrainingError, match="turn packing off"):
        require_separation(small(BloomForCausalLM, BloomConfig, n_head=2), examples(4), 0)


def test_sliding_windows_keep_them_apart(policy: Any) -> None:
    gemma = small(
        Gemma2ForCausalLM,
        Gemma2Config,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=64,
        head_dim=16,
        sliding_window=4,
    )
    for model in (gemma, policy):
        require_separation(model, examples(4), 0)


def uneven(count: int) -> list[dict[str, Any]]:
    draw = random.Random(2)
    return [
        {"messages": said(f"{n}"), "completion": "ab" * draw.choice((1, 2, 3, 20))}
        for n in range(count)
    ]


@pytest.mark.parametrize(("tokens", "share"), [(4096, 0.75), (120, 0.9)])
def test_a_packed_run_makes_the_steps_of_an_unpacked_one(
    make_job: Any, monkeypatch: pytest.MonkeyPatch, tokens: int, share: float
) -> None:
    """Whatever goes through at once; and the rows are in fact fewer."""
    monkeypatch.setattr(trainers, "tokens_per_pass", lambda: tokens)
    widths: dict[bool, int] = {True: 0, False: 0}
    collate = Collator.__call__

    def counted(self: Collator, rows: Any) -> dict[str, Tensor]:
        batch = collate(self, rows)
        widths[self.packing] += batch["input_ids"].numel()
        return batch

    monkeypatch.setattr(Collator, "__call__", counted)
    shared = {"epochs": 2, "learning_rate": 1e-3, "batch_size": 10}
    jobs = [
        make_job("sft", {"demonstrations": uneven(33)}, shared | {"packing": on}, name=f"{on}")
        for on in (True, False)
    ]
    for job in jobs:
        sft.run(job)
    packed, unpacked = (
        [event["loss"] for event in events_of(job, "train") if "loss" in event] for job in jobs
    )
    assert packed == pytest.approx(unpacked, abs=1e-5)
    assert metrics_of(jobs[0]) == pytest.approx(metrics_of(jobs[1]), abs=1e-5)
    weights, others = (
        load_file(job.folder.artifacts / "model" / "model.safetensors") for job in jobs
    )
    assert all(torch.allclose(weights[name], others[name], atol=2e-5) for name in weights)
    assert widths[True] < share * widths[False]
