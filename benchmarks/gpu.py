"""``python -m benchmarks.gpu``: tokens a second of generation, scoring and training on this card.

A Llama of 1.2 B random weights, in bfloat16 as the trainer has it. Beside each rate stands which
share it is of the rate at which the card multiplies large matrices, measured here: two operations a
parameter and token forward, six with the backward pass, attention left out. ``--tiny`` runs the
same on any machine, only to see that it works.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

from training.rlhf import score_heads
from training.rlhf.generate import Request, Sampling, generate
from training.rlhf.heads import body_of, token_logprobs
from training.rlhf.models import autocast, device, parameter_count
from training.rlhf.rendering import Rendered
from training.rlhf.scoring import raw_scores


@dataclass(frozen=True)
class Size:
    """Of the model and of the work."""

    layers: int
    width: int
    inner: int
    heads: int
    vocabulary: int
    matrix: int
    prompts: int
    completions: int
    prompt_tokens: int
    new_tokens: int
    rows: int


FULL = Size(16, 2048, 8192, 32, 128_000, 8192, 32, 8, 256, 256, 16)
TINY = Size(2, 64, 128, 4, 512, 256, 2, 2, 16, 8, 2)


def main() -> int:
    size = TINY if "--tiny" in sys.argv[1:] else FULL
    if size is FULL and not torch.cuda.is_available():
        print("no GPU here; --tiny runs on a CPU", file=sys.stderr)
        return 2
    torch.manual_seed(0)
    peak = matmul_rate(size.matrix)
    print(f"GPU matmul tflops={peak / 1e12:.1f}", flush=True)
    for case, operations, measure in (
        ("generate", 2, generated),
        ("score", 2, scored),
        ("train", 6, trained),
    ):
        rate, parameters = measure(size)
        share = operations * parameters * rate / peak
        print(f"GPU {case} tokens_per_second={rate:.0f} share={share:.3f}", flush=True)
    return 0


def matmul_rate(side: int) -> float:
    """Operations a second."""
    dtype = torch.bfloat16 if device().type == "cuda" else torch.float32
    a, b = (torch.randn(side, side, device=device(), dtype=dtype) for _ in range(2))
    return 2 * side**3 / seconds(lambda: a @ b)


def generated(size: Size) -> tuple[float, int]:
    """New tokens a second, K completions of each prompt."""
    model = _model(LlamaForCausalLM, size, torch.bfloat16).eval()
    # An end token that is no token: all completions run to their limit.
    how = Sampling(1.0, 1.0, end_id=-1, pad_id=0)
    ids = _tokens(size, size.prompts, size.prompt_tokens).tolist()
    requests = [Request(row, range(size.completions), size.new_tokens) for row in ids]
    tokens = size.prompts * size.completions * size.new_tokens
    return tokens / seconds(lambda: generate(model, requests, how)), parameter_count(model)


def scored(size: Size) -> tuple[float, int]:
    """Tokens a second of texts that share no prompt."""
    model = _model(LlamaForSequenceClassification, size, torch.bfloat16).eval()
    score_heads.attach(model)
    rows = _tokens(size, 8 * size.rows, size.prompt_tokens + size.new_tokens).tolist()
    texts = [Rendered(row[: size.prompt_tokens], row[size.prompt_tokens :]) for row in rows]
    tokens = sum(map(len, texts))
    return tokens / seconds(lambda: raw_scores(model, texts, 0)), parameter_count(model)


def trained(size: Size) -> tuple[float, int]:
    """Tokens a second forward, backward and through the optimiser, weights in float32."""
    model = _model(LlamaForCausalLM, size, torch.float32).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6)
    ids = _tokens(size, size.rows, size.prompt_tokens + size.new_tokens).to(device())

    def step() -> None:
        with autocast():
            hidden = body_of(model)(input_ids=ids, use_cache=False).last_hidden_state
            loss = -token_logprobs(model, hidden[:, :-1], ids[:, 1:]).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return ids.numel() / seconds(step), parameter_count(model)


def seconds(work: Callable[[], object], rounds: int = 3) -> float:
    """The best of some rounds, after one that is not counted."""
    taken = []
    for _ in range(rounds + 1):
        _wait()
        started = time.perf_counter()
        work()
        _wait()
        taken.append(time.perf_counter() - started)
    return min(taken[1:])


def _wait() -> None:
    if device().type == "cuda":
        torch.cuda.synchronize()


def _model(kind: Any, size: Size, dtype: torch.dtype) -> Any:
    config = LlamaConfig(
        vocab_size=size.vocabulary,
        hidden_size=size.width,
        intermediate_size=size.inner,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=max(1, size.heads // 4),
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        pad_token_id=0,
        num_labels=1,
    )
    return kind(config).to(device(), dtype if device().type == "cuda" else torch.float32)


def _tokens(size: Size, rows: int, columns: int) -> torch.Tensor:
    return torch.randint(3, size.vocabulary, (rows, columns))


if __name__ == "__main__":
    sys.exit(main())
