"""RLOO: the other completions of a prompt are the baseline of each (2402.14740), by TRL.

The advantage of a completion is its reward, KL penalty included, less the mean reward of the
others. Ratio and clipping are those of the whole completion.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from trl import RLOOConfig, RLOOTrainer

from training.rlhf import online
from training.rlhf.job import Job


def run(job: Job) -> None:
    online.run(job, OnlineRlooTrainer, RLOOConfig)


class OnlineRlooTrainer(online.OnlineTrainer, RLOOTrainer):  # type: ignore[misc]
    """TRL's trainer on completions drawn and measured here."""

    def _generate_single_turn(self, prompt_ids: Any, *_: Any) -> list[list[int]]:
        return self.draw(prompt_ids)

    def completion_kl(self, output: Mapping[str, Tensor]) -> float | None:
        # TRL has the mean over all tokens, and the mean number of tokens.
        if self.args.beta == 0:
            return None
        metrics = self._metrics["train"]
        return metrics["kl"][-1] * metrics["completions/mean_length"][-1]
