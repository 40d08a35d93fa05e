"""What the runs on TRL's trainers share: settings, progress, checkpoints and stopping."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PrinterCallback, Trainer, TrainerCallback

from training.rlhf import checkpoints
from training.rlhf.batching import micro_batch
from training.rlhf.errors import Interrupted, TrainingError
from training.rlhf.job import Job
from training.rlhf.models import device, parameter_count, tokens_per_pass

SECONDS_BETWEEN_CHECKPOINTS = 60
EVENTS_PER_RUN = 200
# Recomputing activations costs a third more time; below this size memory is not the limit.
CHECKPOINT_ACTIVATIONS_ABOVE = 300_000_000

# Names in the trainers' logs and the names that all runs report them by.
METRICS = {
    "loss": "loss",
    "eval_loss": "eval_loss",
    "accuracy": "train_accuracy",
    "eval_accuracy": "accuracy",
    "rewards/accuracies": "accuracy",
    "rewards/margins": "margin",
    "margin": "margin",
    "entropy": "entropy",
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
    through at once; the gradient is that of the whole batch either way.
    """
    batch = min(batch_size, rows)
    at_once = micro_batch(batch, tokens_per_row, tokens_per_pass())
    steps = max(1, math.ceil(rows / batch * epochs))
    on_gpu = device().type == "cuda"
    return {
        "output_dir": str(job.folder.checkpoints),
        "num_train_epochs": epochs,
        "per_device_train_batch_size": at_once,
        "per_device_eval_batch_size": at_once,
        "gradient_accumulation_steps": batch // at_once,
        "learning_rate": learning_rate,
        "lr_scheduler_type": "cosine_with_min_lr",
        "lr_scheduler_kwargs": {"min_lr_rate": 0.1},
        "adam_beta2": 0.95,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "bf16": on_gpu,
        "use_cpu": not on_gpu,
        "gradient_checkpointing": parameter_count(model) > CHECKPOINT_ACTIVATIONS_ABOVE,
        "seed": job.spec.seed % 2**32,
        "logging_steps": max(1, steps // EVENTS_PER_RUN),
        "logging_nan_inf_filter": False,
        "eval_strategy": "no",
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "dataloader_pin_memory": on_gpu,
        "max_length": None,
    }


def train(job: Job, trainer: Trainer) -> None:
    """Train from the newest whole checkpoint to the end.

    Raises:
        Interrupted: asked to stop; a checkpoint was written first.
        TrainingError: the loss stopped being a finite number.
    """
    progress = _Progress(job)
    trainer.add_callback(progress)
    trainer.remove_callback(PrinterCallback)
    job.stop_if_asked()
    newest = checkpoints.newest(job.folder.checkpoints)
    if newest:
        job.events.write("resuming", step=checkpoints.step_of(newest))
    trainer.train(resume_from_checkpoint=str(newest) if newest else None)
    if progress.interrupted:
        raise Interrupted


def logged(trainer: Trainer, name: str, last: float = 1.0) -> float | None:
    """The mean of a metric over the ``last`` share of the log, which a resumed run takes along."""
    values = [entry[name] for entry in trainer.state.log_history if name in entry]
    recent = values[-math.ceil(len(values) * last) :]
    return sum(recent) / len(recent) if recent else None


def dataset(rows: list[dict[str, Any]]) -> Dataset:
    return Dataset.from_list(rows)


class _Progress(TrainerCallback):  # type: ignore[misc]
    """Logs to events; a checkpoint each minute and on request, sealed when it is whole."""

    def __init__(self, job: Job, clock: Callable[[], float] = time.monotonic) -> None:
        self._job = job
        self._clock = clock
        self._saved_at = clock()
        self.interrupted = False

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        values = {METRICS[name]: value for name, value in (logs or {}).items() if name in METRICS}
        if not all(math.isfinite(value) for value in values.values()):
            raise TrainingError(
                f"training diverged at step {state.global_step}: {values}; lower the learning rate"
            )
        phase = "evaluate" if "eval_loss" in values else "train"
        if values and "train_runtime" not in (logs or {}):
            self._job.events.write(phase, step=state.global_step, total=state.max_steps, **values)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        due = self._clock() - self._saved_at > SECONDS_BETWEEN_CHECKPOINTS
        if due or self._job.stopping:
            control.should_save = True
        if self._job.stopping and state.global_step < state.max_steps:
            control.should_training_stop = True
            self.interrupted = True

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        # TRL writes a card and the tokenizer beside the weights; neither is needed to go on.
        shutil.rmtree(folder / "runs", ignore_errors=True)
        checkpoints.seal(folder)
        checkpoints.prune(Path(args.output_dir))
        self._saved_at = self._clock()
