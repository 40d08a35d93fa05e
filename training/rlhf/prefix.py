"""K completions of one prompt through a decoder: the prompt is encoded once, with gradients.

Keys and values of the prompt are repeated for its completions, which attend to them and to
themselves; autograd sums what flows back. K(P + C) tokens become P + K·C. The result is that of
encoding each text on its own, up to rounding (2410.20305 has the same by a block mask, for which a
kernel of its own or a padded square of scores is needed). All tokens go through the model in one
pass (``one_pass``) where its attention allows; else prompts and completions in two, by a cache.

Shapes: G prompts, N texts, P and S columns. What is shared of a text is its prompt but for the last
token: that one opens the text's own part, so the state that predicts the first completion token is
in it too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

from training.rlhf import distributed, one_pass
from training.rlhf.batching import pad, positions
from training.rlhf.last_layer import reading

# Sharing has a price of its own: where less than this share of tokens is saved, texts go whole.
LEAST_SAVING = 0.15

FIELDS = ("prefix_ids", "prefix_mask", "prefix_of", "input_ids", "attention_mask")


def can_share(model: Any) -> bool:
    """Whether the model's attention sees all of the past and keeps it as keys and values.

    Encoders see the future too; sliding windows, state-space layers and models trained with
    recomputed activations (which allow no cache) go without sharing. So do models whose weights
    are spread over ranks: a layer that ran twice cannot be gathered again for its gradient.
    """
    config = model.config.get_text_config(decoder=True)
    sees_the_future = (
        config.is_encoder_decoder or config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    )
    if sees_the_future or not getattr(config, "use_cache", False):
        return False
    if getattr(model, "is_activation_checkpointing", False) or distributed.sharded():
        return False
    return all(type(layer) is DynamicLayer for layer in DynamicCache(config=config).layers)


def lay_out_groups(
    groups: Sequence[tuple[Sequence[int], Sequence[Sequence[int]]]], pad_id: int, *, share: bool
) -> dict[str, Tensor]:
    """Prompts with their completions, all as token ids, to one batch; see ``encode``.

    input_ids, attention_mask: (N, S) the texts' own parts, right-padded.
    completion_mask: (N, S) 1 on completion tokens.
    Where sharing saves enough, also prefix_ids, prefix_mask: (G, P) right-padded, and prefix_of:
    (N,) each text's row in them.
    """
    kept = _kept(groups, share)
    rows = [
        (number, list(prompt[kept[number] :]), list(completion))
        for number, (prompt, completions) in enumerate(groups)
        for completion in completions
    ]
    input_ids, attention_mask = pad([opening + text for _, opening, text in rows], pad_id)
    completion_mask = attention_mask.clone()
    for row, (_, opening, _text) in enumerate(rows):
        completion_mask[row, : len(opening)] = 0
    batch = {
        "input_ids": input_ids,
        "attention_mask": attention_mask,
        "completion_mask": completion_mask,
    }
    if any(kept):
        prefixes = [prompt[: kept[number]] for number, (prompt, _) in enumerate(groups)]
        ids, mask = pad(prefixes, pad_id)
        of = torch.tensor([number for number, _, _ in rows])
        batch |= {"prefix_ids": ids, "prefix_mask": mask, "prefix_of": of}
    return batch


def encoded_tokens(
    groups: Sequence[tuple[Sequence[int], Sequence[Sequence[int]]]], *, share: bool
) -> int:
    """Tokens that ``encode`` computes for these groups laid out, padding included."""
    return _padded(groups, _kept(groups, share))


def _kept(
    groups: Sequence[tuple[Sequence[int], Sequence[Sequence[int]]]], share: bool
) -> list[int]:
    """How many tokens of each prompt are encoded once."""
    whole, shared = [0] * len(groups), [max(0, len(prompt) - 1) for prompt, _ in groups]
    most = (1 - LEAST_SAVING) * _padded(groups, whole)
    return shared if share and _padded(groups, shared) <= most else whole


def _padded(
    groups: Sequence[tuple[Sequence[int], Sequence[Sequence[int]]]], kept: Sequence[int]
) -> int:
    """Tokens of both passes, padding included, when so many of each prompt are encoded once."""
    own = [
        len(prompt) - kept[number] + len(completion)
        for number, (prompt, completions) in enumerate(groups)
        for completion in completions
    ]
    return len(own) * max(own, default=0) + len(groups) * max(kept, default=0)


def encode(body: Any, batch: Mapping[str, Tensor], read: Tensor | None = None) -> Tensor:
    """Last hidden states of the texts' own parts: (N, S, d). ``body`` is a model without its head.

    Where ``read`` (N, S) is false they may be anything: nobody looks. Extra entries of ``batch``
    are ignored.
    """
    ids, mask = batch["input_ids"], batch["attention_mask"]
    if "prefix_ids" not in batch:
        # No token sees what comes after it, so padding on the right needs no mask, and without
        # one the fastest kernels run.
        on_the_right = bool(mask[:, 0].all())
        layout = {} if on_the_right else {"attention_mask": mask, "position_ids": positions(mask)}
        with reading(body, read):
            hidden: Tensor = body(input_ids=ids, use_cache=False, **layout).last_hidden_state
        return hidden
    if one_pass.possible(body):
        return one_pass.encode(body, batch, read)
    return _encode_twice(body, batch, read)


def _encode_twice(body: Any, batch: Mapping[str, Tensor], read: Tensor | None) -> Tensor:
    """The prompts into a cache, then the texts' own parts after what it holds of theirs.

    Some models tell distances by the columns of the cache (GPT-Neo's windows, MPT's biases), so
    the prompts stand close to their texts, with the padding before them.
    """
    of = batch["prefix_of"]
    prefix_ids, prefix_mask = _padded_before(batch["prefix_ids"], batch["prefix_mask"])
    cache = DynamicCache(config=body.config)
    with reading(body, torch.zeros_like(prefix_mask, dtype=torch.bool)):
        body(
            input_ids=prefix_ids,
            attention_mask=prefix_mask,
            position_ids=positions(prefix_mask),
            past_key_values=cache,
            use_cache=True,
        )
    for_texts = one_pass.repeating(of, len(prefix_mask))
    layers: list[Any] = cache.layers
    for layer in layers:
        layer.keys, layer.values = for_texts(layer.keys), for_texts(layer.values)
    whole_mask = torch.cat([prefix_mask[of], batch["attention_mask"]], 1)
    with reading(body, read):
        hidden: Tensor = body(
            input_ids=batch["input_ids"],
            attention_mask=whole_mask,
            position_ids=positions(whole_mask)[:, prefix_mask.shape[1] :],
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
    return hidden


def _padded_before(ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """(G, P) ids and mask with the padding moved from the right to the left."""
    width = mask.shape[1]
    pads = width - mask.sum(1, keepdim=True)
    order = (torch.arange(width, device=mask.device) - pads) % width
    return ids.gather(1, order), mask.gather(1, order)
