"""Examples side by side in one row, each as if it were alone: fewer columns of padding.

Only the examples of one micro-batch are packed together. ``batch_size`` therefore goes on counting
examples, and a packed run makes the same steps as an unpacked one, sooner. (TRL packs the data set
before it is shuffled into batches; a step then holds several times as many examples, and fewer
steps are made.)
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from training.rlhf.errors import TrainingError
from training.rlhf.losses import logprobs_of
from training.rlhf.models import device
from training.rlhf.rendering import Rendered

IGNORED = -100
PROBE_TOKENS = 16
PROBE_TOLERANCE = 1e-3

Row = Mapping[str, list[int]]


def labelled(text: Rendered) -> dict[str, list[int]]:
    """Ids, and labels that leave the prompt out of the loss."""
    labels = [IGNORED] * len(text.prompt_ids) + text.completion_ids
    return {"input_ids": text.ids, "labels": labels}


def pack(lengths: Sequence[int]) -> list[list[int]]:
    """Places grouped into rows, so that they take the fewest columns in all when padded alike.

    Rows may be up to twice as long as the longest example: attention costs more there, as the
    library computes what the mask then hides.
    """
    longest = max(lengths)
    layouts = [best_fit(lengths, longest * quarters // 4) for quarters in range(4, 9)]
    return min(layouts, key=lambda rows: _columns(rows, lengths))


def best_fit(lengths: Sequence[int], space: int) -> list[list[int]]:
    """Places grouped into rows of at most ``space``: each into the fullest row that has room,
    longest first.
    """
    rows: list[list[int]] = []
    loads: list[tuple[int, int]] = []  # of each row, in rising order
    for place in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        fitting = bisect.bisect_right(loads, (space - lengths[place], len(rows)))
        load, row = loads.pop(fitting - 1) if fitting else (0, len(rows))
        if row == len(rows):
            rows.append([])
        rows[row].append(place)
        bisect.insort(loads, (load + lengths[place], row))
    return rows


@dataclass(frozen=True)
class Collator:
    """Examples of ``labelled`` to tensors (rows, columns), right-padded.

    One example a row comes with an attention mask. Packed ones come with positions that start anew
    with each example, and with no mask: from these the library makes the mask that keeps them
    apart. A column of padding counts as an example of its own there.
    """

    pad_id: int
    packing: bool = False

    def __call__(self, examples: Sequence[Row]) -> dict[str, Tensor]:
        lengths = [len(example["input_ids"]) for example in examples]
        packed = pack(lengths) if self.packing else [[i] for i in range(len(examples))]
        rows = [[examples[place] for place in places] for places in packed]
        ids = [[i for example in row for i in example["input_ids"]] for row in rows]
        # The first token of an example has nothing before it that could predict it.
        labels = [[i for e in row for i in (IGNORED, *e["labels"][1:])] for row in rows]
        positions = [[i for e in row for i in range(len(e["input_ids"]))] for row in rows]
        batch = {"input_ids": _padded(ids, self.pad_id), "labels": _padded(labels, IGNORED)}
        if self.packing:
            return {**batch, "position_ids": _padded(positions, 0)}
        return {**batch, "attention_mask": _padded([[1] * len(p) for p in positions], 0)}


def require_separation(model: Any, texts: Sequence[Rendered], pad_id: int) -> None:
    """Raises TrainingError when packed examples change what the model says of each other.

    Shown on examples of the run, as it depends on the architecture and on the attention chosen:
    positions may be ignored (ALiBi), a state may be carried on (Mamba).
    """
    samples = [labelled(Rendered([], text.ids[:PROBE_TOKENS])) for text in texts[:4]]
    # A second row, as some kernels know packed examples in a batch of one row only.
    halves = [{"input_ids": s["input_ids"][::2], "labels": s["labels"][::2]} for s in samples]
    examples = [*samples, *halves]
    packed, alone = (
        _losses(model, Collator(pad_id, packing), examples) for packing in (True, False)
    )
    error = (packed - alone).abs().max()
    if not error <= PROBE_TOLERANCE * alone.abs().max().clamp(min=1):
        raise TrainingError(
            f"{type(model).__name__} lets packed examples see each other (log-probabilities differ "
            f"by {error.item():.3g}): turn packing off"
        )


@torch.no_grad()
def _losses(model: Any, collate: Collator, examples: Sequence[Row]) -> Tensor:
    """Sorted losses of all tokens, (tokens,): packing puts the same ones in another order."""
    batch = {name: tensor.to(device()) for name, tensor in collate(examples).items()}
    labels = batch.pop("labels")
    training = model.training
    model.eval()
    logits = model(**batch, use_cache=False).logits.float()
    model.train(training)
    wanted = labels[:, 1:] != IGNORED
    return -logprobs_of(logits[:, :-1][wanted], labels[:, 1:][wanted]).sort().values


def _columns(rows: Sequence[Sequence[int]], lengths: Sequence[int]) -> int:
    return len(rows) * max(sum(lengths[place] for place in row) for row in rows)


def _padded(rows: Sequence[Sequence[int]], value: int) -> Tensor:
    width = max(map(len, rows))
    return torch.tensor([[*row, *[value] * (width - len(row))] for row in rows])
