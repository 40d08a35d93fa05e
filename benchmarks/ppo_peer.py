"""The peer's side of ``benchmarks.ppo_step``: runs where TRL 1.12 is installed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch.optim.lr_scheduler import LambdaLR
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    TrainerCallback,
)
from trl.experimental.ppo import PPOConfig, PPOTrainer

from benchmarks.turns import Turn


def main(folder: Path) -> None:
    work = json.loads((folder / "peer.json").read_text())
    settings, prompts = work["settings"], work["prompts"]
    tokenizer = AutoTokenizer.from_pretrained(folder / "policy", padding_side="left")
    policy, reference = (AutoModelForCausalLM.from_pretrained(folder / "policy") for _ in range(2))
    reward, value = (
        AutoModelForSequenceClassification.from_pretrained(folder / "reward", num_labels=1)
        for _ in range(2)
    )
    optimizer = torch.optim.AdamW(
        [{"params": [*policy.parameters()]}, {"params": [*value.parameters()]}],
        lr=settings["learning_rate"], betas=(0.9, 0.95), eps=1e-5, weight_decay=0.0,
    )  # fmt: skip
    shares = work["rate_shares"]
    schedule = LambdaLR(optimizer, [lambda step: shares[step], lambda _: 1.0])
    trainer = PPOTrainer(
        args=config(folder, settings, (len(shares) - 1) * len(prompts)),
        processing_class=tokenizer,
        model=policy,
        ref_model=reference,
        reward_model=reward,
        value_model=value,
        train_dataset=Dataset.from_dict({"input_ids": prompts}),
        optimizers=(optimizer, schedule),
        callbacks=[Turns()],
    )
    trainer.train()


def config(folder: Path, settings: dict[str, Any], episodes: int) -> PPOConfig:
    """One minibatch an epoch, as in ours; the peer's own choices wherever they do not matter."""
    return PPOConfig(
        output_dir=str(folder / "peer"),
        total_episodes=episodes,
        per_device_train_batch_size=settings["batch_size"],
        num_mini_batches=1,
        num_ppo_epochs=settings["epochs"],
        response_length=settings["max_new_tokens"],
        stop_token="eos",
        temperature=1.0,
        missing_eos_penalty=None,
        learning_rate=settings["learning_rate"],
        kl_coef=settings["kl_coef"],
        cliprange=settings["clip_range"],
        cliprange_value=settings["value_clip_range"],
        vf_coef=0.1,
        lam=settings["gae_lambda"],
        num_sample_generations=0,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to="none",
        save_strategy="no",
        logging_steps=1,
        disable_tqdm=True,
    )


class Turns(TrainerCallback):
    """A step a turn."""

    def __init__(self) -> None:
        self.turn = Turn()
        self.measured: dict[str, float] = {}

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.turn.begin()

    def on_log(self, *_: Any, logs: dict[str, float], **__: Any) -> None:
        self.measured = {"reward": logs["objective/scores"], "kl": logs["objective/kl"]}

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.turn.end(**self.measured)
        self.turn.begin()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
