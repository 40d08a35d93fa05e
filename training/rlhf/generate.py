"""Sampling with a key/value cache: K completions share one pass over their prompt.

The randomness of a completion is drawn beforehand from its own seed, one uniform number a token,
and turned into tokens through the inverse of the cumulative distribution. A completion therefore
depends on its prompt and its seed, not on what else is in the batch or where a run was resumed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from training.rlhf.batching import pad
from training.rlhf.models import autocast, device

# Tokens in the cache of one pass, prompts and padding included. In a model of 7 billion weights one
# costs 128 KiB with grouped heads, 512 KiB without, in 16 bits: here 16 to 64 GiB at most, and as
# much again for a moment when rows are dropped.
CACHE_TOKENS = {"cpu": 2**16, "cuda": 2**17}


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn. Temperature 0 takes the likeliest token."""

    temperature: float
    top_p: float
    end_id: int
    pad_id: int


@dataclass(frozen=True)
class Request:
    """A prompt, the seeds of the completions wanted of it, and their greatest length in tokens."""

    prompt_ids: Sequence[int]
    seeds: Sequence[int]
    limit: int


@dataclass(frozen=True)
class Completion:
    """``token_ids`` without the end token; ``ended`` says that it was there.

    ``logprobs``: log p of each token given those before it, under softmax(logits / T) of the whole
    vocabulary, whatever ``top_p`` left of it; at temperature 0 under that of T = 1. ``end_logprob``
    is that of the end token. None where whoever wrote the completion did not tell.

    ``text``: given only by one who told the text but not its ids; ``token_ids`` are then what the
    tokenizer makes of it, which need not be what was drawn.
    """

    token_ids: list[int]
    ended: bool
    # Not compared: beside other rows, they are rounded otherwise.
    logprobs: list[float] | None = field(default=None, compare=False)
    end_logprob: float | None = field(default=None, compare=False)
    text: str | None = None


def completion_seed(seed: int, prompt: str, index: int) -> int:
    """The seed of one completion of one prompt, within 63 bits."""
    digest = hashlib.sha256(f"{seed}\0{prompt}\0{index}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@torch.no_grad()
def generate(
    model: Any,
    requests: Sequence[Request],
    how: Sampling,
    between_tokens: Callable[[], None] = lambda: None,
) -> list[list[Completion]]:
    """The completions of each request, in the order of its seeds.

    Those whose cache would be larger than ``CACHE_TOKENS`` are written in several batches, which
    changes nothing of them. ``between_tokens`` may raise to abandon the rest.
    """
    rows = [(i, seed) for i, request in enumerate(requests) for seed in request.seeds]
    widths = [len(requests[i].prompt_ids) + requests[i].limit for i, _ in rows]
    written: list[list[Completion]] = [[] for _ in requests]
    for begin, end in _cut(widths, CACHE_TOKENS[device().type]):
        batch = [
            (place, dataclasses.replace(requests[place], seeds=[seed for _, seed in of]))
            for place, of in itertools.groupby(rows[begin:end], key=lambda row: row[0])
        ]
        made = _generate_batch(model, [request for _, request in batch], how, between_tokens)
        for (place, _), completions in zip(batch, made, strict=True):
            written[place] += completions
    return written


def _cut(widths: Sequence[int], tokens: int) -> Iterator[tuple[int, int]]:
    """Rows from .. to, as wide as the widest, at most ``tokens`` together; at least one."""
    begin = 0
    for row in range(len(widths)):
        if row > begin and (row + 1 - begin) * max(widths[begin : row + 1]) > tokens:
            yield begin, row
            begin = row
    if widths:
        yield begin, len(widths)


def _generate_batch(
    model: Any, requests: Sequence[Request], how: Sampling, between_tokens: Callable[[], None]
) -> list[list[Completion]]:
    """All at once.

    1. Encode each prompt once, left-padded, with explicit positions.
    2. Repeat its cache for every completion wanted.
    3. Draw a token a row until all have ended or reached their limit; drop ended rows on the way.
    """
    rows = [(i, seed) for i, request in enumerate(requests) for seed in request.seeds]
    limits = torch.tensor([requests[i].limit for i, _ in rows])
    noise = torch.stack([uniforms(seed, int(limits.max())) for _, seed in rows])
    written: list[list[int]] = [[] for _ in rows]
    # Log-probabilities stay on the device until the end: one copy instead of one a token.
    steps: list[tuple[list[int], Tensor]] = []
    decoder = _Decoder(model, [r.prompt_ids for r in requests], how.pad_id)
    decoder.select(torch.tensor([i for i, _ in rows]))
    alive = torch.arange(len(rows))
    for step in range(int(limits.max())):
        between_tokens()
        drawn, logprobs = draw(decoder.logits, noise[alive, step], how)
        tokens = drawn.cpu()
        steps.append((alive.tolist(), logprobs))
        for row, token in zip(alive.tolist(), tokens.tolist(), strict=True):
            written[row].append(token)
        going = (tokens != how.end_id) & (step + 1 < limits[alive])
        if not going.any():
            break
        if not going.all():
            decoder.select(going.nonzero().squeeze(1))
        alive = alive[going]
        decoder.advance(tokens[going])
    told = _by_row(steps, len(rows))
    completions = iter(
        [_completion(ids, its, how.end_id) for ids, its in zip(written, told, strict=True)]
    )
    return [[next(completions) for _ in request.seeds] for request in requests]


def uniforms(seed: int, count: int) -> Tensor:
    """(count,) float64 in [0, 1); drawn on the CPU, so that every device gets the same."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, generator=generator, dtype=torch.float64)


def draw(logits: Tensor, noise: Tensor, how: Sampling) -> tuple[Tensor, Tensor]:
    """One token a row and its log-probability, (R, V) and (R,) -> (R,) twice.

    The token is the first to lift the cumulative sum over the noise. The log-probability is that of
    ``Completion.logprobs``.
    """
    probabilities = (logits.double() / (how.temperature or 1.0)).softmax(-1)
    tokens = logits.argmax(-1) if how.temperature == 0 else _inverse(probabilities, noise, how)
    return tokens, probabilities.gather(-1, tokens.unsqueeze(-1)).squeeze(-1).log()


def _inverse(probabilities: Tensor, noise: Tensor, how: Sampling) -> Tensor:
    if how.top_p < 1:
        probabilities = nucleus(probabilities, how.top_p)
    cumulative = probabilities.cumsum(-1)
    # Scaled by the total, which is below 1 after the nucleus and inexact before it.
    target = noise.to(cumulative.device).unsqueeze(1) * cumulative[:, -1:]
    return (
        torch.searchsorted(cumulative, target, right=True)
        .squeeze(1)
        .clamp(max=cumulative.shape[-1] - 1)
    )


def nucleus(probabilities: Tensor, top_p: float) -> Tensor:
    """Zero all but the fewest likeliest tokens that hold ``top_p`` of the mass (1904.09751)."""
    ordered, indices = probabilities.sort(-1, descending=True)
    before = ordered.cumsum(-1) - ordered
    return torch.zeros_like(probabilities).scatter(-1, indices, ordered * (before < top_p))


class _Decoder:
    """The cache and the next-token logits of the rows still being written."""

    logits: Tensor

    def __init__(self, model: Any, prompts: Sequence[Sequence[int]], pad_id: int) -> None:
        where = next(model.parameters()).device
        ids, mask = pad(prompts, pad_id, side="left")
        self._model = model
        self._cache = DynamicCache(config=model.config)
        self._mask = mask.to(where)
        self._forward(ids.to(where), (self._mask.cumsum(-1) - 1).clamp(min=0))

    def select(self, rows: Tensor) -> None:
        """Keep these rows, in this order; a row may be named several times."""
        rows = rows.to(self._mask.device)
        self._cache.batch_select_indices(rows)
        self._mask = self._mask[rows]
        self.logits = self.logits[rows]

    def advance(self, tokens: Tensor) -> None:
        """Append one token (R,) to each row."""
        tokens = tokens.to(self._mask.device)
        position = self._mask.sum(1, keepdim=True)
        self._mask = torch.cat([self._mask, torch.ones_like(position)], 1)
        self._forward(tokens.unsqueeze(1), position)

    def _forward(self, ids: Tensor, positions: Tensor) -> None:
        with autocast():
            output = self._model(
                input_ids=ids,
                attention_mask=self._mask,
                position_ids=positions,
                past_key_values=self._cache,
                use_cache=True,
                logits_to_keep=1,
            )
        self.logits = output.logits[:, -1]


def _by_row(steps: Sequence[tuple[list[int], Tensor]], rows: int) -> list[list[float]]:
    """The log-probabilities of each row, from the rows alive at each step and theirs there."""
    values = iter(torch.cat([logprobs for _, logprobs in steps]).tolist())
    told: list[list[float]] = [[] for _ in range(rows)]
    for alive, _ in steps:
        for row in alive:
            told[row].append(next(values))
    return told


def _completion(ids: list[int], logprobs: list[float], end_id: int) -> Completion:
    if ids[-1] != end_id:
        return Completion(ids, False, logprobs)
    return Completion(ids[:-1], True, logprobs[:-1], logprobs[-1])
