"""What an optimiser step is made of, however micro-batches and ranks cut it.

Where the rows of an epoch do not fill its last step, several ranks would be given some rows twice.
Here rows that count for nothing fill it up instead: every rank makes the same passes, and a step
has the rows, and with the losses that count them the gradient, of one process with one large batch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from training.rlhf import distributed
from training.rlhf.order import generator
from training.rlhf.packing import IGNORED

# Of a batch, what is 1 on each token.
MASKS = {"attention_mask", "prefix_mask"}
# The number of a row, and whether it counts.
Asked = tuple[int, bool]


class WholeSteps:
    """Put before a TRL trainer among the base classes."""

    # Tokens that went through the model since the start of this process, on this rank.
    tokens_seen: int | torch.Tensor = 0

    def get_train_dataloader(self) -> DataLoader:
        trainer: Any = self
        rows, ranks = trainer.train_dataset, distributed.world_size()
        sampler = StepSampler(
            len(rows),
            trainer._train_batch_size * ranks if ranks > 1 else 1,
            trainer.args.seed,
            lambda: int(trainer.state.epoch or 0),
        )
        loader: DataLoader = trainer._get_dataloader(
            dataset=CountedRows(rows),
            description="Training",
            batch_size=trainer._train_batch_size,
            sampler_fn=lambda _: sampler,
            is_training=True,
        )
        return loader

    def get_batch_samples(self, *arguments: Any, **named: Any) -> Any:
        batches, items = super().get_batch_samples(*arguments, **named)  # type: ignore[misc]
        for batch in batches:
            masks = [batch[name].sum() for name in MASKS & batch.keys()]
            self.tokens_seen = self.tokens_seen + sum(masks or [batch["input_ids"].numel()])
        return batches, items

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Metrics are means over all ranks, not those of the one that writes them."""
        trainer: Any = self
        mode = "train" if trainer.model.training else "eval"
        merged: defaultdict[str, list[float]] = defaultdict(list)
        for part in distributed.gather([dict(trainer._metrics[mode])]):
            for name, values in part.items():
                merged[name] += values
        trainer._metrics[mode] = merged
        super().log(logs, start_time)  # type: ignore[misc]


class StepSampler(Sampler[Asked]):
    """The rows of one epoch in a shuffled order, filled up so that the ranks share them evenly.

    The order follows from the seed and the epoch alone, so a resumed run finds its place in it.

    Args:
        rows: how many there are.
        at_once: what the rows of an epoch must be a multiple of: those in one pass of all ranks.
        epoch: asked for the number of the epoch when an order is begun.
    """

    def __init__(self, rows: int, at_once: int, seed: int, epoch: Callable[[], int]) -> None:
        self._rows, self._at_once = rows, at_once
        self._seed, self._epoch = seed, epoch

    def __len__(self) -> int:
        return -(-self._rows // self._at_once) * self._at_once

    def __iter__(self) -> Iterator[Asked]:
        order = torch.randperm(self._rows, generator=generator(self._seed, self._epoch())).tolist()
        yield from ((row, True) for row in order)
        yield from ((order[0], False) for _ in range(len(self) - self._rows))


class CountedRows(Dataset[dict[str, Any]]):
    """A dataset asked by what ``StepSampler`` yields.

    A row of labelled text that does not count loses its labels, as losses are over labelled tokens.
    Other rows tell their collator by ``counts``.
    """

    def __init__(self, rows: Any) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, asked: Asked) -> dict[str, Any]:
        number, counts = asked
        row = self._rows[number]
        if "labels" not in row:
            return {**row, "counts": counts}
        return row if counts else {**row, "labels": [IGNORED] * len(row["labels"])}
