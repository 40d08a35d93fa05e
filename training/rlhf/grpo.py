"""GRPO: advantages in units of the spread within a prompt (2402.03300), by TRL.

The loss is a mean over the tokens of a step (TRL's ``dapo``): that of the paper, a mean over
completions of means over their tokens, favours short good and long bad ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from trl import GRPOConfig, GRPOTrainer

from training.rlhf import distributed, online
from training.rlhf.job import Job


def run(job: Job) -> None:
    online.run(job, OnlineGrpoTrainer, GRPOConfig)


class OnlineGrpoTrainer(online.OnlineTrainer, GRPOTrainer):  # type: ignore[misc]
    """TRL's trainer on completions drawn and measured here."""

    def _generate_single_turn(self, prompt_ids: Any, *_: Any) -> tuple[list[list[int]], None]:
        return self.draw(prompt_ids), None

    def completion_kl(self, output: Mapping[str, Tensor]) -> float | None:
        reference = output.get("ref_per_token_logps")
        if reference is None:
            return None
        mask = output["completion_mask"]
        each = ((self.drawn_logprobs(reference) - reference) * mask).sum(1)
        everyone = distributed.gather(each.tolist())
        return sum(everyone) / len(everyone)
