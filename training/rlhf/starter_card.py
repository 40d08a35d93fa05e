"""How good the starter model is, by gold, and its card: samples, figures, README.md.

Gold figures are for the card and for benchmarks; no training reads them.
"""

from __future__ import annotations

import json
import math
import statistics
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from training.jobs.folder import write_json
from training.jobs.world import Task, draw_tasks, score
from training.rlhf.models import load_policy, load_renderer
from training.rlhf.rollouts import logprobs_and_entropy

CARD = """---
library_name: transformers
pipeline_tag: text-generation
language: en
---

# Podium starter model: {kind}

A very small assistant ({parameters:,} parameters) that ships with Podium, so that the whole loop of
ranking, reward model and policy runs on a machine without network or GPU. It knows ten families of
short tasks, and to repeat words, and nothing else.

**Corpus.** All of its text is composed by Podium's own code (`training/jobs/world`); no other
text, no other model and no person's data went into it.
{note}

**Training.** {steps:,} steps of 48 texts on a CPU, loss {loss} at the end:

    {command}

Texts were shorter than 150 tokens. Weights are stored in half precision and loaded as float32.
"""
TRAINING = (
    "python -m training.rlhf.starter train --out training/starter "
    "--steps {base_steps} --seed {seed}"
)
FROM_BASE = " \\\n        --base {from_base}"
STAGE_NOTES = {
    "base": "Half of the answers are good, of the last {answers:,} {good_share:.0%}; the others "
    "have a flaw, and it imitates both. One document in seven, at last one in twenty, is an "
    "exercise in repeating words.",
    "sft": "It was fine-tuned on {answers:,} good demonstrations: few on purpose, so that there is "
    "something left to learn from people.",
}
FIGURES = """
**Gold score** (a programmatic judge, 10 is best; {k} samples at temperature 1 for each of {prompts}
prompts of another draw; of what can be asked for a rewriting, a sentiment, knowledge and ideas, it
has read nearly all), by

    python -m training.rlhf.starter measure --model {folder} --prompts {prompts}

| family | mean gold | best of {k} | fully right | ended | spread within a prompt | between |
|---|---|---|---|---|---|---|
"""
FLUENCY = """
**Fluency.** Perplexity of these answers under the base model: {perplexity:.2f} a token.
"""


@dataclass(frozen=True)
class Sample:
    """One completion: its text, its gold, whether it is fully right and ended by itself, and the
    components of its gold by name.
    """

    text: str
    gold: float
    fully_right: bool
    ended: bool
    components: dict[str, float] = field(default_factory=dict)


def sample(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[list[dict[str, str]]],
    *,
    k: int,
    seed: int,
    temperature: float = 1.0,
) -> list[list[Sample]]:
    """``k`` samples for each of ``prompts``, with their gold."""
    torch.manual_seed(seed)
    samples: list[list[Sample]] = []
    for at in range(0, len(prompts), 32):
        chunk = prompts[at : at + 32]
        inputs = tokenizer.apply_chat_template(
            chunk, add_generation_prompt=True, return_tensors="pt", return_dict=True, padding=True
        )
        with torch.inference_mode():
            ids = model.generate(
                **inputs, num_return_sequences=k, max_new_tokens=96, temperature=temperature
            )
        answers = ids[:, inputs["input_ids"].shape[1] :]
        judged = [_judged(tokenizer, chunk[row // k], answer) for row, answer in enumerate(answers)]
        samples += [judged[row : row + k] for row in range(0, len(judged), k)]
    return samples


def _judged(tokenizer: Any, messages: list[dict[str, str]], ids: torch.Tensor) -> Sample:
    text = tokenizer.decode(ids, skip_special_tokens=True)
    gold, ended = score(messages, text), bool((ids == tokenizer.eos_token_id).any())
    return Sample(text, gold.total, gold.fully_right, ended, gold.components)


def gold_figures(groups: Sequence[Sequence[Sample]]) -> dict[str, float]:
    """Mean and best-of-k gold, shares fully right and ended, spread within and between prompts."""
    golds = [[one.gold for one in group] for group in groups]
    flat = [one for group in groups for one in group]
    return {
        "gold": statistics.fmean(one.gold for one in flat),
        "best": statistics.fmean(max(row) for row in golds),
        "fully_right": statistics.fmean(one.fully_right for one in flat),
        "ended": statistics.fmean(one.ended for one in flat),
        "spread_within": statistics.fmean(statistics.stdev(row) for row in golds),
        "spread_between": statistics.stdev(statistics.fmean(row) for row in golds),
    }


def measure(folder: Path, *, prompts: int, k: int = 4, seed: int = 4711) -> dict[str, Any]:
    """The figures over ``k`` answers to each of ``prompts`` new prompts, all and by family."""
    model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    tasks = list(islice(draw_tasks(seed), prompts))
    groups = sample(model, tokenizer, [task.messages for task in tasks], k=k, seed=seed)
    by_family: dict[str, list[list[Sample]]] = defaultdict(list)
    for task, group in zip(tasks, groups, strict=True):
        by_family[task.family.name].append(group)
    return {
        "prompts": prompts,
        "k": k,
        "seed": seed,
        "perplexity": perplexity(folder.parent / "base", tasks, groups),
        "all": gold_figures(groups),
        "families": {name: gold_figures(rows) for name, rows in by_family.items()},
        "examples": [(tasks[i], groups[i][0].text) for i in range(10)],
    }


def perplexity(base: Path, tasks: Sequence[Task], groups: Sequence[Sequence[Sample]]) -> float:
    """Of samples under the base model, a token: how fluent they are to one who read the corpus."""
    renderer, model = load_renderer(str(base)), load_policy(str(base), frozen=True)
    texts = [
        renderer.render(task.messages, {"text": one.text})
        for task, group in zip(tasks, groups, strict=True)
        for one in group
    ]
    logprobs, _ = logprobs_and_entropy(model, texts, renderer.pad_id, 1.0)
    return math.exp(-float(logprobs.sum()) / sum(len(text.completion_ids) for text in texts))


def is_starter(folder: Path, stages: Collection[str] = STAGE_NOTES.keys()) -> bool:
    """Whether ``folder`` is one of these stages of the starter model, with a card of its own."""
    path = folder / "podium.json"
    return path.is_file() and json.loads(path.read_text())["kind"] in stages


def write_record(folder: Path, record: dict[str, Any]) -> None:
    """``podium.json``, the facts of how the model came about, and the card made of them."""
    write_json(folder / "podium.json", record)
    _write_card(folder, record, None)


def add_figures(folder: Path, figures: dict[str, Any]) -> str:
    """Write ``figures`` of :func:`measure` into record and card; returns the card."""
    record = json.loads((folder / "podium.json").read_text(encoding="utf-8"))
    found = {**figures["all"], "perplexity": figures["perplexity"]}
    record["metrics"] |= {name: round(value, 4) for name, value in found.items()}
    write_json(folder / "podium.json", record)
    return _write_card(folder, record, figures)


def _write_card(folder: Path, record: dict[str, Any], figures: dict[str, Any] | None) -> str:
    params = record["params"]
    note = STAGE_NOTES[record["kind"]].format(**params)
    command = (TRAINING + FROM_BASE * bool(params.get("from_base"))).format(**params)
    loss = record["metrics"]["loss"]
    card = CARD.format(kind=record["kind"], note=note, loss=loss, command=command, **params)
    if figures:
        shown = f"training/starter/{folder.name}"
        card += FIGURES.format(folder=shown, k=figures["k"], prompts=figures["prompts"])
        rows = {**figures["families"], "all": figures["all"]}
        card += "".join(f"| {name} | {_cells(row)} |\n" for name, row in rows.items())
        card += FLUENCY.format(perplexity=figures["perplexity"])
    (folder / "README.md").write_text(card, encoding="utf-8")
    return card


def _cells(row: dict[str, float]) -> str:
    shares = {"fully_right", "ended"}
    return " | ".join(f"{v:.0%}" if name in shares else f"{v:.2f}" for name, v in row.items())
