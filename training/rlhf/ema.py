"""A running mean of the weights: the model kept is smoother than the one that learns.

InstructGPT keeps PPO's with a decay of 0.992 a step (appendix C.4). Of adapters the two factors are
averaged, each by itself.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Ema:
    """mean_n = decay mean_{n-1} + (1 - decay) w_n, from mean_0 = w_0."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], decay: float) -> None:
        self.decay = decay
        self.mean: dict[str, Tensor] = {n: p.detach().clone() for n, p in parameters.items()}

    @torch.no_grad()
    def update(self, parameters: Mapping[str, nn.Parameter]) -> None:
        for name, parameter in parameters.items():
            self.mean[name].lerp_(parameter, 1 - self.decay)
