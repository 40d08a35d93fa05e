"""Low-rank adapters (2106.09685) on a body that several roles share; the layers are peft's.

An adapter is a pair of thin matrices beside each linear layer of a body (a model without its head).
Several can lie on one body under different names. At rest none acts: what a body computes is what
its own weights say. ``using`` switches one on for a block, and off again after it, so no role can
leave its adapter behind for the next.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from training.jobs.folder import sha256_of_file
from training.rlhf.errors import TrainingError
from training.rlhf.models import default_learning_rate

# The folder in an artifact of what was learnt beside the base model.
ADAPTER = "adapter"
WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
# The library's name of the wrapped model, before every key of an adapter's file.
WRAPPED = "base_model.model."
# Adapters want about ten times the rate of full training, for supervised and reinforcement learning
# alike (Schulman et al., "LoRA without regret", 2025). The bound is a convention: rates of small
# models are high already.
RATE_FACTOR, HIGHEST_RATE = 10.0, 2e-3


def learning_rate(kind: str, parameters: int) -> float:
    """The rate for adapters on a model of this size."""
    return min(HIGHEST_RATE, RATE_FACTOR * default_learning_rate(kind, parameters))


def add_adapter(body: nn.Module, name: str, rank: int, alpha: float, seed: int = 0) -> None:
    """Put a new adapter on all linear layers of ``body``, switched off; it changes nothing yet.

    The body's own weights stop learning. The adapter's are float32 whatever the body's are:
    bfloat16 would round most updates away.
    """
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,  # type: ignore[arg-type]  # declared a whole number, used as a factor
        target_modules="all-linear",
        bias="none",
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        inject_adapter_in_model(config, body, adapter_name=name)
    # A note that the library leaves, and would warn about when the next adapter comes.
    del body.peft_config
    for tensor in parameters_of(body, name).values():
        tensor.data = tensor.data.float()
    _switch(body, None)


def adapters_on(body: nn.Module) -> set[str]:
    """The names of the adapters that act at this moment."""
    return {
        name
        for _, layer in _layers(body)
        if not layer.disable_adapters
        for name in layer.active_adapters
    }


@contextmanager
def using(body: nn.Module, name: str | None) -> Iterator[None]:
    """The body with this adapter on; with None, or on a body without adapters, as it is.

    Raises:
        TrainingError: an adapter is on already.
    """
    if on := adapters_on(body):
        raise TrainingError(f"the adapter {', '.join(sorted(on))} was left on")
    if name is None:
        yield
        return
    _switch(body, name)
    try:
        yield
    finally:
        _switch(body, None)


def parameters_of(body: nn.Module, name: str) -> dict[str, nn.Parameter]:
    """The weights of one adapter, named as in the body but without the adapter's own name."""
    infix = f".{name}."
    return {
        key.replace(infix, "."): parameter
        for key, parameter in body.named_parameters()
        if ".lora_" in key and infix in key
    }


def merge(body: nn.Module, name: str) -> None:
    """Add the adapter to the body's weights and take all adapters off."""
    for path, layer in _layers(body):
        layer.merge(safe_merge=True, adapter_names=[name])
        parent, _, leaf = path.rpartition(".")
        setattr(body.get_submodule(parent), leaf, layer.get_base_layer())


@dataclass(frozen=True)
class Adapter:
    """An adapter taken from its body, as ``PeftModel.from_pretrained`` wants to read it."""

    config: LoraConfig
    tensors: dict[str, Tensor]

    def save(self, folder: Path) -> None:
        self.config.save_pretrained(str(folder))
        save_file(self.tensors, folder / WEIGHTS)


def take(model: Any, name: str, base: str, task: str = "CAUSAL_LM", **more: Tensor) -> Adapter:
    """A copy of an adapter on ``model.base_model``, which ``base`` names.

    ``more`` are modules trained beside it, by their key in the model (``{"score.weight": …}``).
    """
    layers = dict(_layers(model.base_model))
    some = next(iter(layers.values()))
    config = LoraConfig(
        r=some.r[name],
        lora_alpha=some.lora_alpha[name],
        target_modules=sorted({path.rpartition(".")[2] for path in layers}),
        modules_to_save=sorted({key.rpartition(".")[0] for key in more}) or None,
        task_type=task,
        base_model_name_or_path=base,
        inference_mode=True,
    )
    prefix = f"{WRAPPED}{model.base_model_prefix}."
    own = parameters_of(model.base_model, name)
    tensors: dict[str, Tensor] = {prefix + key: parameter for key, parameter in own.items()}
    tensors |= {WRAPPED + key: tensor for key, tensor in more.items()}
    return Adapter(config, {k: t.detach().cpu().clone().contiguous() for k, t in tensors.items()})


def load_adapter(model: Any, name: str, folder: Path) -> dict[str, Tensor]:
    """Put a saved adapter on ``model.base_model``; returns what else its file holds, by key.

    Raises:
        TrainingError: it is of another kind, or does not fit the body layer by layer.
    """
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    unusual = [key for key in ("use_dora", "use_rslora", "rank_pattern") if config.get(key)]
    if config.get("peft_type") != "LORA" or unusual:
        raise TrainingError(f"{folder} holds no plain LoRA adapter ({', '.join(unusual)})")
    prefix = f"{WRAPPED}{model.base_model_prefix}."
    stored = load_file(folder / WEIGHTS)
    own = {k.removeprefix(prefix): t for k, t in stored.items() if ".lora_" in k}
    add_adapter(model.base_model, name, config["r"], config["lora_alpha"])
    wanted = parameters_of(model.base_model, name)
    if {k: tuple(t.shape) for k, t in own.items()} != {
        k: tuple(p.shape) for k, p in wanted.items()
    }:
        raise TrainingError(
            f"the adapter in {folder} does not lie on the linear layers of the body"
        )
    for key, parameter in wanted.items():
        parameter.data.copy_(own[key])
    return {k.removeprefix(WRAPPED): t for k, t in stored.items() if ".lora_" not in k}


def weights_sha256(name: str) -> str | None:
    """One hash over the weight files of a model folder; None for a model that is not local.

    Equal hashes mean that an adapter trained on one fits the other to the bit.
    """
    files = sorted(Path(name).glob("*.safetensors"))
    if not files:
        return None
    lines = [f"{path.name} {sha256_of_file(path)}" for path in files]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _layers(body: nn.Module) -> list[tuple[str, Any]]:
    return [(path, m) for path, m in body.named_modules() if isinstance(m, BaseTunerLayer)]


def _switch(body: nn.Module, name: str | None) -> None:
    """The library freezes what it switches off, which would lose gradients still on their way."""
    for _, layer in _layers(body):
        if name is not None:
            layer.set_adapter(name)
        layer.enable_adapters(name is not None)
    for key, parameter in body.named_parameters():
        if ".lora_" in key:
            parameter.requires_grad_(True)
