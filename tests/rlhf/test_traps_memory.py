"""Known traps of memory: logits of a whole batch, whose size is that of the vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.rlhf.conftest import byte_tokenizer
from tests.rlhf.toys import causal
from training.rlhf import dpo, heads, rollouts
from training.rlhf.models import load_policy
from training.rlhf.prefix import lay_out_groups
from training.rlhf.rendering import Rendered

# --- 31


class Largest(TorchDispatchMode):
    """The most numbers that any tensor made under it has, backward passes included."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(
        self, func: Any, kinds: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        made = [t.numel() for t in tree_leaves(result) if isinstance(t, Tensor)]
        self.numbers = max([self.numbers, *made])
        return result


@pytest.fixture
def wide(tmp_path: Path) -> str:
    """A policy of 30,000 tokens, whose logits outweigh all else as soon as there are many."""
    model = causal("llama", vocab_size=30_000, hidden_size=8, intermediate_size=8, head_dim=4)
    model.save_pretrained(tmp_path / "wide")
    byte_tokenizer().save_pretrained(tmp_path / "wide")
    return str(tmp_path / "wide")


CHUNK = 30_000 * 16


@pytest.mark.parametrize("what", ["dpo", "ppo", "ptx", "entropy"])
def test_trap_31_logits_of_a_whole_batch_never_exist(
    wide: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forward and backward through 8 x 50 tokens make no tensor beyond a chunk's logits."""
    monkeypatch.setitem(heads.LOGITS_AT_ONCE, "cpu", CHUNK)
    model = load_policy(wide)
    texts = [Rendered([1, 3, 90 + n, 4], [80 + n] * 50) for n in range(8)]
    heads.head_of(model)
    kept: list[int] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    with Largest() as largest, torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        logprobs_in(what, model, texts)
    # The embedding, its gradient and one chunk of logits are what has a vocabulary in it.
    assert 30_000 * 8 <= largest.numbers <= CHUNK
    assert 20 * CHUNK < 8 * 50 * 30_000
    # Nor do the chunks wait side by side for the backward pass: it makes them again.
    chunks = 8 * 50 * 30_000 / CHUNK
    assert sum(number == CHUNK for number in kept) < chunks / 4
    assert sum(kept) < 8 * 50 * 30_000 / 2


def logprobs_in(what: str, model: Any, texts: Sequence[Rendered]) -> None:
    if what == "entropy":
        rollouts.logprobs_and_entropy(model, texts, 0, 1.0)
        return
    if what == "dpo":
        batch = lay_out_groups([(t.prompt_ids, [t.completion_ids]) for t in texts], 0, share=True)
        dpo.completion_logprobs(model, **batch).sum().backward()
        return
    batch_of = rollouts.batch_of(texts, 0)
    temperature = 0.7 if what == "ppo" else 1.0
    rollouts.completion_logprobs(model, batch_of, temperature).sum().backward()


def test_trap_31_the_peak_does_not_depend_on_the_vocabulary(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Twice the vocabulary, half the tokens a chunk: the same peak beyond the weights."""
    peaks = []
    monkeypatch.setitem(heads.LOGITS_AT_ONCE, "cpu", 2**18)
    for vocabulary in (4_096, 8_192, 16_384):
        model = causal("llama", vocab_size=vocabulary, hidden_size=8, head_dim=4)
        hidden = torch.randn(4, 100, 8, requires_grad=True)
        targets = torch.randint(0, vocabulary, (4, 100))
        heads.head_of(model)
        with Largest() as largest:
            heads.token_logprobs(model, hidden, targets).sum().backward()
        peaks.append(largest.numbers)
        assert hidden.grad is not None
    assert max(peaks) <= 2**18 + 2**14
    assert 4 * 100 * 4_096 > 2**18
