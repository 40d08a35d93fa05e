"""Prompts and their completions in one pass: one product a layer, attention in two calls.

All tokens stand behind one another in a single row, the prompts' first. What works on each token
alone (projections, MLP, norms) sees that row as a whole, so matrices are as tall as there are
tokens; two passes have two sets of smaller ones, and add up two gradients of each weight. Only
attention tells texts apart: the prompts attend to themselves, the completions to their prompt and
themselves.

It is a function of transformers' AttentionInterface, so any model that attends by it takes part.
Whether it comes out right is tried once for each model; the others take two passes
(``prefix.encode``).

Shapes: G prompts, N texts, P and S columns, H heads of width d; T = G * P + N * S.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from training.rlhf import distributed
from training.rlhf.batching import pad, positions
from training.rlhf.last_layer import reading, tolerance

ATTENTION = "podium_prompts_and_completions"

# Prompts and texts of unequal lengths and numbers, as token ids from 1.
PROBE_PROMPTS = [[1, 2, 3, 4, 5], [6, 7]]
PROBE_TEXTS = [(0, [8, 1, 2]), (0, [3]), (1, [4, 5])]

_possible: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


@dataclass(frozen=True)
class Layout:
    """Where attention finds what in a row of T tokens.

    prompts: G; width: P; texts: N. for_texts: (G, ...) to (N, ...). mask: (N, 1, S, P + S), true
    where a token of a text may look. single: of texts that are read at one token each, (N,) its
    column. last_layer: its number, -1 where all of its states are read.
    """

    prompts: int
    width: int
    texts: int
    for_texts: Callable[[Tensor], Tensor]
    mask: Tensor
    single: Tensor | None
    last_layer: int

    def parts(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """(1, H, T, d) -> (G, H, P, d) of the prompts and (N, H, S, d) of the texts."""
        tokens, cut = states.transpose(1, 2)[0], self.prompts * self.width
        prompts = tokens[:cut].unflatten(0, (self.prompts, self.width))
        texts = tokens[cut:].unflatten(0, (self.texts, -1))
        return prompts.transpose(1, 2), texts.transpose(1, 2)


def repeating(of: Tensor, prompts: int) -> Callable[[Tensor], Tensor]:
    """What makes of (G, ...) keys or values those of the rows ``of``, in this order.

    Plain indexing has a gradient that adds number by number: a tenth of a step of four
    completions. That of ``index_select`` adds rows, and where every prompt has as many texts, that
    of ``expand`` is a sum.
    """
    texts = len(of) // prompts
    if torch.equal(of, torch.arange(prompts, device=of.device).repeat_interleave(texts)):
        return lambda states: states[:, None].expand(-1, texts, *states.shape[1:]).flatten(0, 1)
    return lambda states: states.index_select(0, of)


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    layout: Layout,
    **how: Any,
) -> tuple[Tensor, None]:
    """(1, H, T, d) -> (1, T, H, d). In the last layer, anything where nothing is read.

    ``attention_mask`` is the library's, and none: texts have the layout's. Prompts are padded on
    the right, where no token of theirs looks, and need no mask.
    """
    (own, query), (shared_key, key), (shared_value, value) = map(layout.parts, (query, key, value))
    unread = module.layer_idx == layout.last_layer
    if unread:
        prompts = own.new_zeros(layout.prompts * layout.width, own.shape[1], value.shape[-1])
    else:
        whole, _ = sdpa_attention_forward(
            module, own, shared_key, shared_value, attention_mask, **how
        )
        prompts = whole.flatten(0, 1)
    keys = torch.cat([layout.for_texts(shared_key), key], 2)
    values = torch.cat([layout.for_texts(shared_value), value], 2)
    if unread and layout.single is not None:
        at = (torch.arange(len(query), device=query.device), slice(None), layout.single)
        some, _ = sdpa_attention_forward(
            module, query[at].unsqueeze(2), keys, values, layout.mask[at].unsqueeze(2), **how
        )
        texts = some.new_zeros(len(query), query.shape[2], *some.shape[2:])
        texts = texts.index_put((at[0], layout.single), some[:, 0])
    else:
        texts, _ = sdpa_attention_forward(module, query, keys, values, layout.mask, **how)
    return torch.cat([prompts, texts.flatten(0, 1)]).unsqueeze(0), None


AttentionInterface.register(ATTENTION, attend)
# Masks are the layout's.
AttentionMaskInterface.register(ATTENTION, lambda *_, **__: None)


def encode(body: Any, batch: Mapping[str, Tensor], read: Tensor | None) -> Tensor:
    """Last hidden states of the texts' own parts, (N, S, d), as ``prefix.encode`` has them."""
    prefix_mask, mask, of = batch["prefix_mask"], batch["attention_mask"], batch["prefix_of"]
    whole = torch.cat([prefix_mask[of], mask], 1)
    columns = prefix_mask.shape[1]
    layout = Layout(
        prompts=len(prefix_mask),
        width=columns,
        texts=len(mask),
        for_texts=repeating(of, len(prefix_mask)),
        mask=_looking(whole.bool(), columns).unsqueeze(1),
        single=None if read is None else _single(read),
        last_layer=-1 if read is None else _layers(body) - 1,
    )
    ids = _row(batch["prefix_ids"], batch["input_ids"])
    places = _row(positions(prefix_mask), positions(whole)[:, columns:])
    if read is not None:
        read = _row(torch.zeros_like(prefix_mask, dtype=torch.bool), read)
    with reading(body, read), _attending(body.config):
        hidden: Tensor = body(
            input_ids=ids, position_ids=places, use_cache=False, layout=layout
        ).last_hidden_state
    return hidden[0, prefix_mask.numel() :].view(*mask.shape, -1)


def _layers(body: Any) -> int:
    return int(body.config.get_text_config(decoder=True).num_hidden_layers)


def _row(prompts: Tensor, texts: Tensor) -> Tensor:
    """(G, P) and (N, S) -> (1, T)."""
    return torch.cat([prompts.flatten(), texts.flatten()]).unsqueeze(0)


def _looking(real: Tensor, columns: int) -> Tensor:
    """(N, P + S) -> (N, S, P + S): what is real and not later; what is real of the prompt."""
    width = real.shape[1]
    causal = torch.ones(width - columns, width, dtype=torch.bool, device=real.device)
    return causal.tril(columns) & real.unsqueeze(1)


def _single(read: Tensor) -> Tensor | None:
    """The column that each text is read at, (N,); None unless each is read at exactly one."""
    return read.int().argmax(1) if bool((read.sum(1) == 1).all()) else None


@contextmanager
def _attending(config: Any) -> Iterator[None]:
    before = config._attn_implementation
    config._attn_implementation = ATTENTION
    try:
        yield
    finally:
        config._attn_implementation = before


# --- which models ---------------------------------------------------------------------------------


def possible(body: Any) -> bool:
    """Whether ``encode`` gives of this model what texts encoded whole give."""
    if body.config._attn_implementation != "sdpa" or distributed.sharded():
        return False
    if body not in _possible:
        _possible[body] = _comes_out_right(body)
    return _possible[body]


@torch.no_grad()
def _comes_out_right(body: Any) -> bool:
    """Tried in the weights' own precision: half precision rounds by more than ``tolerance``."""
    device = body.get_input_embeddings().weight.device
    batch = {name: entry.to(device) for name, entry in _probe().items()}
    training = body.training
    body.eval()
    try:
        with torch.autocast(device.type, enabled=False):
            return all(_as_whole(body, batch, read) for read in (None, _last(batch)))
    except (RuntimeError, TypeError, AttributeError, ValueError, IndexError):
        # The model attends in a way of its own, or wants its texts in rows.
        return False
    finally:
        body.train(training)


def _probe() -> dict[str, Tensor]:
    prefix_ids, prefix_mask = pad(PROBE_PROMPTS, 0)
    input_ids, mask = pad([text for _, text in PROBE_TEXTS], 0)
    of = torch.tensor([number for number, _ in PROBE_TEXTS])
    return {
        "prefix_ids": prefix_ids, "prefix_mask": prefix_mask, "prefix_of": of,
        "input_ids": input_ids, "attention_mask": mask,
    }  # fmt: skip


def _last(batch: Mapping[str, Tensor]) -> Tensor:
    """(N, S), true at each text's last token."""
    mask = batch["attention_mask"]
    return torch.arange(mask.shape[1], device=mask.device) == mask.sum(1, keepdim=True) - 1


def _as_whole(body: Any, batch: Mapping[str, Tensor], read: Tensor | None) -> bool:
    found = encode(body, batch, read)
    wanted = batch["attention_mask"].bool() if read is None else read
    return all(
        _alike(found[row, wanted[row]], _whole(body, number, text)[wanted[row, : len(text)]])
        for row, (number, text) in enumerate(PROBE_TEXTS)
    )


def _whole(body: Any, number: int, text: list[int]) -> Tensor:
    """(S, d): the states of a text's own part, encoded behind its whole prompt."""
    prompt = PROBE_PROMPTS[number]
    ids = torch.tensor([prompt + text], device=body.get_input_embeddings().weight.device)
    hidden: Tensor = body(input_ids=ids, use_cache=False).last_hidden_state
    return hidden[0, len(prompt) :]


def _alike(found: Tensor, expected: Tensor) -> bool:
    return bool((found - expected).abs().max() <= tolerance(expected))
