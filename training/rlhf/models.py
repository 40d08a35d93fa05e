"""Loading policies, reward models and value models; the learning rate that suits their size.

Only safetensors are read and no code of a repository is run. A reward model is an
``AutoModelForSequenceClassification``; how its scores are read is in ``score_heads``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GenerationConfig,
)

from training.rlhf import score_heads
from training.rlhf.batching import TOKENS_PER_PASS
from training.rlhf.errors import TrainingError
from training.rlhf.rendering import Renderer

CARD = "podium.json"

# How to mend a model folder (or a repository on the Hub) of which a part cannot be read.
REMEDIES = {
    "config.json": "give the folder that save_pretrained wrote",
    "tokenizer": "put tokenizer.json and tokenizer_config.json beside the weights",
    "weights": "only whole safetensors are read: save the model again with save_pretrained",
}

# Learning rates by the number of parameters, (up to, rate). The rows for 1e9 and more are those of
# the papers: InstructGPT (SFT 9.65e-6, RM 9e-6), Llama 2 (PPO 1e-6), N+ implementation details
# (value 3e-6 as policy at 1 B), DPO (1e-6). Below, the rates grow as models shrink, as in TRL's and
# Pythia's recipes; those of the first row (all but SFT) were tried on the starter model.
LEARNING_RATES: dict[str, tuple[tuple[float, float], ...]] = {
    "sft": ((1e7, 5e-4), (1e8, 1e-4), (1e9, 2e-5), (1e10, 1e-5), (math.inf, 5e-6)),
    "reward": ((1e7, 5e-4), (1e8, 1e-4), (1e9, 2e-5), (1e10, 9e-6), (math.inf, 5e-6)),
    "ppo": ((1e7, 2e-4), (1e8, 3e-5), (1e9, 3e-6), (math.inf, 1e-6)),
    "value": ((1e7, 1e-3), (1e8, 1e-4), (1e9, 1e-5), (1e10, 9e-6), (math.inf, 5e-6)),
    "dpo": ((1e7, 1e-4), (1e8, 2e-5), (1e9, 5e-6), (math.inf, 1e-6)),
}


def default_learning_rate(kind: str, parameters: int) -> float:
    """The rate for a model of this size; ``rejection`` is supervised fine-tuning."""
    rows = LEARNING_RATES["sft" if kind == "rejection" else kind]
    return next(rate for limit, rate in rows if parameters <= limit)


def parameter_count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def tokens_per_pass() -> int:
    return TOKENS_PER_PASS[device().type]


def autocast() -> torch.autocast:
    """bfloat16 on a GPU; on a CPU nothing changes and results stay those of float32."""
    return torch.autocast(device().type, dtype=torch.bfloat16, enabled=device().type == "cuda")


def load_renderer(name: str) -> Renderer:
    """Raises TrainingError when the tokenizer has tokens that the model has no embedding for."""
    config = _read(AutoConfig, name, "config.json")
    tokenizer = _read(AutoTokenizer, name, "tokenizer")
    renderer = Renderer(tokenizer, ends=_declared_ends(name))
    room = config.get_text_config().vocab_size
    highest = max(renderer.tokenizer.get_vocab().values())
    if highest >= room:
        raise TrainingError(
            f"{name} has an embedding of {room} tokens, and its tokenizer goes up to {highest}: "
            "enlarge it (model.resize_token_embeddings) or leave out the added tokens"
        )
    return renderer


def _declared_ends(name: str) -> list[int]:
    """The token ids at which the model's own generation configuration stops; none without one."""
    try:
        ends = GenerationConfig.from_pretrained(_found(name)).eos_token_id
    except OSError:
        return []
    return [ends] if isinstance(ends, int) else list(ends or [])


def load_policy(name: str, *, frozen: bool = False) -> Any:
    """A causal language model on the device. ``frozen`` ones take half the memory on a GPU."""
    model = _read(AutoModelForCausalLM, name, "weights", use_safetensors=True, dtype=_dtype(frozen))
    return _placed(model, frozen)


def new_reward_model(name: str, heads: int = 1, seed: int = 0) -> Any:
    """A reward model on the body of ``name``, with new heads unless ``name`` is one already.

    Raises:
        TrainingError: ``name`` is a reward model with another number of heads, or cannot be one.
    """
    if is_reward_model(name):
        model = _load_classifier(name, frozen=False)
        if model.config.num_labels != heads:
            raise TrainingError(
                f"{name} is a reward model with {model.config.num_labels} score heads, and params "
                f"ask for {heads}: give the same number, or start from a language model"
            )
        return model
    # What the library adds to a body (a pooler, say) is random: the same for the same seed.
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = _load_classifier(name, frozen=False, new_heads=heads)
    score_heads.start_new(model, seed)
    return model


def disable_dropout(model: nn.Module) -> None:
    """Let a model in training compute what it does in use; its configuration stays as it was.

    TRL's own switch leaves on what is not a layer but a number beside one: attention dropout, in
    most decoders. With it, the probability ratio of RLOO is not 1 before the first step.
    """
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
        for name, value in vars(module).items():
            if "drop" in name and isinstance(value, float):
                setattr(module, name, 0.0)


def load_reward_model(name: str, *, frozen: bool = True) -> Any:
    """Raises TrainingError when ``name`` has no score head: a policy would score at random."""
    if not is_reward_model(name):
        raise TrainingError(f"{name} has no score head: it is not a reward model")
    return _load_classifier(name, frozen=frozen)


def is_reward_model(name: str) -> bool:
    """Whether ``name`` is a classifier with one label, or with the heads that its card tells of."""
    config = _read(AutoConfig, name, "config.json")
    names = config.architectures or []
    heads = read_card(name).get("heads", 1)
    return config.num_labels == heads and any("SequenceClassification" in n for n in names)


def scores_every_token(model: Any) -> bool:
    """Whether a value model can be made of this reward model: a decoder, not an encoder."""
    return bool(model.scores_every_token)


def score_texts(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """The score of each text by each head: (N, H) float32; one call of ``model``.

    ``batch`` is that of ``prefix.lay_out_groups``; more entries are ignored.
    """
    scores: Tensor = model(**{name: batch[name] for name in score_heads.FIELDS if name in batch})
    return scores


def read_card(name: str) -> dict[str, Any]:
    """``podium.json`` of a local model; empty for models that were not made here."""
    path = Path(name) / CARD
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def context_length(model: Any) -> int:
    """Positions that the model was made for; none declared means no bound.

    RoBERTa and its kin count positions from after the padding token's id: 514 declared, 512 usable.
    """
    declared = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    tables = (m for name, m in model.named_modules() if name.endswith("position_embeddings"))
    unused = max(((getattr(table, "padding_idx", None) or -1) + 1 for table in tables), default=0)
    return int(declared) - unused if declared and declared > 0 else 2**31


def is_local(name: str) -> bool:
    return Path(name).is_dir()


def _found(name: str) -> str:
    looks_like_a_path = name.startswith(("/", "./", "../", "~"))
    if looks_like_a_path and not is_local(name):
        raise TrainingError(f"no model folder at {name}")
    return name


def _read(factory: Any, name: str, part: str, **options: Any) -> Any:
    """Raises TrainingError when a part of a model is missing, torn or of another format."""
    try:
        return factory.from_pretrained(_found(name), trust_remote_code=False, **options)
    except (OSError, SafetensorError, ValueError) as error:
        # A factory of models says by a ValueError that it does not have the architecture.
        if part == "weights" and isinstance(error, ValueError):
            raise
        raise TrainingError(f"{name}: no readable {part} ({error}); {REMEDIES[part]}") from error


def _load_classifier(name: str, *, frozen: bool, new_heads: int = 0) -> Any:
    try:
        model, info = _read(
            AutoModelForSequenceClassification,
            name,
            "weights",
            use_safetensors=True,
            dtype=_dtype(frozen),
            output_loading_info=True,
            # A classifier of something else brings a head of another size: it is replaced.
            **({"num_labels": new_heads, "ignore_mismatched_sizes": True} if new_heads else {}),
        )
    except ValueError as error:
        kind = _read(AutoConfig, name, "config.json").model_type
        raise TrainingError(
            f"{name} is of type {kind}, which cannot score texts: {str(error)[:200]}"
        ) from error
    _require_body(name, model, info)
    placed = _placed(model, frozen)
    score_heads.attach(placed)
    return placed


def _require_body(name: str, model: Any, info: Mapping[str, Any]) -> None:
    """Raises TrainingError when weights of the body were not in the files, hence are random."""
    missing = [key for key in info["missing_keys"] if "pooler" not in key]
    wrong = [key if isinstance(key, str) else key[0] for key in info["mismatched_keys"]]
    body = [key for key in [*missing, *wrong] if key.startswith(f"{model.base_model_prefix}.")]
    if body:
        raise TrainingError(
            f"{name} lacks weights of a {type(model).__name__}, {body[0]} among {len(body)}"
        )


def _dtype(frozen: bool) -> torch.dtype:
    return torch.bfloat16 if frozen and device().type == "cuda" else torch.float32


def _placed(model: Any, frozen: bool) -> Any:
    model.eval()
    if frozen:
        model.requires_grad_(False)
    return model.to(device())
