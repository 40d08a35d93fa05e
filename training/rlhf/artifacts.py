"""The model folder that a run leaves: weights, tokenizer, record and card. No pickles."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training.jobs.folder import sync_file, sync_folder, write_json
from training.rlhf import checkpoints, distributed
from training.rlhf.errors import TrainingError
from training.rlhf.job import Job
from training.rlhf.models import CARD, parameter_count
from training.rlhf.rendering import Renderer

MODEL = "model"
PICKLES = {".bin", ".pt", ".pth", ".pkl", ".pickle"}

WHAT = {
    "sft": "A language model fine-tuned on demonstrations (InstructGPT, step 1).",
    "reward": "A reward model trained on rankings (InstructGPT, step 2).",
    "ppo": "A policy optimised with PPO against a reward model (InstructGPT, step 3).",
    "rejection": "A language model fine-tuned on the best of several completions by reward.",
    "dpo": "A policy trained on comparisons by direct preference optimisation.",
    "rloo": "A policy optimised with RLOO against a reward model.",
    "grpo": "A policy optimised with GRPO against a reward model.",
}


def save_model(
    job: Job,
    model: Any,
    renderer: Renderer,
    metrics: Mapping[str, Any],
    beside: Callable[[Path], object] = lambda folder: None,
    **record: Any,
) -> Path:
    """Write ``artifacts/model`` whole or not at all; ``record`` goes into podium.json.

    ``beside`` is given the folder before it is published, to put more into it (an adapter, say).
    The first rank writes, the others wait for it.

    Raises:
        TrainingError: a weight is not finite.
    """
    job.events.write("save")
    state = distributed.whole_state(model)
    if not all(torch.isfinite(tensor).all() for tensor in state.values()):
        raise TrainingError(
            "training diverged: the weights are not finite; lower the learning rate"
        )
    if distributed.is_main():
        _write_model(job, model, state, renderer, metrics, beside, record)
    distributed.barrier()
    return job.folder.artifacts / MODEL


def _write_model(
    job: Job,
    model: Any,
    state: Mapping[str, Tensor],
    renderer: Renderer,
    metrics: Mapping[str, Any],
    beside: Callable[[Path], object],
    record: Mapping[str, Any],
) -> None:
    staging, final = job.folder.artifacts / "model.tmp", job.folder.artifacts / MODEL
    for leftover in (staging, final):
        shutil.rmtree(leftover, ignore_errors=True)
    model.save_pretrained(staging, state_dict=dict(state), safe_serialization=True)
    renderer.tokenizer.save_pretrained(staging)
    card = {
        "kind": job.spec.kind,
        "base": Path(job.spec.model).name,
        "params": dataclasses.asdict(job.spec.params),
        "metrics": dict(metrics),
        "template_sha256": renderer.template_sha256,
        **record,
    }
    write_json(staging / CARD, card)
    (staging / "README.md").write_text(_readme(card, parameter_count(model)), encoding="utf-8")
    beside(staging)
    _refuse_pickles(staging)
    _sync_files(staging)
    staging.rename(final)
    sync_folder(job.folder.artifacts)


def finish(job: Job, metrics: Mapping[str, Any]) -> None:
    """Record the model made by ``save_model``; from here on the checkpoints are of no use."""
    job.finish(MODEL, metrics)
    if distributed.is_main():
        checkpoints.clear(job.folder.checkpoints)


def _readme(card: Mapping[str, Any], parameters: int) -> str:
    lines = [
        "---",
        "library_name: transformers",
        f"tags: [podium, {card['kind']}]",
        "---",
        f"# {card['base']}, {card['kind']}",
        "",
        WHAT[card["kind"]],
        "",
        f"- Started from: `{card['base']}`",
        f"- Parameters: {parameters:,}",
    ]
    if "reward_mean" in card:
        lines.append(
            f"- Scale: score = (raw - {card['reward_mean']:.6g}) / {card['reward_std']:.6g}"
        )
    if "likelihood" in card:
        weights = ", ".join(f"{weight:.4g}" for weight in card["likelihood"])
        lines.append(
            f"- Raw score: the head's, and {weights} times the mean log-probability of the "
            "completion's tokens under the language model on the same body; other programs read "
            "the head alone"
        )
    for title, values in (("Settings", card["params"]), ("Results", card["metrics"])):
        lines += ["", f"## {title}", "", "| name | value |", "|---|---|"]
        lines += [f"| {name} | {_shown(value)} |" for name, value in values.items()]
    return "\n".join(lines) + "\n"


def _shown(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _refuse_pickles(folder: Path) -> None:
    found = [path.name for path in folder.rglob("*") if path.suffix in PICKLES]
    if found:
        raise TrainingError(f"an artifact must not hold pickles: {', '.join(found)}")


def _sync_files(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            # The library writes weights for its own user only; another process may serve them.
            path.chmod(0o644)
            sync_file(path)
