"""Token lists to tensors: padding, masks and positions, and the cutting of batches to size.

Lengths come from masks. The padding token is never compared with anything, because in many
vocabularies it is also the end token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")

# Padded tokens in one forward pass: bounds memory without a setting to tune. On a CPU it keeps the
# activations of a small model in reach of the cache; a GPU takes more.
TOKENS_PER_PASS = {"cpu": 4096, "cuda": 32768}


@dataclass(frozen=True)
class Batch:
    """Prompts left-padded up to a common column, completions right-padded after it.

    input_ids, attention_mask, position_ids: (B, P + C). mask: (B, C), true on completion tokens.
    """

    input_ids: Tensor
    attention_mask: Tensor
    position_ids: Tensor
    mask: Tensor

    @property
    def completions(self) -> Tensor:
        """(B, C)"""
        return self.input_ids[:, -self.mask.shape[1] :]


def pad(
    sequences: Sequence[Sequence[int]], pad_id: int, side: str = "right"
) -> tuple[Tensor, Tensor]:
    """(B, T) ids and the mask of the real ones; ``side`` is where the padding goes."""
    width = max(map(len, sequences))
    ids = torch.full((len(sequences), width), pad_id, dtype=torch.long)
    mask = torch.zeros((len(sequences), width), dtype=torch.long)
    for row, sequence in enumerate(sequences):
        columns = slice(width - len(sequence), width) if side == "left" else slice(len(sequence))
        ids[row, columns] = torch.tensor(sequence, dtype=torch.long)
        mask[row, columns] = 1
    return ids, mask


def positions(attention_mask: Tensor) -> Tensor:
    """Positions counted from the first real token, so that left padding moves nothing: (B, T)."""
    return (attention_mask.cumsum(-1) - 1).clamp(min=0)


def lay_out(
    prompts: Sequence[Sequence[int]],
    completions: Sequence[Sequence[int]],
    pad_id: int,
    device: torch.device | str = "cpu",
) -> Batch:
    """Completions of all rows start in the same column, so one slice of logits covers them."""
    prompt_ids, prompt_mask = pad(prompts, pad_id, "left")
    ids, mask = pad(completions, pad_id, "right")
    attention_mask = torch.cat([prompt_mask, mask], 1).to(device)
    return Batch(
        torch.cat([prompt_ids, ids], 1).to(device),
        attention_mask,
        positions(attention_mask),
        mask.bool().to(device),
    )


def passes(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Row numbers grouped by length, each group at most ``tokens`` wide when padded.

    Longest first, so that running out of memory happens at once or never.
    """
    group: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if group and (len(group) + 1) * lengths[group[0]] > tokens:
            yield group
            group = []
        group.append(row)
    if group:
        yield group


def in_passes(
    items: Sequence[T], length: Callable[[T], int], tokens: int, work: Callable[[list[T]], Tensor]
) -> Tensor:
    """``work`` on length-sorted groups; its rows are put back in the order of ``items``."""
    groups = list(passes([length(item) for item in items], tokens))
    results = torch.cat([work([items[row] for row in group]) for group in groups])
    order = torch.tensor([row for group in groups for row in group])
    return results[torch.argsort(order).to(results.device)]


def micro_batch(batch: int, tokens_per_row: int, tokens: int) -> int:
    """The largest divisor of ``batch`` whose rows fit in ``tokens``; at least 1."""
    fits = max(1, tokens // max(1, tokens_per_row))
    return max(d for d in range(1, batch + 1) if batch % d == 0 and d <= fits)
