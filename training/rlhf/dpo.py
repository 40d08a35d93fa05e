"""Direct preference optimisation: a policy from comparisons, without a reward model (2305.18290).

TRL's trainer with the K-wise batch: the log-probability of each completion is computed once by the
policy and once by the reference, then used in every pair that it is in; the prompt is encoded once
for all its completions. Ties say nothing about an order and are left out, with a count.

    loss = - mean log sigmoid(h(winner) - h(loser)),  h(y) = beta log(pi(y|x) / ref(y|x))  (eq. 7)
"""

from __future__ import annotations

import types
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from trl import DPOConfig, DPOTrainer

from training.jobs.params import DpoParams
from training.rlhf import artifacts
from training.rlhf.comparisons import Collator, load_comparisons, to_rows, tokens_per_prompt
from training.rlhf.heads import body_of, head_of, token_logprobs
from training.rlhf.job import Job
from training.rlhf.kwise import KwiseTrainer
from training.rlhf.losses import pair_accuracy, pairwise_loss
from training.rlhf.models import (
    context_length,
    default_learning_rate,
    disable_dropout,
    load_policy,
    load_renderer,
    parameter_count,
)
from training.rlhf.prefix import can_share, encode
from training.rlhf.trainers import dataset, logged, recomputes_activations, settings, train


def run(job: Job) -> None:
    params = job.spec.params
    assert isinstance(params, DpoParams)
    renderer, model = load_renderer(job.spec.model), load_policy(job.spec.model)
    max_length = min(params.max_length, context_length(model))
    comparisons = load_comparisons(job, renderer, max_length)
    share = can_share(model) and not recomputes_activations(model)
    rate = params.learning_rate or default_learning_rate("dpo", parameter_count(model))
    arguments = settings(
        job,
        model,
        rows=len(comparisons),
        batch_size=params.batch_size,
        epochs=params.epochs,
        learning_rate=rate,
        tokens_per_row=tokens_per_prompt(comparisons, share=share),
    )
    trainer = KwiseDpoTrainer(
        model=model,
        ref_model=load_policy(job.spec.model, frozen=True),
        args=DPOConfig(**arguments, beta=params.beta, label_smoothing=params.label_smoothing),
        data_collator=Collator(renderer.pad_id, share),
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


class KwiseDpoTrainer(KwiseTrainer, DPOTrainer):  # type: ignore[misc]
    """TRL's DPO trainer on batches of ``comparisons.Collator``."""

    args: DPOConfig
    ref_model: Any

    def __init__(self, model: Any, ref_model: Any, **given: Any) -> None:
        for policy in (model, ref_model):
            # Checked while the forward pass is still the library's own.
            head_of(policy)
            disable_dropout(policy)
            policy.forward = types.MethodType(completion_logprobs, policy)
        super().__init__(model=model, ref_model=ref_model, **given)

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        with torch.no_grad():
            reference = self.ref_model(**inputs)
        implied = self.beta * (model(**inputs) - reference)
        pairs, weights = inputs["pairs"], inputs["weights"]
        loss = pairwise_loss(implied, pairs, weights, label_smoothing=self.args.label_smoothing)
        self._record(implied.detach(), inputs)
        loss = loss * self.share_of_step(inputs, num_items_in_batch)
        return (loss, implied) if return_outputs else loss

    def _record(self, implied: Tensor, inputs: dict[str, Tensor]) -> None:
        pairs, weights = inputs["pairs"], inputs["weights"]
        margins = implied[pairs[:, 0]] - implied[pairs[:, 1]]
        right = pair_accuracy(implied, pairs)
        self.record("rewards/accuracies", (right * weights).sum(), inputs)
        self.record("rewards/margins", (margins * weights).sum(), inputs)


def completion_logprobs(model: Any, **batch: Tensor) -> Tensor:
    """Sum of log p over the completion tokens, the end token included: (N,).

    The forward pass of a policy in this trainer, so that whatever wraps the model sees one call.
    """
    targets, mask = batch["input_ids"][:, 1:], batch["completion_mask"][:, 1:]
    hidden = encode(body_of(model), batch, pad(mask.bool(), (0, 1)))
    return token_logprobs(model, hidden[:, :-1], targets, mask=mask).sum(1)
