"""A language-modelling loss beside the comparisons (GPT-1, section 3.2): it keeps a reward model's
body from forgetting what it knew.

The head is that of the language model the reward model starts from. It learns along and is thrown
away.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import AutoConfig

from training.rlhf.errors import TrainingError
from training.rlhf.heads import head_of, token_logprobs
from training.rlhf.models import load_policy, scores_every_token

HEAD = "language_head"


class Language:
    """The language model on the body of a reward model; not a module, or it would be one twice."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def logprobs(self, hidden: Tensor, input_ids: Tensor, mask: Tensor) -> Tensor:
        """log p of each token in ``mask`` given those before it: (N, S - 1), 0 elsewhere."""
        return token_logprobs(self._model, hidden[:, :-1], input_ids[:, 1:], mask=mask[:, 1:])


def attach(model: Any, name: str) -> None:
    """Give a new reward model the head of the language model ``name``, on its own body.

    Raises:
        TrainingError: the model is an encoder, or ``name`` has no such head.
    """
    config = AutoConfig.from_pretrained(name, trust_remote_code=False)
    names = config.architectures or []
    causal = any("CausalLM" in n or "LMHead" in n for n in names)
    if not scores_every_token(model) or not causal:
        raise TrainingError(
            f"lm_coef needs a start with a language-modelling head, and {name} "
            f"({', '.join(names)}) has none: start from a language model, or set lm_coef to 0"
        )
    language = load_policy(name)
    if type(language.base_model) is not type(model.base_model):
        raise TrainingError(
            f"the language model {name} has another body ({type(language.base_model).__name__}) "
            f"than a reward model made of it ({type(model.base_model).__name__}): set lm_coef to 0"
        )
    # Checked while the model is whole.
    head_of(language)
    head = language.get_output_embeddings()
    tied = head.weight is language.get_input_embeddings().weight
    setattr(language, language.base_model_prefix, model.base_model)
    if tied:
        head.weight = model.get_input_embeddings().weight
    else:
        model.add_module(HEAD, head)
    model.language = Language(language)


def detach(model: Any) -> None:
    del model.language
    if hasattr(model, HEAD):
        delattr(model, HEAD)


def mean_loss(logprobs: Tensor, mask: Tensor, weights: Tensor) -> Tensor:
    """The weighted mean over texts, ``weights`` (N,), of their mean loss a token."""
    tokens = mask[:, 1:].sum(1).clamp(min=1)
    return -(weights * logprobs.sum(1) / tokens).sum()
