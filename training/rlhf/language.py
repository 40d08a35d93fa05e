"""The language model on a reward model's own body, by the head of the one it starts from.

It is asked for two things. As a loss beside the comparisons (``lm_coef``; GPT-1, section 3.2) it
keeps the body from forgetting what it knew. As a part of the score (``likelihood``; 2405.14734,
eq. 4) it tells what a head at the last token hardly sees: which word of an answer is out of place.
The head learns along. It is thrown away after a loss, and kept where it is part of the score.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from training.rlhf.errors import TrainingError
from training.rlhf.heads import head_of, token_logprobs
from training.rlhf.models import load_policy, scores_every_token

HEAD = "language_head"
# Of a head that is not the embedding, beside the weights of a reward model whose score needs it.
FILE = f"{HEAD}.safetensors"


class Language:
    """The language model on the body of a reward model; not a module, or it would be one twice."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def mean_logprobs(self, hidden: Tensor, input_ids: Tensor, mask: Tensor) -> Tensor:
        """The mean over the tokens in ``mask`` (N, S) of log p given those before: (N,), nats."""
        logprobs = token_logprobs(self._model, hidden[:, :-1], input_ids[:, 1:], mask=mask[:, 1:])
        return logprobs.sum(1) / mask[:, 1:].sum(1).clamp(min=1)


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
            "lm_coef and likelihood need a start with a language-modelling head, and "
            f"{name} ({', '.join(names)}) has none: start from a language model, or set both to 0"
        )
    language = load_policy(name)
    if type(language.base_model) is not type(model.base_model):
        raise TrainingError(
            f"the language model {name} has another body ({type(language.base_model).__name__}) "
            f"than a reward model made of it ({type(model.base_model).__name__}): set lm_coef "
            "and likelihood to 0"
        )
    # Checked while the model is whole.
    head_of(language)
    _put_on(model, language)


def read(model: Any, folder: Path) -> None:
    """Give a trained reward model the head that ``write`` left in its folder."""
    with torch.device("meta"):
        language = AutoModelForCausalLM.from_config(model.config)
    if not _is_tied(language):
        if not (folder / FILE).is_file():
            raise TrainingError(
                f"{FILE} is missing in {folder}, and the score needs it: put back the file as the "
                "run wrote it"
            )
        state = load_file(folder / FILE)
        language.get_output_embeddings().load_state_dict(state, assign=True)
    _put_on(model, language)
    if hasattr(model, HEAD):
        embedding = model.get_input_embeddings().weight
        getattr(model, HEAD).to(embedding.device, embedding.dtype).requires_grad_(False)
    head_of(language)


def write(head: Any, folder: Path) -> None:
    """Keep what ``detach`` gave in the reward model's folder."""
    if head is not None:
        state = {name: tensor.cpu().contiguous() for name, tensor in head.state_dict().items()}
        save_file(state, folder / FILE)


def count(model: Any, weights: Sequence[float]) -> None:
    """Let the likelihood count in the score of each head: ``weights`` in raw scores a nat."""
    model.likelihood = torch.tensor(weights)


def detach(model: Any) -> Any:
    """Take the head off again; given back if it is not the embedding."""
    del model.language
    head = getattr(model, HEAD, None)
    if head is not None:
        delattr(model, HEAD)
    return head


def _put_on(model: Any, language: Any) -> None:
    head, tied = language.get_output_embeddings(), _is_tied(language)
    setattr(language, language.base_model_prefix, model.base_model)
    if tied:
        head.weight = model.get_input_embeddings().weight
    else:
        model.add_module(HEAD, head)
    model.language = Language(language)


def _is_tied(language: Any) -> bool:
    head: bool = language.get_output_embeddings().weight is language.get_input_embeddings().weight
    return head
