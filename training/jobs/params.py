"""The hyperparameters of each kind of run, with their bounds: every field is read by a trainer.

``learning_rate=None`` lets the trainer choose by model size (``default_learning_rate`` in
``training.rlhf.models``): a rate that suits 175 B parameters does not move a model of 4 M.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from training.jobs.errors import SpecError

# Of a wrong value, so many characters are repeated in the refusal.
MAX_SHOWN = 40

# A field, and why its value cannot stand beside the others'.
Contradiction = tuple[str, str]


def bounded(default: float | None, low: float, high: float) -> typing.Any:
    """A dataclass field whose value must lie in [``low``, ``high``]."""
    return field(default=default, metadata={"low": low, "high": high})


@dataclass(frozen=True, kw_only=True)
class SampleParams:
    """Completions for the prompts of a pool; how many per prompt is in the data."""

    temperature: float = bounded(1.0, 0.0, 5.0)
    top_p: float = bounded(1.0, 0.01, 1.0)
    max_new_tokens: int = bounded(128, 1, 4096)
    batch_prompts: int = bounded(8, 1, 512)


@dataclass(frozen=True, kw_only=True)
class SftParams:
    """Supervised fine-tuning on demonstrations, loss on the answers only (InstructGPT, step 1).

    ``choose_by``: which epoch's weights are kept: the last one's, those of the lowest held-out
    loss, or those whose answers to held-out prompts a reward model scores highest. ``packing``
    puts several short examples into one row.
    """

    epochs: float = bounded(3, 0.01, 100)
    learning_rate: float | None = bounded(None, 1e-9, 1.0)
    batch_size: int = bounded(16, 1, 4096)
    max_length: int = bounded(1024, 8, 131072)
    validation_share: float = bounded(0.1, 0.0, 0.5)
    packing: bool = False
    choose_by: Literal["last", "eval_loss", "reward"] = "last"

    def contradictions(self) -> Iterator[Contradiction]:
        if self.choose_by != "last" and self.validation_share == 0:
            yield "choose_by", f"{self.choose_by} needs held-out examples: validation_share is 0"
        if self.choose_by != "last" and self.epochs <= 1:
            yield "choose_by", f"{self.choose_by} chooses between epochs: epochs must exceed 1"


@dataclass(frozen=True, kw_only=True)
class LoraParams:
    """Low-rank adapters in place of full fine-tuning (2106.09685); rank 0 trains every weight.

    An adapter's update is scaled by ``lora_alpha / lora_rank``.
    """

    lora_rank: int = bounded(0, 0, 1024)
    lora_alpha: float = bounded(16.0, 0.01, 4096.0)

    def contradictions(self) -> Iterator[Contradiction]:
        if not self.lora_rank and _is_set(self, "lora_alpha"):
            yield "lora_alpha", "scales adapters, and lora_rank is 0: there are none"


@dataclass(frozen=True, kw_only=True)
class RewardParams(LoraParams):
    """K-wise reward model: one batch element is a prompt with all its completions (InstructGPT,
    step 2).

    ``margin``: what the score of the first must exceed that of the last by before the loss lets go,
    less for closer ranks, nothing for neighbours (Llama 2, section 3.2.2). ``label_smoothing``: the
    share of comparisons taken to be wrong way round. ``labeler_weights``: rankings weigh by how
    reliable their labeler is found to be. ``lm_coef``: weight of a language-modelling loss on the
    completions (GPT-1, section 3.2). ``likelihood``: weight, in scores a nat, of the mean
    log-probability of a completion's tokens, which is added to its score (SimPO, 2405.14734, eq.
    4). ``heads``: score heads, an ensemble on one body.
    """

    epochs: float = bounded(1, 0.01, 100)
    learning_rate: float | None = bounded(None, 1e-9, 1.0)
    batch_prompts: int = bounded(8, 1, 4096)
    max_length: int = bounded(1024, 8, 131072)
    validation_share: float = bounded(0.15, 0.0, 0.5)
    margin: float = bounded(0.0, 0.0, 100.0)
    label_smoothing: float = bounded(0.0, 0.0, 0.49)
    labeler_weights: bool = False
    lm_coef: float = bounded(0.0, 0.0, 100.0)
    likelihood: float = bounded(0.0, 0.0, 100.0)
    heads: int = bounded(1, 1, 16)


@dataclass(frozen=True, kw_only=True)
class OnlineParams:
    """Writing completions, scoring them by a reward model, learning from the scores: step by step.

    ``batch_size`` counts completions. ``pessimism`` times the variance over the heads of the reward
    model is taken off each score (2310.02743).
    """

    steps: int = bounded(20, 1, 100_000)
    batch_size: int = bounded(64, 2, 65536)
    epochs: int = bounded(1, 1, 64)
    learning_rate: float | None = bounded(None, 1e-9, 1.0)
    # Above the papers' 0.02: a reward model of a few hundred comparisons is soon exploited. With
    # 0.05 the starter model spent 4.5 nats in 20 steps, with 0.2 (and a lower rate) 1.6.
    kl_coef: float = bounded(0.2, 0.0, 100.0)
    clip_range: float = bounded(0.2, 0.0, 10.0)
    temperature: float = bounded(1.0, 0.01, 5.0)
    max_new_tokens: int = bounded(64, 1, 4096)
    missing_eos_penalty: float = bounded(1.0, 0.0, 1000.0)
    max_grad_norm: float = bounded(1.0, 1e-6, 1e6)
    pessimism: float = bounded(0.0, 0.0, 100.0)


@dataclass(frozen=True, kw_only=True)
class PpoParams(LoraParams, OnlineParams):
    """PPO with a per-token KL penalty to the SFT model (InstructGPT, step 3).

    ``kl_budget`` (nats a completion): the run ends with the last policy whose completions spent no
    more. ``kl_target``, likewise, makes the coefficient adaptive (1909.08593, section 2.2),
    ``kl_horizon`` episodes slow. ``ptx_ratio`` pretraining examples an episode are mixed in;
    ``ptx_coef`` weighs the mean loss of their tokens against the mean loss of the episodes' tokens.
    ``ema_decay`` an optimiser step: the weights kept are the running mean.
    """

    minibatch_size: int = bounded(16, 1, 65536)
    value_learning_rate: float | None = bounded(None, 1e-9, 1.0)
    kl_target: float | None = bounded(None, 1e-6, 1e6)
    kl_horizon: int = bounded(10_000, 1, 100_000_000)
    kl_budget: float | None = bounded(None, 1e-6, 1e6)
    value_clip_range: float = bounded(0.2, 0.0, 100.0)
    gamma: float = bounded(1.0, 0.0, 1.0)
    gae_lambda: float = bounded(0.95, 0.0, 1.0)
    ptx_ratio: float = bounded(0.0, 0.0, 64.0)
    ptx_coef: float = bounded(0.0, 0.0, 1000.0)
    ema_decay: float = bounded(0.0, 0.0, 0.99999)
    checkpoint_every: int = bounded(5, 1, 100_000)

    def contradictions(self) -> Iterator[Contradiction]:
        yield from super().contradictions()
        if self.minibatch_size > self.batch_size:
            yield "minibatch_size", f"exceeds batch_size ({self.batch_size})"
        if self.ptx_coef and not self.ptx_ratio:
            yield "ptx_ratio", "is 0, so ptx_coef would weigh nothing: give both or neither"
        if self.ptx_ratio and not self.ptx_coef:
            yield "ptx_coef", "is 0, so ptx_ratio would cost time for nothing: give both or neither"
        if self.kl_target is not None and not self.kl_coef:
            yield "kl_coef", "is 0, which no adaptation towards kl_target can change"
        if self.kl_target is None and _is_set(self, "kl_horizon"):
            yield "kl_horizon", "slows the adaptation to kl_target, and none is given"
        if self.kl_target is not None and self.kl_horizon < self.batch_size:
            # One step multiplies kl_coef by up to 1 -+ 0.2 batch_size / kl_horizon.
            yield "kl_horizon", f"is below batch_size ({self.batch_size}): one step would overshoot"
        if self.kl_budget is not None and self.ema_decay:
            yield "ema_decay", "keeps a running mean, and kl_budget measures the policy that learns"


@dataclass(frozen=True, kw_only=True)
class RejectionParams:
    """Rejection sampling: the best of ``n`` by reward, then fine-tuning on it (Llama 2).

    ``past_completions`` adds the completions of earlier rounds to the candidates (section 3.2.3).
    """

    n: int = bounded(8, 2, 1024)
    temperature: float = bounded(1.0, 0.01, 5.0)
    top_p: float = bounded(1.0, 0.01, 1.0)
    max_new_tokens: int = bounded(64, 1, 4096)
    batch_prompts: int = bounded(8, 1, 512)
    epochs: float = bounded(3, 0.01, 100)
    learning_rate: float | None = bounded(None, 1e-9, 1.0)
    batch_size: int = bounded(16, 1, 4096)
    pessimism: float = bounded(0.0, 0.0, 100.0)
    past_completions: bool = False


@dataclass(frozen=True, kw_only=True)
class DpoParams:
    """Direct preference optimisation on all comparisons, the starting model as reference.

    ``batch_size`` counts prompts, each with all its pairs. ``label_smoothing``: the share of
    comparisons taken to be wrong way round.
    """

    beta: float = bounded(0.1, 1e-6, 100.0)
    epochs: float = bounded(1, 0.01, 100)
    learning_rate: float | None = bounded(None, 1e-9, 1.0)
    batch_size: int = bounded(8, 1, 4096)
    max_length: int = bounded(1024, 8, 131072)
    label_smoothing: float = bounded(0.0, 0.0, 0.49)


@dataclass(frozen=True, kw_only=True)
class RlooParams(OnlineParams):
    """Policy gradient with the other completions of a prompt as baseline, no value model: TRL's
    RLOO (2402.14740) on the same reward model. ``n`` completions for each prompt.
    """

    n: int = bounded(4, 2, 256)

    def contradictions(self) -> Iterator[Contradiction]:
        if self.batch_size % self.n:
            yield "batch_size", f"must be a multiple of n ({self.n})"


@dataclass(frozen=True, kw_only=True)
class GrpoParams(RlooParams):
    """As RLOO, with advantages in units of the spread within a prompt: TRL's GRPO (2402.03300)."""


Params = (
    SampleParams
    | SftParams
    | RewardParams
    | PpoParams
    | RejectionParams
    | DpoParams
    | RlooParams
    | GrpoParams
)

PARAMS_OF_KIND: dict[str, type[Params]] = {
    "sample": SampleParams,
    "sft": SftParams,
    "reward": RewardParams,
    "ppo": PpoParams,
    "rejection": RejectionParams,
    "dpo": DpoParams,
    "rloo": RlooParams,
    "grpo": GrpoParams,
}


def parse_params(kind: str, given: Mapping[str, object]) -> Params:
    """Check ``given`` against the fields of ``kind``; what is not given takes its default.

    Raises:
        SpecError: unknown kind or field, wrong type, out of bounds, or fields that contradict each
        other.
    """
    if kind not in PARAMS_OF_KIND:
        raise SpecError("kind", f"unknown kind {kind!r}; one of {', '.join(PARAMS_OF_KIND)}")
    if not isinstance(given, Mapping):
        raise SpecError("params", "must be an object")
    fields = {f.name: f for f in dataclasses.fields(PARAMS_OF_KIND[kind])}
    unknown = sorted(set(given) - set(fields))
    if unknown:
        raise SpecError(
            f"params.{unknown[0]}", f"unknown for a {kind} run; it takes {', '.join(fields)}"
        )
    hints = typing.get_type_hints(PARAMS_OF_KIND[kind])
    values: dict[str, typing.Any] = {
        name: _checked(fields[name], hints[name], value) for name, value in given.items()
    }
    params = PARAMS_OF_KIND[kind](**values)
    for name, message in getattr(params, "contradictions", tuple)():
        raise SpecError(f"params.{name}", message)
    return params


def _is_set(params: object, name: str) -> bool:
    """Whether a field was given another value than its default."""
    return getattr(params, name) != getattr(type(params), name)


def fields_of(params: type[Params]) -> list[tuple[dataclasses.Field[typing.Any], object]]:
    """The fields of a kind's parameters with their types."""
    hints = typing.get_type_hints(params)
    return [(field, hints[field.name]) for field in dataclasses.fields(params)]


def choices_of(hint: object) -> tuple[str, ...]:
    """The words that a field may hold, none for a number."""
    return typing.get_args(hint) if typing.get_origin(hint) is Literal else ()


def _checked(spec: dataclasses.Field[typing.Any], hint: object, value: object) -> object:
    where, shown = f"params.{spec.name}", repr(value)[:MAX_SHOWN]
    if hint is bool:
        if not isinstance(value, bool):
            raise SpecError(where, f"must be true or false, not {shown}")
        return value
    if choices := choices_of(hint):
        if value not in choices:
            raise SpecError(where, f"must be one of {', '.join(choices)}, not {shown}")
        return value
    return _checked_number(spec, hint, value)


def _checked_number(spec: dataclasses.Field[typing.Any], hint: object, value: object) -> object:
    where, shown = f"params.{spec.name}", repr(value)[:MAX_SHOWN]
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if value is None:
        if types.NoneType in options:
            return None
        raise SpecError(where, "must not be null")
    if isinstance(value, bool) or not isinstance(value, int | float) or _is_infinite(value):
        raise SpecError(where, f"must be a finite number, not {shown}")
    low, high = spec.metadata["low"], spec.metadata["high"]
    if not low <= value <= high:
        raise SpecError(where, f"must lie in {low:g}..{high:g}, not {shown}")
    if int not in options:
        return value
    if value != int(value):
        raise SpecError(where, f"must be a whole number, not {shown}")
    return int(value)


def _is_infinite(value: float) -> bool:
    # A whole number may be too large to be a float at all; its bounds will tell.
    return isinstance(value, float) and not math.isfinite(value)
