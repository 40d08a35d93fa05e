"""Direct preference optimisation: a policy from comparisons, without a reward model (2305.18290).

TRL's trainer with the K-wise batch: the log-probability of each completion is computed once by the
policy and once by the reference, then used in every pair that it is in.

    loss = - mean log sigmoid(h(winner) - h(loser)),  h(y) = beta log(pi(y|x) / ref(y|x))  (eq. 7)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from trl import DPOConfig, DPOTrainer

from training.jobs.params import DpoParams
from training.rlhf import artifacts
from training.rlhf.comparisons import Collator, load_comparisons, to_rows, tokens_per_prompt
from training.rlhf.job import Job
from training.rlhf.losses import pair_accuracy, pairwise_loss
from training.rlhf.models import (
    context_length,
    default_learning_rate,
    load_policy,
    load_renderer,
    parameter_count,
)
from training.rlhf.sft import IGNORED
from training.rlhf.trainers import dataset, logged, settings, train


def run(job: Job) -> None:
    params = job.spec.params
    assert isinstance(params, DpoParams)
    renderer, model = load_renderer(job.spec.model), load_policy(job.spec.model)
    max_length = min(params.max_length, context_length(model))
    comparisons = load_comparisons(job, renderer, max_length)
    rate = params.learning_rate or default_learning_rate("dpo", parameter_count(model))
    arguments = settings(
        job,
        model,
        rows=len(comparisons),
        batch_size=params.batch_size,
        epochs=params.epochs,
        learning_rate=rate,
        tokens_per_row=tokens_per_prompt(comparisons),
    )
    trainer = KwiseDpoTrainer(
        model=model,
        ref_model=load_policy(job.spec.model, frozen=True),
        args=DPOConfig(**arguments, beta=params.beta),
        data_collator=Collator(renderer.pad_id),
        train_dataset=dataset(to_rows(comparisons)),
        processing_class=renderer.tokenizer,
    )
    train(job, trainer)
    model.eval()
    metrics = {
        "loss": logged(trainer, "loss"),
        "accuracy": logged(trainer, "rewards/accuracies", last=0.25),
        "margin": logged(trainer, "rewards/margins", last=0.25),
        "pairs": sum(len(c.pairs) for c in comparisons),
        "prompts": len(comparisons),
        "learning_rate": rate,
    }
    artifacts.save_model(job, model, renderer, metrics)
    artifacts.finish(job, metrics)


class KwiseDpoTrainer(DPOTrainer):  # type: ignore[misc]
    """TRL's DPO trainer on batches of ``comparisons.Collator``."""

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        return dataset

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        with torch.no_grad():
            reference = completion_logprobs(self.ref_model, inputs)
        implied = self.beta * (completion_logprobs(model, inputs) - reference)
        pairs, weights = inputs["pairs"], inputs["weights"]
        loss = pairwise_loss(implied, pairs, weights)
        self._record(implied.detach(), pairs, weights)
        return (loss, implied) if return_outputs else loss

    def _record(self, implied: Tensor, pairs: Tensor, weights: Tensor) -> None:
        mode = "train" if torch.is_grad_enabled() else "eval"
        margins = implied[pairs[:, 0]] - implied[pairs[:, 1]]
        right = (pair_accuracy(implied, pairs) * weights).sum()
        self._metrics[mode]["rewards/accuracies"].append(right.item())
        self._metrics[mode]["rewards/margins"].append((margins * weights).sum().item())


def completion_logprobs(model: Any, inputs: dict[str, Tensor]) -> Tensor:
    """Sum of log p over the completion tokens, the end token included: (N,).

    TRL gives a model in its trainers a head that yields log-probabilities in chunks of tokens, so
    the logits of a whole batch never exist at once.
    """
    labels = inputs["input_ids"].masked_fill(inputs["completion_mask"] == 0, IGNORED)
    output = model(
        input_ids=inputs["input_ids"],
        attention_mask=inputs["attention_mask"],
        labels=labels,
        use_cache=False,
        fused_lm_head=True,
    )
    logprobs: Tensor = output.log_probs.sum(1)
    return logprobs
