"""What the runs on TRL's trainers share: settings, progress, checkpoints and stopping."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainerState

from training.rlhf import checkpoints, distributed
from training.rlhf.batching import micro_batch
from training.rlhf.errors import Interrupted, TrainingError
from training.rlhf.job import Job
from training.rlhf.models import device, parameter_count, tokens_per_pass

SECONDS_BETWEEN_CHECKPOINTS = 60
# One that takes longer to write makes the next one come later in proportion: saving is to take no
# more than a twentieth of a run, however large the model and however slow the disk.
SECONDS_OF_A_CHECKPOINT = SECONDS_BETWEEN_CHECKPOINTS / 20
EVENTS_PER_RUN = 200
TRAINER_STATE = "trainer_state.json"
# Recomputing activations costs a third more time; below this size memory is not the limit.
CHECKPOINT_ACTIVATIONS_ABOVE = 300_000_000

# Names in the trainers' logs and the names that all runs report them by.
METRICS = {
    "loss": "loss",
    "eval_loss": "eval_loss",
    "eval_reward_mean": "reward_mean",
    "accuracy": "train_accuracy",
    "eval_accuracy": "accuracy",
    "rewards/accuracies": "accuracy",
    "rewards/margins": "margin",
    "margin": "margin",
    "language_loss": "language_loss",
    "entropy": "entropy",
    "score_mean": "reward_mean",
    "score_std": "reward_std",
    "completion_kl": "kl",
    "completion_length": "length_mean",
    "eos_share": "eos_share",
    "clip_ratio/region_mean": "clip_fraction",
    "grad_norm": "grad_norm",
    "learning_rate": "learning_rate",
    "epoch": "epoch",
}


def settings(
    job: Job,
    model: Any,
    *,
    rows: int,
    batch_size: int,
    epochs: float,
    learning_rate: float,
    tokens_per_row: int,
) -> dict[str, Any]:
    """Arguments of every TRL config: InstructGPT's optimiser (appendix C), and nothing sent.

    Adam (0.9, 0.95), cosine to 10 % without warm-up. ``tokens_per_row`` decides how many rows go
    through at once, and the ranks share them; the gradient is that of the whole batch either way.

    Raises:
        TrainingError: the ranks cannot share a batch evenly.
    """
    share = rows_of_rank(batch_size, rows)
    at_once = micro_batch(share, tokens_per_row, tokens_per_pass())
    on_gpu = device().type == "cuda"
    return {
        "output_dir": str(job.folder.checkpoints),
        "num_train_epochs": epochs,
        "per_device_train_batch_size": at_once,
        "per_device_eval_batch_size": at_once,
        "gradient_accumulation_steps": share // at_once,
        "learning_rate": learning_rate,
        "lr_scheduler_type": "cosine_with_min_lr",
        "lr_scheduler_kwargs": {"min_lr_rate": 0.1},
        "adam_beta2": 0.95,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "bf16": on_gpu,
        "use_cpu": not on_gpu,
        "activation_checkpointing": recomputes_activations(model),
        "seed": job.spec.seed % 2**32,
        # Each step is logged, so that a loss that is no number is seen at once and a resumed run
        # reports the same means; ``_Progress`` makes fewer events of them.
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "eval_strategy": "no",
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "dataloader_pin_memory": on_gpu,
        "max_length": None,
    }


def recomputes_activations(model: Any) -> bool:
    """Whether a training of the model makes its activations again in the backward pass."""
    return parameter_count(model) > CHECKPOINT_ACTIVATIONS_ABOVE


def rows_of_rank(batch_size: int, rows: int) -> int:
    """How many rows of a step each rank gets, of ``batch_size`` or of all, if they are fewer.

    Raises:
        TrainingError: the ranks cannot share them evenly.
    """
    ranks = distributed.world_size()
    if batch_size % ranks:
        raise TrainingError(
            f"a batch of {batch_size} cannot be shared by {ranks} processes: "
            f"make its size a multiple of {ranks}, or start another number of processes"
        )
    return min(batch_size // ranks, math.ceil(rows / ranks))


def train(job: Job, trainer: Trainer) -> None:
    """Train from the newest whole checkpoint to the end.

    Raises:
        Interrupted: asked to stop; a checkpoint was written first.
        TrainingError: the loss or a gradient stopped being a finite number.
    """
    progress = _Progress(job, trainer)
    trainer.add_callback(progress)
    trainer.remove_callback(PrinterCallback)
    job.stop_if_asked()
    newest = checkpoints.newest(job.folder.checkpoints)
    if newest:
        job.events.write("resuming", step=checkpoints.step_of(newest))
    if newest and _is_at_the_end(newest):
        # The library would go on for a step; what is left to do comes after.
        trainer.state = TrainerState.load_from_json(str(newest / TRAINER_STATE))
        trainer._load_from_checkpoint(str(newest))
        return
    trainer.train(resume_from_checkpoint=str(newest) if newest else None)
    if progress.interrupted:
        raise Interrupted


def _is_at_the_end(checkpoint: Path) -> bool:
    state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE))
    return distributed.sharded() is None and state.global_step >= state.max_steps


def logged(trainer: Trainer, name: str, last: float = 1.0) -> float | None:
    """The mean of a metric over the ``last`` share of the log, which a resumed run takes along."""
    values = [entry[name] for entry in trainer.state.log_history if name in entry]
    recent = values[-math.ceil(len(values) * last) :]
    return sum(recent) / len(recent) if recent else None


def dataset(rows: list[dict[str, Any]]) -> Dataset:
    return Dataset.from_list(rows)


class _Progress(TrainerCallback):  # type: ignore[misc]
    """Logs to events; a checkpoint each minute, less often if it takes long, and on request; sealed
    when it is whole.
    """

    def __init__(
        self, job: Job, trainer: Trainer, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._job = job
        self._speed = _Speed(trainer, clock)
        self._clock = clock
        self._saved_at = clock()
        # What comes last before a save: it is not told when it begins.
        self._last_event_at = self._saved_at
        self._save_took = 0.0
        self._save_due = False
        self.interrupted = False

    def on_pre_optimizer_step(
        self, args: Any, state: Any, control: Any, model: Any = None, **_: Any
    ) -> None:
        """Before a gradient that is no number gets into the weights."""
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        if gradients and not torch.isfinite(torch.nn.utils.get_total_norm(gradients)):
            raise _diverged(state.global_step + 1, "a gradient is not finite")

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Of the entries of all steps, an event each few: their means."""
        values: dict[str, Any] = _named(logs or {})
        if not all(math.isfinite(value) for value in values.values()):
            raise _diverged(state.global_step, str(values))
        step, total = state.global_step, state.max_steps
        every = max(1, total // EVENTS_PER_RUN)
        write = partial(self._job.events.write, step=step, total=total)
        if "eval_loss" in values:
            write("evaluate", **values)
        elif "loss" in values and (step % every == 0 or step == total):
            begun = (step - 1) // every * every
            recent = [entry for entry in state.log_history[-every - 2 :] if entry["step"] > begun]
            means = {name: _mean(recent, name) for name in values}
            write("train", **{**means, "epoch": values["epoch"], **self._speed.measure()})

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        # The clocks of the ranks differ, and all must save together.
        overdue = self._now() - self._saved_at > self._pause()
        ranks = distributed.gather([(self._job.stopping, overdue)])
        stopping = any(asked for asked, _ in ranks)
        self._save_due = stopping or any(late for _, late in ranks)
        self.interrupted = stopping and state.global_step < state.max_steps
        # What is measured at the end of an epoch belongs into the checkpoint that is made there.
        ends_epoch = state.epoch == int(state.epoch) or state.global_step >= state.max_steps
        control.should_save = control.should_save or (self._save_due and not ends_epoch)
        control.should_training_stop = control.should_training_stop or self.interrupted

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._now()

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._now()
        if state.epoch == int(state.epoch) or not self.interrupted:
            control.should_save = control.should_save or self._save_due
        else:
            # Stopped on the way: the library would take this for the end of an epoch.
            control.should_save = control.should_evaluate = False

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        # Each rank has written its random state.
        distributed.barrier()
        if distributed.is_main():
            checkpoints.seal(folder)
            checkpoints.prune(Path(args.output_dir), spare=state.best_global_step)
        distributed.barrier()
        self._saved_at = self._clock()
        self._save_took = self._saved_at - self._last_event_at

    def _now(self) -> float:
        self._last_event_at = self._clock()
        return self._last_event_at

    def _pause(self) -> float:
        """Seconds from the end of one checkpoint to the next."""
        return SECONDS_BETWEEN_CHECKPOINTS * max(1.0, self._save_took / SECONDS_OF_A_CHECKPOINT)


class _Speed:
    """Seconds and tokens since the last time it was asked, by this process and those beside it."""

    def __init__(self, trainer: Trainer, clock: Callable[[], float]) -> None:
        self._trainer, self._clock = trainer, clock
        self._begun, self._counted = clock(), 0.0

    def measure(self) -> dict[str, float]:
        """Every rank must ask."""
        now = self._clock()
        here = torch.as_tensor(getattr(self._trainer, "tokens_seen", 0), device=device())
        seen = float(distributed.total(here))
        seconds, tokens = now - self._begun, seen - self._counted
        self._begun, self._counted = now, seen
        speed = {"tokens_per_second": tokens / max(seconds, 1e-9)} if seen else {}
        return {"seconds": seconds, **speed}


def _diverged(step: int, what: str) -> TrainingError:
    return TrainingError(f"training diverged at step {step}: {what}; lower the learning rate")


def _named(logs: Mapping[str, Any]) -> dict[str, float]:
    """What runs report of a trainer's log, by the names that all of them use."""
    return {METRICS[name]: float(value) for name, value in logs.items() if name in METRICS}


def _mean(entries: Sequence[Mapping[str, Any]], name: str) -> float:
    values = [named[name] for entry in entries if name in (named := _named(entry))]
    return sum(values) / len(values)
