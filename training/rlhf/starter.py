"""The starter model: trained from scratch, on a CPU, on text that the starter world composes.

    python -m training.rlhf.starter train --out training/starter [--steps 4950] [--seed 1]
        [--base training/starter/base]
    python -m training.rlhf.starter measure --model training/starter/sft [--prompts 200]
    python -m training.rlhf.starter samples --model training/starter/sft [--temperatures 0.7 1.2]

``train`` makes ``base`` (language modelling over good and flawed answers alike, at the end mostly
flawed ones) and from it ``sft`` (few good demonstrations: what is left to gain is what reward
models and PPO are tried on); with ``--base``, ``sft`` alone. ``measure`` writes a model's gold
figures into its card. ``samples`` prints what a model writes, its best and its worst.

Weights are stored in half precision and named float32 in the configuration, so that they are
loaded, and computed with, in float32.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
)
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from training.jobs.folder import write_json
from training.rlhf.memory import keep_freed_memory
from training.rlhf.models import load_policy, load_renderer
from training.rlhf.starter_card import add_figures, is_starter, measure, write_record
from training.rlhf.starter_corpus import Batch, Mixture, batches, build_tokenizer
from training.rlhf.starter_samples import samples_page

WARMUP_SHARE = 0.04
LAST_RATE_SHARE = 0.05
ATTENTION = "sdpa_float32"


@dataclass(frozen=True)
class Shape:
    """The architecture: a Llama with grouped-query attention and tied embeddings."""

    vocabulary: int = 2048
    context: int = 1024
    hidden: int = 256
    layers: int = 4
    heads: int = 4
    key_value_heads: int = 2
    feed_forward: int = 512


@dataclass(frozen=True)
class Stage:
    """One stage of training; those of one name make one model. ``matrix_rate`` is the learning rate
    of the layers' matrices (Muon), ``learning_rate`` of the rest. It has ``steps_share`` of the
    steps, or ``least_steps``.
    """

    name: str
    reads: Mixture
    learning_rate: float
    matrix_rate: float
    steps_share: float = 0.0
    least_steps: int = 1

    def steps(self, of: int) -> int:
        return max(self.least_steps, round(of * self.steps_share))


# What the tasks are, the base model learns from good and flawed answers alike; at last it reads
# text of which most is flawed, as what is found is, and imitates it.
STAGES = (
    Stage("base", Mixture(0.5, 0.15, 0.1), 3e-3, matrix_rate=2e-2, steps_share=10 / 11),
    Stage("base", Mixture(0.25, 0.05, 0.1), 1e-3, matrix_rate=6e-3, steps_share=1 / 11),
    Stage("sft", Mixture(1.0, 0.0, 0.0), 1e-3, matrix_rate=6e-3, least_steps=2),
)
BASE, SFT = STAGES[-2:]
# Of the base model, in both its stages.
STEPS = 4950


def new_model(tokenizer: Any, shape: Shape) -> LlamaForCausalLM:
    """A model with random weights, with the tokenizer's ids in its configurations."""
    ids = {
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=shape.context,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_value_heads,
        intermediate_size=shape.feed_forward,
        tie_word_embeddings=True,
        # 1/sqrt(width), not the library's 0.02, which suits far wider models: attention that
        # starts this flat learns to copy late.
        initializer_range=shape.hidden**-0.5,
        **ids,
    )
    model = LlamaForCausalLM(config)
    model.set_attn_implementation(ATTENTION)
    # top_k=0: the library's default of 50 would cut the distribution that log-probabilities are of.
    model.generation_config = GenerationConfig(
        do_sample=True, temperature=1.0, top_p=1.0, top_k=0, max_new_tokens=128, **ids
    )
    return model


def loss_of(model: Any, batch: Batch) -> torch.Tensor:
    """The weighted mean negative log-likelihood per token.

    Pads stand on the right, where causal attention lets no real token see them: no mask is needed.
    """
    logits = model(input_ids=batch.ids[:, :-1]).logits.float()  # (B, T-1, V)
    losses = cross_entropy(logits.transpose(1, 2), batch.ids[:, 1:], reduction="none")  # (B, T-1)
    weights = batch.weights[:, 1:]
    return (losses * weights).sum() / weights.sum()


def rate_share(step: int, steps: int) -> float:
    """The share of the peak rate: linear warm-up, then a cosine down to LAST_RATE_SHARE."""
    warmup = max(1, int(steps * WARMUP_SHARE))
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return LAST_RATE_SHARE + (1 - LAST_RATE_SHARE) * 0.5 * (1 + math.cos(math.pi * progress))


def attention_in_float32(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    **how: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of what autocast made bfloat16, in float32 on the way.

    On CPUs the backward pass of the library's attention takes eight times as long in bfloat16: more
    than bfloat16 saves in all matrices together.
    """
    with torch.autocast(query.device.type, enabled=False):
        mixed, weights = sdpa_attention_forward(
            module, query.float(), key.float(), value.float(), mask, **how
        )
    return mixed.to(query.dtype), weights


AttentionInterface.register(ATTENTION, attention_in_float32)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)


def optimizers_of(model: Any, stage: Stage) -> list[torch.optim.Optimizer]:
    """Muon (https://kellerjordan.github.io/posts/muon) for the layers' matrices, AdamW for the
    embeddings, which are the output's weights too, and the norms.

    After 200 steps of its own schedule the base model's loss is 1.05, by AdamW alone 1.23.
    """
    layers = [p for p in model.model.layers.parameters() if p.ndim == 2]
    inside = {id(parameter) for parameter in layers}
    others = [p for p in model.parameters() if id(p) not in inside]
    return [
        torch.optim.Muon(layers, lr=stage.matrix_rate, weight_decay=0.05, adjust_lr_fn="original"),
        torch.optim.AdamW(
            others, lr=stage.learning_rate, betas=(0.9, 0.98), weight_decay=0.05, fused=True
        ),
    ]


def train_stage(model: Any, tokenizer: Any, stage: Stage, *, steps: int, seed: int) -> float:
    """Train in place; returns the mean loss of the last tenth of the steps."""
    optimizers = optimizers_of(model, stage)
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate_share(step, steps))
        for optimizer in optimizers
    ]
    losses: list[float] = []
    supply = batches(tokenizer, stage.reads, seed, model.config.max_position_embeddings)
    started = time.monotonic()
    model.train()
    for step, batch in enumerate(islice(supply, steps), 1):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = loss_of(model, batch)
        model.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        for schedule in schedules:
            schedule.step()
        losses.append(loss.item())
        if step % 50 == 0 or step == steps:
            recent, spent = statistics.fmean(losses[-50:]), time.monotonic() - started
            _tell(f"{stage.name} {step}/{steps} loss {recent:.3f} {spent:.0f} s")
    return statistics.fmean(losses[-max(1, steps // 10) :])


def train(
    out: Path, *, steps: int, seed: int, shape: Shape | None = None, base: Path | None = None
) -> None:
    """Train tokenizer, base and SFT model; writes ``out/base`` and ``out/sft``.

    From ``base``, a folder that this wrote, the SFT model alone.
    """
    keep_freed_memory()
    torch.manual_seed(seed)
    if base is None:
        shape = shape or Shape()
        tokenizer = build_tokenizer(seed, shape.vocabulary, shape.context)
        model = new_model(tokenizer, shape)
    else:
        tokenizer, model = load_renderer(str(base)).tokenizer, load_policy(str(base)).cpu()
        model.set_attn_implementation(ATTENTION)
    for number, stage in enumerate(STAGES, 1):
        if base is not None and stage is not SFT:
            continue
        count = stage.steps(steps)
        loss = train_stage(model, tokenizer, stage, steps=count, seed=1000 * seed + number)
        save(model, tokenizer, out / stage.name)
        as_stored(model)
        params = {
            "steps": sum(one.steps(steps) for one in STAGES if one.name == stage.name),
            "base_steps": steps,
            "seed": seed,
            "good_share": stage.reads.good_share,
            "answers": count * stage.reads.batch_size,
            "from_base": base and base.as_posix(),
        }
        record = {
            "kind": stage.name,
            "base": BASE.name if stage is SFT else None,
            "params": params | {"parameters": model.num_parameters()},
            "metrics": {"loss": round(loss, 4)},
        }
        write_record(out / stage.name, record)


def as_stored(model: Any) -> None:
    """Round the weights as they are stored, so that the next stage is the same from a folder."""
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(weight.half())


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write weights in half precision, to be loaded as float32."""
    half = LlamaForCausalLM(model.config)
    half.load_state_dict(model.state_dict())
    half.generation_config = model.generation_config
    half.half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    write_json(path, config | {"dtype": "float32"})


# --- command line ---------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.rlhf.starter", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("train", help="train base and SFT model from scratch")
    training.add_argument("--out", type=Path, required=True)
    training.add_argument("--steps", type=int, default=STEPS, help="of the base model")
    training.add_argument("--seed", type=int, default=1)
    training.add_argument("--base", type=Path, help="train the SFT model alone, from this base")
    measuring = commands.add_parser("measure", help="write a model's gold figures into its card")
    measuring.add_argument("--model", type=Path, required=True)
    measuring.add_argument("--prompts", type=int, default=200)
    sampling = commands.add_parser("samples", help="print samples of each family, good and bad")
    sampling.add_argument("--model", type=Path, required=True)
    sampling.add_argument("--temperatures", type=float, nargs="+", default=[0.7, 1.2])
    sampling.add_argument("--per-family", type=int, default=2, help="prompts of each family")
    sampling.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    if options.command == "train":
        if options.base and not is_starter(options.base, [BASE.name]):
            parser.error(f"--base {options.base} is no base that this command made")
        train(options.out, steps=options.steps, seed=options.seed, base=options.base)
    elif options.command == "samples":
        if options.per_family < 1 or min(options.temperatures) <= 0:
            parser.error("--per-family must be at least 1, and --temperatures above 0")
        heats, count = options.temperatures, options.per_family
        _tell(samples_page(options.model, heats, per_family=count, seed=options.seed))
    else:
        _measure_and_tell(options.model, options.prompts)
    return 0


def _measure_and_tell(folder: Path, prompts: int) -> None:
    if not is_starter(folder):
        raise SystemExit(f"{folder} was not made by this command: it has no card to write into")
    figures = measure(folder, prompts=prompts)
    _tell(add_figures(folder, figures))
    for task, text in figures["examples"]:
        _tell(f"> {task.messages[-1]['content']}\n{text}\n")


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
