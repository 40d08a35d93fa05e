"""Token lists to tensors: padding, masks and positions, and the cutting of batches to size.

Lengths come from masks. The padding token is never compared with anything, because in many
vocabularies it is also the end token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# Padded tokens in one forward pass: bounds memory without a setting to tune. On a CPU it keeps the
# activations of a small model in reach of the cache; a GPU takes more.
TOKENS_PER_PASS = {"cpu": 2048, "cuda": 32768}
# Starting a pass costs about as much as so many tokens in it (the starter model on two CPU cores).
PASS_COST = 128


@dataclass(frozen=True)
class Batch:
    """B texts, right-padded, each without its last token: that one predicts nothing.

    inputs: ``input_ids`` and ``attention_mask``, (B, T) each. mask: (B, T), true where the next
    token is one of the completion. targets: (M,) those next tokens, text after text, so that
    ``hidden[mask]`` predicts ``targets``.
    """

    inputs: dict[str, Tensor]
    mask: Tensor
    targets: Tensor


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
    """Prompts with their completions, neither of them empty, for teacher forcing."""
    texts = [[*p, *c][:-1] for p, c in zip(prompts, completions, strict=True)]
    ids, attention_mask = pad(texts, pad_id)
    mask = attention_mask.bool()
    for row, prompt in enumerate(prompts):
        mask[row, : len(prompt) - 1] = False
    targets = torch.tensor([token for completion in completions for token in completion])
    inputs = {"input_ids": ids.to(device), "attention_mask": attention_mask.to(device)}
    return Batch(inputs, mask.to(device), targets.to(device))


def passes(lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """Row numbers grouped by length, each group at most ``tokens`` wide when padded.

    Of all ways to cut the rows, sorted by length, the one that computes least: padded tokens, and
    ``PASS_COST`` for each pass. Longest first, so that running out of memory happens at once or
    never.
    """
    order = sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))
    costs, begins = [0], [0]  # of the first n rows; and where the last of their passes begins
    for end in range(1, len(order) + 1):
        options: list[tuple[int, int]] = []
        for begin in reversed(range(end)):
            padded = (end - begin) * lengths[order[begin]]
            if options and padded > tokens:
                break
            options.append((costs[begin] + padded + PASS_COST, begin))
        cost, begin = min(options)
        costs.append(cost)
        begins.append(begin)
    groups, end = [], len(order)
    while end:
        groups.append(order[begins[end] : end])
        end = begins[end]
    return groups[::-1]


def micro_batch(batch: int, tokens_per_row: int, tokens: int) -> int:
    """The largest divisor of ``batch`` whose rows fit in ``tokens``; at least 1."""
    fits = max(1, tokens // max(1, tokens_per_row))
    return max(d for d in range(1, batch + 1) if batch % d == 0 and d <= fits)
