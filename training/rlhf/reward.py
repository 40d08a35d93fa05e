"""Step 2: a reward model from rankings, all comparisons of a prompt in one batch element.

TRL's trainer with another batch and another loss: it takes rows of one chosen and one rejected
text, which encodes each of K completions K - 1 times and spreads a prompt over many steps.

    loss = - mean over prompts of the mean over pairs of log sigmoid(r(winner) - r(loser))  (eq. 1)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from trl import RewardConfig, RewardTrainer

from training.jobs.params import RewardParams
from training.rlhf import artifacts
from training.rlhf.comparisons import (
    Collator,
    Comparison,
    load_comparisons,
    to_rows,
    tokens_per_prompt,
)
from training.rlhf.job import Job
from training.rlhf.losses import pair_accuracy, pairwise_loss
from training.rlhf.models import (
    at_last_token,
    context_length,
    default_learning_rate,
    load_renderer,
    new_reward_model,
    parameter_count,
    score_tokens,
)
from training.rlhf.rendering import Renderer
from training.rlhf.scoring import raw_scores
from training.rlhf.sft import render_demonstrations
from training.rlhf.splitting import split
from training.rlhf.trainers import dataset, logged, settings, train

# Training prompts that the reported training accuracy is measured on, at most.
PROMPTS_FOR_TRAIN_ACCURACY = 256


def run(job: Job) -> None:
    params = job.spec.params
    assert isinstance(params, RewardParams)
    renderer, model = load_renderer(job.spec.model), new_reward_model(job.spec.model)
    model.config.get_text_config().pad_token_id = renderer.pad_id
    max_length = min(params.max_length, context_length(model))
    comparisons = load_comparisons(job, renderer, max_length)
    training, held_out = _split(comparisons, params.validation_share, job.spec.seed)
    rate = params.learning_rate or default_learning_rate("reward", parameter_count(model))
    arguments = settings(
        job,
        model,
        rows=len(training),
        batch_size=params.batch_prompts,
        epochs=params.epochs,
        learning_rate=rate,
        tokens_per_row=tokens_per_prompt(training),
    )
    trainer = KwiseRewardTrainer(
        model=model,
        args=RewardConfig(**arguments),
        data_collator=Collator(renderer.pad_id),
        train_dataset=dataset(to_rows(training)),
        processing_class=renderer.tokenizer,
    )
    train(job, trainer)
    model.eval()
    metrics = {
        "accuracy": accuracy(model, held_out, renderer.pad_id),
        "train_accuracy": accuracy(model, training[:PROMPTS_FOR_TRAIN_ACCURACY], renderer.pad_id),
        "loss": logged(trainer, "loss"),
        "pairs": sum(len(c.pairs) for c in training),
        "prompts": len(training),
        "validation_pairs": sum(len(c.pairs) for c in held_out),
        "validation_prompts": len(held_out),
        "learning_rate": rate,
    }
    mean, std = normalisation(job, model, renderer, training, max_length)
    artifacts.save_model(job, model, renderer, metrics, reward_mean=mean, reward_std=std)
    artifacts.finish(job, metrics)


class KwiseRewardTrainer(RewardTrainer):  # type: ignore[misc]
    """TRL's reward trainer on batches of ``comparisons.Collator``."""

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        return dataset

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        mask = inputs["attention_mask"]
        scores = at_last_token(score_tokens(model, inputs["input_ids"], mask), mask)
        loss = pairwise_loss(scores, inputs["pairs"], inputs["weights"])
        right = (pair_accuracy(scores.detach(), inputs["pairs"]) * inputs["weights"]).sum()
        mode = "train" if torch.is_grad_enabled() else "eval"
        self._metrics[mode]["accuracy"].append(right.item())
        return (loss, scores) if return_outputs else loss


def accuracy(model: Any, comparisons: Sequence[Comparison], pad_id: int) -> float | None:
    """The share of pairs that the model orders as the labeler did; None when there are none."""
    if not comparisons:
        return None
    scores = raw_scores(model, [t.ids for c in comparisons for t in c.texts], pad_id)
    pairs, offset = [], 0
    for comparison in comparisons:
        pairs += [[winner + offset, loser + offset] for winner, loser in comparison.pairs]
        offset += len(comparison.texts)
    return float(pair_accuracy(scores, torch.tensor(pairs)).mean())


def normalisation(
    job: Job,
    model: Any,
    renderer: Renderer,
    comparisons: Sequence[Comparison],
    max_length: int,
) -> tuple[float, float]:
    """The shift and the scale that are stored with the model and applied wherever it scores.

    The loss leaves both open. Shift: demonstrations score 0 on average (InstructGPT, section 3.5),
    or else the ranked completions do. Scale: the ranked completions have standard deviation 1, as
    they show how far apart answers of the policy lie; demonstrations are few and alike, and so
    small a unit would drown the KL penalty.
    """
    ranked = raw_scores(model, [t.ids for c in comparisons for t in c.texts], renderer.pad_id)
    written = render_demonstrations(
        job, renderer, job.demonstrations(), max_length, "normalisation"
    )
    shown = raw_scores(model, [text.ids for text in written], renderer.pad_id)
    mean = (shown if len(shown) else ranked).mean()
    std = ranked.std(unbiased=False)
    return float(mean), float(std.clamp(min=1e-6))


def _split(
    comparisons: Sequence[Comparison], share: float, seed: int
) -> tuple[list[Comparison], list[Comparison]]:
    rows = [{**c.row(), "comparison": c} for c in comparisons]
    training, held_out = split(rows, share, seed)
    return [r["comparison"] for r in training], [r["comparison"] for r in held_out]
