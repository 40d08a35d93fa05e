"""One reward-model step, forward and backward: K-wise against TRL's pairs of the same completions.

A Llama of 6 layers and width 256, prompts of 200 tokens, completions of 100. The peer is
``RewardTrainer.compute_loss`` of the installed TRL on all C(K, 2) pairs; loss and gradients of both
are compared before anything is timed.
"""

from __future__ import annotations

import itertools
import tempfile
from typing import Any

import torch
from datasets import Dataset
from transformers import LlamaConfig, LlamaForSequenceClassification
from trl import RewardConfig, RewardTrainer

from benchmarks.timing import compare
from training.rlhf.comparisons import Collator
from training.rlhf.models import load_renderer, load_reward_model
from training.rlhf.reward import KwiseRewardTrainer

PROMPT_TOKENS = 200
COMPLETION_TOKENS = 100
VOCABULARY = 2000
TOLERANCE = 1e-4


def main() -> None:
    for k, reach in ((9, 8.0), (4, 3.0)):
        measure(k, reach)


def measure(k: int, reach: float) -> None:
    torch.manual_seed(0)
    prompt = torch.randint(10, VOCABULARY, (PROMPT_TOKENS,)).tolist()
    texts = [
        prompt + torch.randint(10, VOCABULARY, (COMPLETION_TOKENS,)).tolist() for _ in range(k)
    ]
    pairs = [list(pair) for pair in itertools.combinations(range(k), 2)]
    with tempfile.TemporaryDirectory() as folder:
        _new_model().save_pretrained(folder)
        peers_model = LlamaForSequenceClassification.from_pretrained(folder)
        ours = _Step(
            KwiseRewardTrainer,
            load_reward_model(folder, frozen=False),
            _kwise_batch(texts, pairs),
        )
    peer = _Step(RewardTrainer, peers_model, None)
    peer.batch = peer.trainer.data_collator(
        [{"chosen_ids": texts[w], "rejected_ids": texts[l]} for w, l in pairs]  # noqa: E741
    )
    _check_equal(ours, peer)
    compare(f"reward_step_k{k}", reach, ours.run, peer.run)


class _Step:
    """A trainer's own loss on one batch, and its gradients."""

    def __init__(self, trainer: type[RewardTrainer], model: Any, batch: Any) -> None:
        folder = tempfile.mkdtemp(prefix="podium-bench-")
        arguments = RewardConfig(
            output_dir=folder, report_to="none", use_cpu=True, bf16=False, max_length=None,
            gradient_checkpointing=False,
        )  # fmt: skip
        row = {"chosen_ids": [10, 11], "rejected_ids": [10, 12]}
        self.trainer = trainer(
            model=model, args=arguments, train_dataset=Dataset.from_list([row]),
            processing_class=_tokenizer(),
        )  # fmt: skip
        self.model = model
        self.batch = batch

    def run(self) -> float:
        self.model.zero_grad()
        loss = self.trainer.compute_loss(self.model, self.batch)
        loss.backward()
        return float(loss)


def _check_equal(ours: _Step, peer: _Step) -> None:
    gradients = []
    losses = []
    for step in (ours, peer):
        losses.append(step.run())
        named = sorted(step.model.named_parameters())
        gradients.append([p.grad.clone() for _, p in named if p.grad is not None])
    worst = max(
        float((a - b).norm() / b.norm().clamp(min=1e-9)) for a, b in zip(*gradients, strict=True)
    )
    if abs(losses[0] - losses[1]) > TOLERANCE or worst > TOLERANCE:
        raise SystemExit(f"not the same step: losses {losses}, gradients differ by {worst:.2g}")


def _new_model() -> LlamaForSequenceClassification:
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=256, intermediate_size=1024, num_hidden_layers=6,
        num_attention_heads=8, max_position_embeddings=512, pad_token_id=0, num_labels=1,
    )  # fmt: skip
    return LlamaForSequenceClassification(config)


def _kwise_batch(texts: list[list[int]], pairs: list[list[int]]) -> Any:
    row = {"ids": texts, "prompt_lengths": [PROMPT_TOKENS] * len(texts), "pairs": pairs}
    return Collator(0)([row])


def _tokenizer() -> Any:
    from benchmarks import STARTER

    return load_renderer(str(STARTER)).tokenizer


if __name__ == "__main__":
    main()
