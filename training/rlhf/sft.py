"""Step 1: supervised fine-tuning on demonstrations, the loss on the answers only.

TRL's trainer gets token ids and labels of ours, so that the policy learns exactly the ids that are
later sampled, scored and compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trl import SFTConfig, SFTTrainer

from training.jobs.params import SftParams
from training.rlhf import artifacts
from training.rlhf.errors import TrainingError
from training.rlhf.job import Job
from training.rlhf.models import (
    context_length,
    default_learning_rate,
    load_policy,
    load_renderer,
    parameter_count,
)
from training.rlhf.rendering import Rendered, Renderer
from training.rlhf.splitting import split
from training.rlhf.trainers import dataset, logged, settings, train

IGNORED = -100


def run(job: Job) -> None:
    params = job.spec.params
    assert isinstance(params, SftParams)
    renderer, model = load_renderer(job.spec.model), load_policy(job.spec.model)
    max_length = min(params.max_length, context_length(model))
    kept, held_out = split(list(job.rows()), params.validation_share, job.spec.seed)
    training = render_demonstrations(job, renderer, kept, max_length, "train")
    validation = render_demonstrations(job, renderer, held_out, max_length, "validation")
    metrics = fine_tune(
        job,
        model,
        renderer,
        training,
        validation,
        epochs=params.epochs,
        batch_size=params.batch_size,
        learning_rate=params.learning_rate,
    )
    artifacts.save_model(job, model, renderer, metrics)
    artifacts.finish(job, metrics)


def render_demonstrations(
    job: Job, renderer: Renderer, rows: Sequence[dict[str, Any]], max_length: int, part: str
) -> list[Rendered]:
    """Demonstrations as token ids. Empty, refused and over-long ones are counted in an event.

    Over-long ones are not cut: a model taught on cut answers does not learn to end.
    """
    written = [row for row in rows if row["completion"].strip()]
    accepted = [row for row in written if renderer.accepts(row["messages"])]
    texts = [renderer.render(row["messages"], {"text": row["completion"]}) for row in accepted]
    fitting = [text for text in texts if len(text) <= max_length]
    if rows:
        job.events.write(
            "data",
            part=part,
            demonstrations=len(fitting),
            dropped_empty=len(rows) - len(written),
            dropped_refused=len(written) - len(accepted),
            dropped_too_long=len(texts) - len(fitting),
        )
    return fitting


def fine_tune(
    job: Job,
    model: Any,
    renderer: Renderer,
    training: Sequence[Rendered],
    validation: Sequence[Rendered],
    *,
    epochs: float,
    batch_size: int,
    learning_rate: float | None,
) -> dict[str, Any]:
    """Train ``model`` in place; returns the metrics. ``eval_loss`` is None without held-out texts.

    Raises:
        TrainingError: there is nothing to learn from.
    """
    if not training:
        raise TrainingError("no demonstration is left to learn from")
    rate = learning_rate or default_learning_rate("sft", parameter_count(model))
    arguments = settings(
        job,
        model,
        rows=len(training),
        batch_size=batch_size,
        epochs=epochs,
        learning_rate=rate,
        tokens_per_row=max(map(len, training)),
    )
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(**arguments),
        train_dataset=dataset([labelled(text) for text in training]),
        eval_dataset=dataset([labelled(text) for text in validation]) if validation else None,
        processing_class=renderer.tokenizer,
    )
    train(job, trainer)
    eval_loss = trainer.evaluate()["eval_loss"] if validation else None
    model.eval()
    return {
        "loss": logged(trainer, "loss"),
        "eval_loss": eval_loss,
        "demonstrations": len(training),
        "learning_rate": rate,
    }


def labelled(text: Rendered) -> dict[str, list[int]]:
    """Ids, and labels that leave the prompt out of the loss."""
    labels = [IGNORED] * len(text.prompt_ids) + text.completion_ids
    return {"input_ids": text.ids, "labels": labels}
