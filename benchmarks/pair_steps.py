"""One training step on rankings, both ways: ours K-wise, and a trainer of TRL on all C(K, 2) pairs.

A Llama of 6 layers and width 256, a prompt of 200 tokens, K completions of 100. A step is what a
trainer does of its own for one batch: its loss and the gradients of it.
"""

from __future__ import annotations

import itertools
import tempfile
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification
from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

from benchmarks import STARTER
from training.jobs.params import RewardParams
from training.rlhf.comparisons import Collator
from training.rlhf.dpo import KwiseDpoTrainer
from training.rlhf.models import load_policy, load_renderer, load_reward_model
from training.rlhf.prefix import can_share
from training.rlhf.reward import KwiseRewardTrainer

PROMPT_TOKENS = 200
COMPLETION_TOKENS = 100
VOCABULARY = 2000
TOLERANCE = 1e-5
# Removed when the process ends.
SCRATCH = tempfile.TemporaryDirectory(prefix="podium-bench-")


@dataclass(frozen=True)
class Ranking:
    """K completions of one prompt, the first the best."""

    prompt: list[int]
    completions: list[list[int]]

    @property
    def pairs(self) -> list[tuple[int, int]]:
        return list(itertools.combinations(range(len(self.completions)), 2))

    def rows(self) -> list[dict[str, Any]]:
        """As ``comparisons.to_rows`` has it."""
        return [
            {
                "prompt_ids": self.prompt,
                "completions": self.completions,
                "pairs": [list(pair) for pair in self.pairs],
                "weights": [1.0] * len(self.pairs),
                "distances": [0.0] * len(self.pairs),
                "best": [0],
            }
        ]


def new_ranking(k: int) -> Ranking:
    generator = torch.Generator().manual_seed(0)

    def ids(count: int) -> list[int]:
        return torch.randint(10, VOCABULARY, (count,), generator=generator).tolist()

    return Ranking(ids(PROMPT_TOKENS), [ids(COMPLETION_TOKENS) for _ in range(k)])


@dataclass
class Step:
    """A trainer's own loss on one batch, and its gradients."""

    trainer: Any
    model: Any
    batch: Any

    def run(self) -> float:
        self.model.zero_grad()
        loss = self.trainer.compute_loss(self.model, self.batch)
        loss.backward()
        return float(loss.detach())


def check_equal(ours: Step, peer: Step) -> None:
    """Raises SystemExit unless the losses and every entry of the gradients agree to ``TOLERANCE``.

    The gradients' norms lie between 1 and 20, so what is let through is rounding.
    """
    losses = [step.run() for step in (ours, peer)]
    gradients = [_gradient(step.model) for step in (ours, peer)]
    off = float((gradients[0] - gradients[1]).abs().max())
    if abs(losses[0] - losses[1]) > TOLERANCE or not off < TOLERANCE:
        raise SystemExit(f"not the same step: losses {losses}, gradients differ by {off:.2g}")


def reward_steps(ranking: Ranking) -> tuple[Step, Step]:
    """Ours and the peer's, from the same weights."""
    return ours_reward(ranking), peer_reward(ranking)


def ours_reward(ranking: Ranking) -> Step:
    model = load_reward_model(_saved(LlamaForSequenceClassification), frozen=False)
    trainer = KwiseRewardTrainer(
        model=model, args=_arguments(RewardConfig), data_collator=Collator(0, can_share(model)),
        train_dataset=Dataset.from_list(ranking.rows()), processing_class=_tokenizer(),
        options=RewardParams(),
    )  # fmt: skip
    return Step(trainer, model, trainer.data_collator(ranking.rows()))


def peer_reward(ranking: Ranking) -> Step:
    model = LlamaForSequenceClassification.from_pretrained(_saved(LlamaForSequenceClassification))
    rows = [
        {
            "chosen_ids": ranking.prompt + ranking.completions[winner],
            "rejected_ids": ranking.prompt + ranking.completions[loser],
        }
        for winner, loser in ranking.pairs
    ]
    trainer = RewardTrainer(
        model=model, args=_arguments(RewardConfig), train_dataset=Dataset.from_list(rows),
        processing_class=_tokenizer(),
    )  # fmt: skip
    return Step(trainer, model, trainer.data_collator(rows))


def dpo_steps(ranking: Ranking) -> tuple[Step, Step]:
    """Ours and the peer's, from the same weights; the reference has others, as later in a run."""
    policy, reference = _saved(LlamaForCausalLM), _saved(LlamaForCausalLM, seed=1)
    model = load_policy(policy)
    trainer = KwiseDpoTrainer(
        model=model, ref_model=load_policy(reference, frozen=True), args=_arguments(DPOConfig),
        data_collator=Collator(0, can_share(model)),
        train_dataset=Dataset.from_list(ranking.rows()), processing_class=_tokenizer(),
    )  # fmt: skip
    ours = Step(trainer, model, trainer.data_collator(ranking.rows()))
    model = LlamaForCausalLM.from_pretrained(policy)
    rows = [
        {
            "prompt_ids": ranking.prompt,
            "chosen_ids": ranking.completions[winner],
            "rejected_ids": ranking.completions[loser],
        }
        for winner, loser in ranking.pairs
    ]
    trainer = _TokenisedDpoTrainer(
        model=model, ref_model=LlamaForCausalLM.from_pretrained(reference),
        args=_arguments(DPOConfig), train_dataset=Dataset.from_list(rows),
        processing_class=_tokenizer(),
    )  # fmt: skip
    return ours, Step(trainer, model, trainer.data_collator(rows))


class _TokenisedDpoTrainer(DPOTrainer):
    """TRL's, of which only the tokenising of texts is left out: these are ids already."""

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        return dataset


def _gradient(model: Any) -> torch.Tensor:
    named = sorted(model.named_parameters(), key=lambda item: item[0])
    return torch.cat([p.grad.flatten() for _, p in named if p.grad is not None])


def _arguments(config: Any) -> Any:
    return config(
        output_dir=tempfile.mkdtemp(dir=SCRATCH.name), report_to="none", use_cpu=True,
        bf16=False, max_length=None, gradient_checkpointing=False,
    )  # fmt: skip


def _saved(kind: Any, seed: int = 0) -> str:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=256, intermediate_size=1024, num_hidden_layers=6,
        num_attention_heads=8, max_position_embeddings=512, pad_token_id=0, num_labels=1,
    )  # fmt: skip
    folder = tempfile.mkdtemp(dir=SCRATCH.name)
    kind(config).save_pretrained(folder)
    return folder


def _tokenizer() -> Any:
    return load_renderer(str(STARTER)).tokenizer
