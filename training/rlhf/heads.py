"""Log-probabilities from hidden states, some tokens at a time.

The logits of a whole batch are the largest tensor of a training step: 64 texts of 500 tokens with a
vocabulary of 150,000 take 19 GB in float32. Here they exist for one chunk of tokens; the backward
pass makes them again. Tokens outside the mask cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from training.rlhf.errors import TrainingError
from training.rlhf.losses import entropy_of, logprobs_of

# Logits of one chunk, in numbers.
LOGITS_AT_ONCE = {"cpu": 2**24, "cuda": 2**28}
PROBE_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Head:
    """What a causal model does to its last hidden state, besides a linear map, to get logits."""

    scale: float
    softcap: float | None

    def logits(self, model: Any, hidden: Tensor) -> Tensor:
        """(T, d) -> (T, V). The map is looked up each time: wrappers may replace it."""
        logits: Tensor = model.get_output_embeddings()(hidden)
        if self.scale != 1:
            logits = logits * self.scale
        if self.softcap is not None:
            logits = torch.tanh(logits / self.softcap) * self.softcap
        return logits


_heads: WeakKeyDictionary[nn.Module, Head] = WeakKeyDictionary()


def causal_model(model: Any) -> Any:
    """The library's model inside an adapter's wrapping, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def body_of(model: Any) -> Any:
    """The decoder without its head; adapters that are switched on act in it."""
    return causal_model(model).base_model


def head_of(model: Any) -> Head:
    """The head of a causal model, once shown to give the model's own logits.

    Raises:
        TrainingError: the model does something else to its hidden states. Log-probabilities that
            leave it out would be of another model.
    """
    causal = causal_model(model)
    if causal not in _heads:
        head = _declared(causal)
        _probe(causal, head)
        _heads[causal] = head
    return _heads[causal]


def token_logprobs(
    model: Any,
    hidden: Tensor,
    targets: Tensor,
    temperature: float = 1.0,
    mask: Tensor | None = None,
) -> Tensor:
    """log p(target) under softmax(logits / T): (N, S, d), (N, S) -> (N, S) float32.

    ``hidden[:, i]`` predicts ``targets[:, i]``. Where ``mask`` is false the result is 0.
    """

    def work(logits: Tensor, tokens: Tensor) -> Tensor:
        return logprobs_of(logits, tokens, temperature).unsqueeze(-1)

    return _in_chunks(model, hidden, targets, mask, work, 1)[..., 0]


def token_logprobs_and_entropy(
    model: Any,
    hidden: Tensor,
    targets: Tensor,
    temperature: float = 1.0,
    mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """As ``token_logprobs``, and the entropy of each distribution in nats: (N, S) each."""

    def work(logits: Tensor, tokens: Tensor) -> Tensor:
        logprobs = logprobs_of(logits, tokens, temperature)
        return torch.stack([logprobs, entropy_of(logits, temperature)], -1)

    both = _in_chunks(model, hidden, targets, mask, work, 2)
    return both[..., 0], both[..., 1]


def _in_chunks(
    model: Any,
    hidden: Tensor,
    targets: Tensor,
    mask: Tensor | None,
    work: Callable[[Tensor, Tensor], Tensor],
    width: int,
) -> Tensor:
    """``work`` on the logits of the tokens in ``mask``: (N, S, width), 0 elsewhere."""
    head, causal = head_of(model), causal_model(model)
    chosen = torch.ones_like(targets, dtype=torch.bool) if mask is None else mask.bool()
    states, tokens = hidden[chosen], targets[chosen]
    size = max(1, LOGITS_AT_ONCE[hidden.device.type] // _vocabulary(causal))

    def of_chunk(states: Tensor, tokens: Tensor) -> Tensor:
        return work(head.logits(causal, states), tokens)

    again = torch.is_grad_enabled() and len(tokens) > size
    parts = [
        checkpoint(of_chunk, s, t, use_reentrant=False) if again else of_chunk(s, t)
        for s, t in zip(states.split(size), tokens.split(size), strict=True)
    ]
    result = torch.zeros(*targets.shape, width, device=hidden.device)
    return result.masked_scatter(chosen.unsqueeze(-1), torch.cat(parts)) if parts else result


def _declared(model: Any) -> Head:
    """The head by the names that configurations use: Cohere, Falcon H1, Granite and Gemma."""
    config = model.config.get_text_config(decoder=True)
    scale = float(getattr(config, "logit_scale", None) or 1.0)
    scale *= float(getattr(config, "lm_head_multiplier", None) or 1.0)
    scale /= float(getattr(config, "logits_scaling", None) or 1.0)
    return Head(scale, getattr(config, "final_logit_softcapping", None))


@torch.no_grad()
def _probe(model: Any, head: Head) -> None:
    ids = torch.arange(4, device=next(model.parameters()).device).unsqueeze(0)
    training = model.training
    model.eval()
    expected = model(input_ids=ids, use_cache=False).logits
    hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
    model.train(training)
    error = (head.logits(model, hidden) - expected).abs().max()
    if not error <= PROBE_TOLERANCE * expected.abs().max().clamp(min=1):
        raise TrainingError(
            f"{type(model).__name__} changes its logits in a way that is not known here "
            f"(they differ by {error.item():.3g}): its log-probabilities cannot be trained"
        )


def _vocabulary(model: Any) -> int:
    return int(model.get_output_embeddings().weight.shape[0])
