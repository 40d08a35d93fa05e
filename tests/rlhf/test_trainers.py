"""What the runs on TRL's trainers share: divergence, speed, precision, recomputed activations."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.rlhf.conftest import demonstrations, events_of, prefers_a, random_reward_model
from training.rlhf import dpo, reward, sft, trainers
from training.rlhf.errors import TrainingError
from training.rlhf.models import load_policy, score_texts
from training.rlhf.prefix import can_share, lay_out_groups

JOBS = {
    "sft": (sft, {"demonstrations": demonstrations(8)}, {"epochs": 2, "batch_size": 2}),
    "reward": (reward, {"comparisons": prefers_a(6)}, {"epochs": 2, "batch_prompts": 2}),
    "dpo": (dpo, {"comparisons": prefers_a(4)}, {"epochs": 2, "batch_size": 2}),
}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("kind", JOBS)
def test_divergence_is_told_at_its_step_before_the_weights_are_touched(
    make_job: Any, monkeypatch: pytest.MonkeyPatch, kind: str, value: float
) -> None:
    module, data, params = JOBS[kind]
    trainer = {"sft": sft.Trainer, "reward": reward.KwiseRewardTrainer, "dpo": dpo.KwiseDpoTrainer}
    whole, calls, seen = trainer[kind].compute_loss, [], []

    def diverging(self: Any, *arguments: Any, **named: Any) -> Any:
        calls.append(1)
        seen[:] = [self.model]
        loss = whole(self, *arguments, **named)
        return loss * value if len(calls) == 3 else loss

    monkeypatch.setattr(trainer[kind], "compute_loss", diverging)
    job = make_job(kind, data, params)
    with pytest.raises(TrainingError, match=r"diverged at step 3.*lower the learning rate"):
        module.run(job)
    assert all(torch.isfinite(p).all() for p in seen[0].parameters())
    assert len(events_of(job, "train")) == 2


def test_many_steps_make_few_events_with_their_means(
    make_job: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, thinned = (
        make_job("dpo", JOBS["dpo"][1], {"epochs": 5, "batch_size": 2}, name=name) for name in "ab"
    )
    dpo.run(job)
    monkeypatch.setattr(trainers, "EVENTS_PER_RUN", 3)
    dpo.run(thinned)
    every, few = events_of(job, "train"), events_of(thinned, "train")
    assert len(every) == 10
    assert [m["epoch"] for m in few] == [1.5, 3, 4.5, 5]
    for part, (begin, end) in zip(few, [(0, 3), (3, 6), (6, 9), (9, 10)], strict=True):
        losses = [m["loss"] for m in every[begin:end]]
        assert part["loss"] == pytest.approx(sum(losses) / len(losses))


def test_saving_takes_a_twentieth_of_a_run_at_most(
    make_job: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step takes 10 s, an evaluation 500; the first checkpoint takes 30 s, the next ones 1 s."""
    job = make_job("sft", JOBS["sft"][1])
    now, saved = 0.0, []
    control: Any = SimpleNamespace(should_save=False, should_training_stop=False)
    state: Any = SimpleNamespace(epoch=0.5, global_step=0, max_steps=10**6, best_global_step=None)
    monkeypatch.setattr(trainers.checkpoints, "seal", lambda folder: None)
    monkeypatch.setattr(trainers.checkpoints, "prune", lambda root, spare: None)
    progress = trainers._Progress(job, SimpleNamespace(), clock=lambda: now)  # type: ignore[arg-type]
    for step in range(1, 100):
        now += 10
        state.global_step = step
        progress.on_step_end(None, state, control)
        if control.should_save:
            now += 500
            progress.on_evaluate(None, state, control)
            now += 1 if saved else 30
            progress.on_save(SimpleNamespace(output_dir="x"), state, control)
            saved.append(step)
            control.should_save = False
    # Due after more than 60 s, then after more than 20 times 30 s, then every 60 s again.
    assert saved[:4] == [7, 68, 75, 82]


@pytest.mark.parametrize("kind", JOBS)
def test_events_tell_the_speed(make_job: Any, kind: str) -> None:
    module, data, params = JOBS[kind]
    job = make_job(kind, data, params)
    module.run(job)
    for metrics in events_of(job, "train"):
        assert metrics["seconds"] > 0
        assert metrics["tokens_per_second"] > 0


@pytest.mark.parametrize("kind", JOBS)
def test_recomputed_activations_give_the_same_model(
    make_job: Any, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    module, data, params = JOBS[kind]
    kept, recomputed = (make_job(kind, data, params, name=name) for name in ("a", "b"))
    module.run(kept)
    sharing = []
    monkeypatch.setattr(trainers, "CHECKPOINT_ACTIVATIONS_ABOVE", 0)
    train = trainers.Trainer.train

    def looked_at(self: Any, **named: Any) -> Any:
        result = train(self, **named)
        sharing.append((self.model.is_activation_checkpointing, can_share(self.model)))
        return result

    monkeypatch.setattr(trainers.Trainer, "train", looked_at)
    module.run(recomputed)
    assert sharing == [(True, False)]
    one, other = (
        load_file(job.folder.artifacts / "model" / "model.safetensors")
        for job in (kept, recomputed)
    )
    torch.testing.assert_close(other, one, rtol=1e-5, atol=1e-6)


def test_a_bf16_trunk_keeps_a_float32_head(policy_folder: str) -> None:
    """Scores under autocast are near those of float32, and are not rounded to bfloat16: near ties
    stay apart.
    """
    model = random_reward_model(policy_folder)
    groups = [([1, 40, 41], [[50 + i, 60, 61] for i in range(8)])]
    batch = lay_out_groups(groups, 0, share=False)
    with torch.no_grad():
        exact = score_texts(model, batch)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            scores = score_texts(model, batch)
    assert scores.dtype == torch.float32
    assert (scores - exact).abs().max() < 0.03 * exact.abs().max().clamp(min=1)
    assert not torch.equal(scores, scores.bfloat16().float())


def test_a_model_of_this_size_keeps_its_activations(policy_folder: str) -> None:
    model = load_policy(policy_folder)
    assert sum(p.numel() for p in model.parameters()) < trainers.CHECKPOINT_ACTIVATIONS_ABOVE
