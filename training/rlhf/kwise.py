"""TRL's trainers on batches of ``comparisons.Collator``: a step is the mean over its prompts.

The library takes the mean of the means of the micro-batches, and of the ranks. That is another
gradient as soon as they hold different numbers of prompts, as the last ones of an epoch do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from training.rlhf import distributed
from training.rlhf.steps import WholeSteps


class KwiseTrainer(WholeSteps):
    """Put before a TRL trainer among the base classes."""

    # What ``compute_loss`` returns is summed over the micro-batches of a step, not averaged.
    loss_is_scaled_for_ga = True

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        return dataset

    def _get_num_items_in_batch(
        self, batch_samples: Sequence[Mapping[str, Tensor]], device: torch.device
    ) -> Tensor:
        """Prompts of one step: all its micro-batches on all ranks."""
        here = sum(int(batch["prompts"]) for batch in batch_samples)
        return distributed.total(torch.tensor(here, device=device))

    def record(self, name: str, mean: Tensor, inputs: Mapping[str, Tensor]) -> None:
        """Log a mean over the prompts of a micro-batch: each of them counts alike in the log."""
        trainer: Any = self
        mode = "train" if torch.is_grad_enabled() else "eval"
        trainer._metrics[mode][name] += [mean.item()] * int(inputs["prompts"])

    def share_of_step(
        self, inputs: Mapping[str, Tensor], num_items_in_batch: Tensor | None
    ) -> Tensor | float:
        """What the mean loss of a micro-batch counts for in the step; 1 in an evaluation.

        Ranks average their gradients, so each counts for as many as there are.
        """
        if num_items_in_batch is None:
            return 1.0
        return inputs["prompts"] * distributed.world_size() / num_items_in_batch
