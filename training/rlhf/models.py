"""Loading policies, reward models and value models; the learning rate that suits their size.

Only safetensors are read and no code of a repository is run. A reward model is a
``AutoModelForSequenceClassification`` with one label; its ``forward`` is replaced by one that gives
a score for every token, and the score of a text is read at its last real token by attention mask.
The library's own reading looks for the last token that is not the padding token, which goes wrong
where that is also the end token.
"""

from __future__ import annotations

import json
import math
import types
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from training.rlhf.batching import TOKENS_PER_PASS, positions
from training.rlhf.errors import TrainingError
from training.rlhf.rendering import Renderer

CARD = "podium.json"

# Learning rates by the number of parameters, (up to, rate). The rows for 1e9 and more are those of
# the papers: InstructGPT (SFT 9.65e-6, RM 9e-6), Llama 2 (PPO 1e-6), N+ implementation details
# (value 3e-6 as policy at 1 B), DPO (1e-6). Below, the rates grow as models shrink, as in TRL's and
# Pythia's recipes; those of the first row (all but SFT) were tried on the starter model.
LEARNING_RATES: dict[str, tuple[tuple[float, float], ...]] = {
    "sft": ((1e7, 5e-4), (1e8, 1e-4), (1e9, 2e-5), (1e10, 1e-5), (math.inf, 5e-6)),
    "reward": ((1e7, 5e-4), (1e8, 1e-4), (1e9, 2e-5), (1e10, 9e-6), (math.inf, 5e-6)),
    "ppo": ((1e7, 2e-4), (1e8, 3e-5), (1e9, 3e-6), (math.inf, 1e-6)),
    "value": ((1e7, 1e-3), (1e8, 1e-4), (1e9, 1e-5), (1e10, 9e-6), (math.inf, 5e-6)),
    "dpo": ((1e7, 3e-4), (1e8, 2e-5), (1e9, 5e-6), (math.inf, 1e-6)),
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
    return Renderer(AutoTokenizer.from_pretrained(_found(name), trust_remote_code=False))


def load_policy(name: str, *, frozen: bool = False) -> Any:
    """A causal language model on the device. ``frozen`` ones take half the memory on a GPU."""
    model = AutoModelForCausalLM.from_pretrained(
        _found(name),
        use_safetensors=True,
        trust_remote_code=False,
        dtype=_dtype(frozen),
    )
    return _placed(model, frozen)


def new_reward_model(name: str) -> Any:
    """A reward model on the body of ``name``, with a new head unless ``name`` is one already.

    The head starts at zero, so that all texts score alike until a comparison says otherwise. The
    random head of the summarisation papers (2403.17031, section 4) is for bodies of a billion
    parameters; on the starter model, with a few hundred comparisons, its noise outweighed them.
    """
    model = _load_classifier(name, frozen=False)
    if not is_reward_model(name):
        nn.init.zeros_(model.score.weight)
    return model


def load_reward_model(name: str, *, frozen: bool = True) -> Any:
    """Raises TrainingError when ``name`` has no score head: a policy would score at random."""
    if not is_reward_model(name):
        raise TrainingError(f"{name} has no score head: it is not a reward model")
    return _load_classifier(name, frozen=frozen)


def is_reward_model(name: str) -> bool:
    config = AutoConfig.from_pretrained(_found(name), trust_remote_code=False)
    names = config.architectures or []
    return config.num_labels == 1 and any("SequenceClassification" in n for n in names)


def score_tokens(model: nn.Module, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    """The score head at every token, (B, T) float32, whichever side is padded."""
    scores: Tensor = model(
        input_ids=input_ids,
        attention_mask=attention_mask,
        position_ids=positions(attention_mask),
    )
    return scores


def at_last_token(scores: Tensor, attention_mask: Tensor) -> Tensor:
    """(B, T) -> (B,): the column of the last real token."""
    columns = torch.arange(scores.shape[1], device=scores.device)
    last = (attention_mask * (columns + 1)).argmax(1)
    return scores.gather(1, last.unsqueeze(1)).squeeze(1)


def read_card(name: str) -> dict[str, Any]:
    """``podium.json`` of a local model; empty for models that were not made here."""
    path = Path(name) / CARD
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def context_length(model: Any) -> int:
    """Positions that the model was made for; none declared means no bound."""
    declared = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return int(declared) if declared else 2**31


def is_local(name: str) -> bool:
    return Path(name).is_dir()


def _found(name: str) -> str:
    looks_like_a_path = name.startswith(("/", "./", "../", "~"))
    if looks_like_a_path and not is_local(name):
        raise TrainingError(f"no model folder at {name}")
    return name


def _load_classifier(name: str, *, frozen: bool) -> Any:
    model = AutoModelForSequenceClassification.from_pretrained(
        _found(name),
        num_labels=1,
        use_safetensors=True,
        trust_remote_code=False,
        dtype=_dtype(frozen),
    )
    if not isinstance(getattr(model, "score", None), nn.Linear):
        raise TrainingError(f"{type(model).__name__} has no linear score head to read per token")
    model.forward = types.MethodType(_forward_token_scores, model)
    return _placed(model, frozen)


def _forward_token_scores(
    model: Any, input_ids: Tensor, attention_mask: Tensor, position_ids: Tensor, **_: object
) -> Tensor:
    body = getattr(model, model.base_model_prefix)
    hidden = body(
        input_ids=input_ids,
        attention_mask=attention_mask,
        position_ids=position_ids,
        use_cache=False,
    ).last_hidden_state
    # The head in float32 even under autocast: bfloat16 has 8 bits, too few to rank near ties.
    with torch.autocast(hidden.device.type, enabled=False):
        scores = nn.functional.linear(hidden.float(), model.score.weight.float())
    return scores.squeeze(-1)


def _dtype(frozen: bool) -> torch.dtype:
    return torch.bfloat16 if frozen and device().type == "cuda" else torch.float32


def _placed(model: Any, frozen: bool) -> Any:
    model.eval()
    if frozen:
        model.requires_grad_(False)
    return model.to(device())
