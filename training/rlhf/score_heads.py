"""The head that gives a reward model its scores, and the forward pass that reads it.

A decoder scores at every token with a linear head named ``score``; the score of a text is read at
its last real token by attention mask. The library's own reading looks for the last token that is
not the padding token, which goes wrong where that is also the end token. An encoder scores a text
as a whole: its own forward pass, pooler and classifier, is used as it is.

H heads on one body are an ensemble. Where ``likelihood`` (H,) is set, how likely the language model
on the same body finds the completion counts too: a right word and a wrong one in its place lead to
much the same last state, and to very different probabilities.
"""

from __future__ import annotations

import math
import types
from typing import Any

import torch
from torch import Tensor, nn

from training.rlhf import prefix
from training.rlhf.errors import TrainingError

# Tokens of the text that shows whether padding is seen, and what rounding may change (bfloat16 on a
# GPU included).
PROBE_LENGTH = 6
PROBE_TOLERANCE = 0.05
# What the forward pass takes of a batch.
FIELDS = (*prefix.FIELDS, "completion_mask")


class ScoreHead(nn.Linear):
    """(..., d) -> (..., H) in float32 even under autocast: bfloat16 has 8 bits, too few to rank
    near ties."""

    def forward(self, hidden: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.float()
        with torch.autocast(hidden.device.type, enabled=False):
            return nn.functional.linear(hidden.float(), self.weight.float(), bias)


def attach(model: Any) -> None:
    """Make the head of a sequence classifier a ``ScoreHead`` and replace the forward pass.

    Raises:
        TrainingError: the model has no head that can be told from the rest, is an encoder-decoder,
            which reads its score after an end token of its own, or is an encoder whose scores
            depend on padding.
    """
    name, head = _find(model)
    own = ScoreHead(head.in_features, head.out_features, bias=head.bias is not None)
    own.weight, own.bias = head.weight, head.bias
    own.train(head.training)
    model.set_submodule(name, own)
    model.scores_every_token = name == "score"
    model.likelihood = None
    forward = _forward_decoder if model.scores_every_token else _forward_encoder
    model.forward = types.MethodType(forward, model)
    if not model.scores_every_token:
        _require_mask(model, own)


def head_of(model: Any) -> nn.Linear:
    """The linear layer that gives the scores."""
    return _find(model)[1]


def start_new(model: Any, seed: int) -> None:
    """Weights of a head that has seen no comparison.

    One head starts at zero, so that all texts score alike until a comparison says otherwise. The
    random head of the summarisation papers (2403.17031, section 4) is for bodies of a billion
    parameters; on the starter model, with a few hundred comparisons, its noise outweighed them.
    Heads of an ensemble have to differ, so they start from that paper's N(0, 1 / (d + 1)).
    """
    head = head_of(model)
    with torch.no_grad():
        if head.out_features == 1:
            head.weight.zero_()
        else:
            generator = torch.Generator().manual_seed(seed)
            drawn = torch.randn(head.weight.shape, generator=generator)
            head.weight.copy_(drawn / math.sqrt(head.in_features + 1))
        if head.bias is not None:
            head.bias.zero_()


@torch.no_grad()
def rescale(model: Any, factors: Tensor) -> None:
    """Multiply the scores of each head by its factor, (H,)."""
    head = head_of(model)
    if model.likelihood is not None:
        model.likelihood = model.likelihood * factors.to(model.likelihood)
    for parameter in (head.weight, head.bias):
        if parameter is not None:
            shape = (-1, *[1] * (parameter.dim() - 1))
            parameter.mul_(factors.to(parameter.device, parameter.dtype).view(shape))


def _find(model: Any) -> tuple[str, nn.Linear]:
    """The one linear layer outside the body that gives as many numbers as there are labels.

    Where an adapter trains a copy of it, the copy.
    """
    body = f"{model.base_model_prefix}."
    found = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
        and not name.startswith(body)
        and ".original_module" not in name
        and module.out_features == model.config.num_labels
    ]
    if len(found) != 1 or model.config.is_encoder_decoder:
        raise TrainingError(
            f"{type(model).__name__} ({model.config.model_type}) has no score head that can be "
            "read: use a decoder such as Llama or Qwen, or an encoder such as BERT or ModernBERT"
        )
    return found[0]


@torch.no_grad()
def _require_mask(model: Any, head: ScoreHead) -> None:
    """Raises TrainingError when padding reaches the head: a score must be the text's alone.

    Some encoders take no notice of the attention mask, some read the last column.
    """
    seen: list[Tensor] = []
    hook = head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    text = torch.arange(1, PROBE_LENGTH + 1, device=head.weight.device).unsqueeze(0)
    for padding in (0, PROBE_LENGTH):
        ids = nn.functional.pad(text, (0, padding), value=model.config.pad_token_id or 0)
        model(input_ids=ids, attention_mask=nn.functional.pad(torch.ones_like(text), (0, padding)))
    hook.remove()
    error = (seen[0] - seen[1]).abs().max() / seen[0].abs().max().clamp(min=1e-6)
    if not error <= PROBE_TOLERANCE:
        raise TrainingError(
            f"what a {type(model).__name__} ({model.config.model_type}) reads of a text depends on "
            "the padding after it, so its scores would depend on the other texts of a batch: "
            "use an encoder such as BERT or ModernBERT"
        )


def _forward_decoder(
    model: Any,
    input_ids: Tensor,
    attention_mask: Tensor,
    completion_mask: Tensor | None = None,
    language: bool = False,
    **shared: Tensor,
) -> Tensor | tuple[Tensor, Tensor]:
    """(N, H) at the last token of each text.

    With ``language`` also the mean log-probability of each completion's tokens, (N,): one call for
    both, as what spreads a model over ranks expects.
    """
    given = {name: tensor for name, tensor in shared.items() if name in prefix.FIELDS}
    batch = {**given, "input_ids": input_ids, "attention_mask": attention_mask}
    likely = language or model.likelihood is not None
    hidden = prefix.encode(model.base_model, batch, None if likely else is_last(attention_mask))
    scores: Tensor = model.score(at_last_token(hidden, attention_mask))
    if not likely:
        return scores
    logprobs = model.language.mean_logprobs(hidden, input_ids, completion_mask)
    if model.likelihood is not None:
        scores = scores + logprobs.unsqueeze(1) * model.likelihood.to(scores)
    return (scores, logprobs) if language else scores


def _forward_encoder(model: Any, input_ids: Tensor, attention_mask: Tensor, **_: object) -> Tensor:
    """(N, H)"""
    output = type(model).forward(model, input_ids=input_ids, attention_mask=attention_mask)
    scores: Tensor = output.logits
    return scores


def at_last_token(values: Tensor, attention_mask: Tensor) -> Tensor:
    """(B, T, ...) -> (B, ...): the column of the last real token, whichever side is padded."""
    return values[torch.arange(len(values), device=values.device), _last_column(attention_mask)]


def is_last(attention_mask: Tensor) -> Tensor:
    """(B, T), true at the last real token of each text."""
    columns = torch.arange(attention_mask.shape[1], device=attention_mask.device)
    return columns == _last_column(attention_mask).unsqueeze(1)


def _last_column(attention_mask: Tensor) -> Tensor:
    columns = torch.arange(attention_mask.shape[1], device=attention_mask.device)
    return (attention_mask * (columns + 1)).argmax(1)
