"""That sampling and training see the same distribution.

Another temperature, a filter of tokens, dropout or an adapter left on: nothing crashes, and what is
learnt is wrong. It shows in the log-probabilities of the tokens that were drawn.
"""

from __future__ import annotations

from torch import Tensor

from training.rlhf.errors import TrainingError
from training.rlhf.models import device

# The mean difference a token, in nats. Rounding makes a few millionths in float32 and hundredths in
# bfloat16, which GPUs compute in.
LOGPROB_TOLERANCE = {"cpu": 1e-3, "cuda": 0.1}


def check_agreement(drawn: Tensor, trained: Tensor, mask: Tensor) -> None:
    """Compare log-probabilities at drawing and in training where ``mask`` is true; (B, C) each.

    Raises:
        TrainingError: they differ by more than rounding, or one is no number.
    """
    inside = mask.bool()
    error = (trained[inside] - drawn[inside]).abs().mean().item()
    if not error <= LOGPROB_TOLERANCE[device().type]:
        raise TrainingError(
            f"log-probabilities at drawing and in training differ by {error:.3g} a token: "
            "sampling and training see different distributions"
        )
