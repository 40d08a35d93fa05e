"""Step 1: supervised fine-tuning on demonstrations, the loss on the answers only.

TRL's trainer gets token ids and labels of ours, so that the policy learns exactly the ids that are
later sampled, scored and compared. At the end of each epoch the held-out demonstrations are looked
at, and the weights of the epoch asked for are kept: InstructGPT (section 3.5) overfits the held-out
loss from the second epoch on, and chooses by a reward model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from trl import SFTConfig, SFTTrainer

from training.jobs.params import SftParams
from training.rlhf import artifacts, checkpoints
from training.rlhf.batching import passes
from training.rlhf.demonstrations import Demonstration, read_demonstrations, texts_of
from training.rlhf.errors import TrainingError
from training.rlhf.job import Job
from training.rlhf.judge import Judge
from training.rlhf.models import (
    context_length,
    default_learning_rate,
    load_policy,
    load_renderer,
    parameter_count,
    tokens_per_pass,
)
from training.rlhf.packing import IGNORED, Collator, labelled, require_separation
from training.rlhf.rendering import Rendered, Renderer
from training.rlhf.scoring import Scorer
from training.rlhf.splitting import split
from training.rlhf.steps import WholeSteps
from training.rlhf.trainers import dataset, logged, settings, train

# What an epoch is chosen by: the name in the trainer's log, and whether more is better.
CHOSEN_BY = {"eval_loss": ("eval_loss", False), "reward": ("eval_reward_mean", True)}


@dataclass(frozen=True)
class Validation:
    """What each epoch is measured on, and the measure by which one is chosen (or ``last``)."""

    texts: Sequence[Rendered] = ()
    judge: Judge | None = None
    choose_by: str = "last"


NO_VALIDATION = Validation()


def run(job: Job) -> None:
    params = job.spec.params
    assert isinstance(params, SftParams)
    renderer, model = load_renderer(job.spec.model), load_policy(job.spec.model)
    max_length = min(params.max_length, context_length(model))
    read, dropped = read_demonstrations(job, renderer, job.rows(), max_length, "all")
    if not read:
        reasons = ", ".join(f"{reason} {count}" for reason, count in dropped.items())
        raise TrainingError(f"no demonstration is left to learn from; left out: {reasons}")
    kept, held_out = _split(read, params.validation_share, job.spec.seed)
    training, texts = texts_of(kept), texts_of(held_out)
    job.events.write("data", part="split", training=len(training), validation=len(texts))
    if params.choose_by != "last" and not texts:
        raise TrainingError(
            f"choose_by {params.choose_by} needs held-out demonstrations, and of "
            f"{len(training)} none can be spared: add some, or choose the last epoch"
        )
    judge = _judge(job, model, renderer, training, held_out)
    metrics = fine_tune(
        job,
        model,
        renderer,
        training,
        Validation(texts, judge, params.choose_by),
        epochs=params.epochs,
        batch_size=params.batch_size,
        learning_rate=params.learning_rate,
        packing=params.packing,
    )
    artifacts.save_model(job, model, renderer, metrics)
    artifacts.finish(job, metrics)


def fine_tune(
    job: Job,
    model: Any,
    renderer: Renderer,
    training: Sequence[Rendered],
    validation: Validation = NO_VALIDATION,
    *,
    epochs: float,
    batch_size: int,
    learning_rate: float | None,
    packing: bool = False,
) -> dict[str, Any]:
    """Train ``model`` in place; returns the metrics. ``eval_loss`` is None without held-out texts.

    Raises:
        TrainingError: packing is asked of a model that mixes packed examples up, or the checkpoint
            of the chosen epoch is damaged.
    """
    if packing:
        require_separation(model, training, renderer.pad_id)
    rate = learning_rate or default_learning_rate("sft", parameter_count(model))
    arguments = settings(
        job,
        model,
        rows=len(training),
        batch_size=batch_size,
        epochs=epochs,
        learning_rate=rate,
        tokens_per_row=_tokens_per_row(training, batch_size, packing),
    )
    trainer = Trainer(
        validation,
        model=model,
        args=SFTConfig(**arguments | _evaluations(validation)),
        train_dataset=dataset([labelled(text) for text in training]),
        eval_dataset=dataset([labelled(text) for text in validation.texts]) or None,
        data_collator=Collator(renderer.pad_id, packing),
        processing_class=renderer.tokenizer,
    )
    train(job, trainer)
    measured = _restore_chosen(job, trainer, validation)
    model.eval()
    return {
        "loss": logged(trainer, "loss"),
        **measured,
        "demonstrations": len(training),
        "learning_rate": rate,
    }


class Trainer(WholeSteps, SFTTrainer):  # type: ignore[misc]
    """TRL's, with the measures that an epoch is chosen by."""

    def __init__(self, validation: Validation, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._validation = validation

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """``eval_loss`` and, with a judge, ``eval_reward_mean``; both go into the trainer's log,
        which is part of its checkpoints.
        """
        model: Any = self.model
        model.eval()
        metrics = {"eval_loss": self._held_out_loss()}
        if self._validation.judge:
            metrics["eval_reward_mean"] = self._validation.judge(model)
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    @torch.no_grad()
    def _held_out_loss(self) -> float:
        """Nats a token over all answers. The library's own mean of the means of batches would
        depend on how the texts are put together.
        """
        texts = self._validation.texts
        total, tokens = 0.0, 0
        for places in passes([len(text) for text in texts], tokens_per_pass()):
            batch = self._prepare_inputs(self.data_collator([labelled(texts[i]) for i in places]))
            count = int((batch["labels"] != IGNORED).sum())
            with self.compute_loss_context_manager():
                total += self.compute_loss(self.model_wrapped, batch).item() * count
            tokens += count
        return total / tokens


def _split(
    read: Sequence[Demonstration], share: float, seed: int
) -> tuple[list[Demonstration], list[Demonstration]]:
    rows: list[dict[str, Any]] = [
        {"author": one.author, "messages": one.opening, "row": one} for one in read
    ]
    kept, held_out = split(rows, share, seed)
    return [row["row"] for row in kept], [row["row"] for row in held_out]


def _judge(
    job: Job,
    model: Any,
    renderer: Renderer,
    training: Sequence[Rendered],
    held_out: Sequence[Demonstration],
) -> Judge | None:
    if not job.spec.reward_model:
        return None
    scorer = Scorer.load(job.spec.reward_model)
    return Judge(
        job,
        scorer,
        renderer,
        [example for one in held_out for example in one.examples],
        # An answer longer than all that were shown has not been learnt to end.
        limit=max(len(text.completion_ids) for text in training),
        context=scorer.room(renderer, model),
    )


def _tokens_per_row(texts: Sequence[Rendered], batch_size: int, packing: bool) -> int:
    """The width of a row. Packed, the worst batch counts as a whole, not by its longest text."""
    lengths = sorted(map(len, texts), reverse=True)
    if not packing:
        return lengths[0]
    worst = lengths[:batch_size]
    return math.ceil(sum(worst) / len(worst))


def _evaluations(validation: Validation) -> dict[str, Any]:
    """Arguments of the trainer: measure each epoch; with a choice to be made, keep its weights."""
    if not validation.texts:
        return {}
    if validation.choose_by == "last":
        return {"eval_strategy": "epoch"}
    name, greater = CHOSEN_BY[validation.choose_by]
    return {
        "eval_strategy": "epoch",
        "save_strategy": "epoch",
        "metric_for_best_model": name,
        "greater_is_better": greater,
    }


def _restore_chosen(job: Job, trainer: Trainer, validation: Validation) -> dict[str, Any]:
    """Bring the chosen epoch's weights back; what was measured then."""
    state = trainer.state
    evaluations = [entry for entry in state.log_history if "eval_loss" in entry]
    if not evaluations:
        return {"eval_loss": None, "chosen_epoch": state.epoch}
    chosen = evaluations[-1]
    if validation.choose_by != "last":
        chosen = next(entry for entry in evaluations if entry["step"] == state.best_global_step)
    if chosen["step"] != state.global_step:
        folder = job.folder.checkpoints / f"checkpoint-{chosen['step']}"
        if not checkpoints.is_whole(folder):
            raise TrainingError(
                f"{folder.name}, which holds the weights of the chosen epoch {chosen['epoch']:g}, "
                "is damaged: start the run anew"
            )
        state.best_model_checkpoint = str(folder)
        trainer._load_best_model()
    measured = {"eval_loss": chosen["eval_loss"], "chosen_epoch": chosen["epoch"]}
    if "eval_reward_mean" in chosen:
        measured["reward_mean"] = chosen["eval_reward_mean"]
    return measured
