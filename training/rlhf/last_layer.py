"""The last layer computes only what is read.

A reward model reads one hidden state of a text, a policy those of its completion. Of the tokens
before, the last layer must give keys and values, which others attend to; their queries, their
attention's projection and their MLP serve nobody. They are most of the layer: with L layers and
prompts as long as completions, about 1 / 2L of a pass is saved, in both directions.

What is left out is left out by hooks for the time of one pass, so that any decoder whose last layer
has parts of these names takes part, with or without adapters. Whether a model does what the names
say is tried once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from training.rlhf import distributed

# Parts of a decoder layer that serve the token alone that they are computed for.
PARTS = ("self_attn.q_proj", "self_attn.o_proj", "mlp")
PROBE_LENGTH = 8
# Fewer tokens at once are rounded otherwise: in half precision, by percents.
PROBE_TOLERANCE = {torch.float32: 1e-3}
HALF_PRECISION_TOLERANCE = 0.05

_parts: WeakKeyDictionary[nn.Module, list[nn.Module]] = WeakKeyDictionary()


@contextmanager
def reading(body: nn.Module, read: Tensor | None) -> Iterator[None]:
    """Passes of ``body`` meanwhile give last hidden states where ``read`` (N, S) is true.

    Elsewhere they are finite, and otherwise undefined. With ``read`` None, and of models that
    cannot leave anything out, all are given.
    """
    if read is None or not (parts := _parts_of(body)):
        yield
        return
    with _computing(parts, read):
        yield


def _parts_of(body: nn.Module) -> list[nn.Module]:
    """The parts of the last layer that need not see every token; none where that cannot be told.

    Activations that are made again in the backward pass are made after the hooks have gone, and
    weights that are spread over ranks come together for a layer as a whole.
    """
    if getattr(body, "is_activation_checkpointing", False) or distributed.sharded():
        return []
    if body not in _parts:
        found = _named(body)
        _parts[body] = found if found and _serve_one_token(body, found) else []
    return _parts[body]


def _named(body: nn.Module) -> list[nn.Module]:
    layers = getattr(body, "layers", None)
    if not isinstance(layers, nn.ModuleList) or not layers:
        return []
    inside = dict(layers[-1].named_modules())
    return [inside[name] for name in PARTS if name in inside]


@torch.no_grad()
def _serve_one_token(body: Any, parts: list[nn.Module]) -> bool:
    """Whether the states that are read come out the same."""
    embedding = body.get_input_embeddings().weight
    ids = torch.arange(1, PROBE_LENGTH + 1, device=embedding.device) % len(embedding)
    read = torch.arange(PROBE_LENGTH, device=ids.device).unsqueeze(0) >= PROBE_LENGTH // 2
    whole = body(input_ids=ids.unsqueeze(0), use_cache=False).last_hidden_state[read]
    try:
        with _computing(parts, read):
            some = body(input_ids=ids.unsqueeze(0), use_cache=False).last_hidden_state[read]
    except (RuntimeError, TypeError, AttributeError, ValueError):
        # A part gives something else than a tensor, or wants texts as a whole, as routers of
        # mixtures of experts do.
        return False
    return bool((whole - some).abs().max() <= tolerance(whole))


def tolerance(expected: Tensor) -> float:
    """By how much states may differ that were computed from other numbers of tokens at once."""
    share = PROBE_TOLERANCE.get(expected.dtype, HALF_PRECISION_TOLERANCE)
    return share * float(expected.abs().max())


@contextmanager
def _computing(parts: list[nn.Module], read: Tensor) -> Iterator[None]:
    where = read.flatten().nonzero().squeeze(1)
    with ExitStack() as hooks:
        for part in parts:
            hooks.enter_context(part.register_forward_pre_hook(_taking(where)))
            hooks.enter_context(part.register_forward_hook(_putting_back(where, read.shape)))
        yield


def _taking(where: Tensor) -> Callable[..., tuple[Tensor, ...]]:
    """(N, S, d) -> (M, d): the tokens that are read."""
    return lambda _part, inputs: (inputs[0].flatten(0, 1).index_select(0, where), *inputs[1:])


def _putting_back(where: Tensor, shape: torch.Size) -> Callable[..., Tensor]:
    """(M, d) -> (N, S, d), 0 elsewhere."""

    def put_back(_part: nn.Module, _inputs: object, some: Tensor) -> Tensor:
        whole = some.new_zeros(shape.numel(), some.shape[-1])
        return whole.index_copy(0, where, some).view(*shape, -1)

    return put_back
