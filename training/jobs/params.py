"""The hyperparameters of each kind of run, with their bounds: every field is read by a trainer.

``learning_rate=None`` lets the trainer choose by model size (``default_learning_rate`` in
``training.rlhf.models``): a rate that suits 175 B parameters does not move a model of 4 M.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field

from training.jobs.errors import SpecError

# Of a wrong value, so many characters are repeated in the refusal.
MAX_SHOWN = 40


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
    """Supervised fine-tuning on demonstrations, loss on the answers only (InstructGPT, step 1)."""

    epochs: float = bounded(3, 0.01, 100)
    learning_rate: float | None = bounded(None, 1e-9, 1.0)
    batch_size: int = bounded(16, 1, 4096)
    max_length: int = bounded(1024, 8, 131072)
    validation_share: float = bounded(0.1, 0.0, 0.5)


@dataclass(frozen=True, kw_only=True)
class RewardParams:
    """K-wise reward model: one batch element is a prompt with all its completions (InstructGPT,
    step 2).
    """

    epochs: float = bounded(1, 0.01, 100)
    learning_rate: float | None = bounded(None, 1e-9, 1.0)
    batch_prompts: int = bounded(8, 1, 4096)
    max_length: int = bounded(1024, 8, 131072)
    validation_share: float = bounded(0.15, 0.0, 0.5)


@dataclass(frozen=True, kw_only=True)
class PpoParams:
    """PPO with a per-token KL penalty to the SFT model (InstructGPT, step 3)."""

    steps: int = bounded(20, 1, 100_000)
    batch_size: int = bounded(64, 2, 65536)
    minibatch_size: int = bounded(16, 1, 65536)
    epochs: int = bounded(1, 1, 64)
    learning_rate: float | None = bounded(None, 1e-9, 1.0)
    value_learning_rate: float | None = bounded(None, 1e-9, 1.0)
    # Above the papers' 0.02: a reward model of a few hundred comparisons is soon exploited. With
    # 0.05 the starter model spent 4.5 nats in 20 steps, with 0.2 (and a lower rate) 1.6.
    kl_coef: float = bounded(0.2, 0.0, 100.0)
    kl_budget: float | None = bounded(None, 1e-6, 1e6)
    clip_range: float = bounded(0.2, 0.0, 10.0)
    value_clip_range: float = bounded(0.2, 0.0, 100.0)
    value_coef: float = bounded(0.1, 0.0, 100.0)
    gamma: float = bounded(1.0, 0.0, 1.0)
    gae_lambda: float = bounded(0.95, 0.0, 1.0)
    temperature: float = bounded(1.0, 0.01, 5.0)
    max_new_tokens: int = bounded(64, 1, 4096)
    missing_eos_penalty: float = bounded(1.0, 0.0, 1000.0)
    max_grad_norm: float = bounded(1.0, 1e-6, 1e6)
    checkpoint_every: int = bounded(5, 1, 100_000)


@dataclass(frozen=True, kw_only=True)
class RejectionParams:
    """Rejection sampling: the best of ``n`` by reward, then fine-tuning on it (Llama 2)."""

    n: int = bounded(8, 2, 1024)
    temperature: float = bounded(1.0, 0.01, 5.0)
    top_p: float = bounded(1.0, 0.01, 1.0)
    max_new_tokens: int = bounded(64, 1, 4096)
    batch_prompts: int = bounded(8, 1, 512)
    epochs: float = bounded(3, 0.01, 100)
    learning_rate: float | None = bounded(None, 1e-9, 1.0)
    batch_size: int = bounded(16, 1, 4096)


@dataclass(frozen=True, kw_only=True)
class DpoParams:
    """Direct preference optimisation on all comparisons, the starting model as reference.

    ``batch_size`` counts prompts, each with all its pairs.
    """

    beta: float = bounded(0.1, 1e-6, 100.0)
    epochs: float = bounded(1, 0.01, 100)
    learning_rate: float | None = bounded(None, 1e-9, 1.0)
    batch_size: int = bounded(8, 1, 4096)
    max_length: int = bounded(1024, 8, 131072)


Params = SampleParams | SftParams | RewardParams | PpoParams | RejectionParams | DpoParams

PARAMS_OF_KIND: dict[str, type[Params]] = {
    "sample": SampleParams,
    "sft": SftParams,
    "reward": RewardParams,
    "ppo": PpoParams,
    "rejection": RejectionParams,
    "dpo": DpoParams,
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
    if isinstance(params, PpoParams) and params.minibatch_size > params.batch_size:
        raise SpecError("params.minibatch_size", f"exceeds batch_size ({params.batch_size})")
    return params


def _is_infinite(value: float) -> bool:
    # A whole number may be too large to be a float at all; its bounds will tell.
    return isinstance(value, float) and not math.isfinite(value)


def _checked(spec: dataclasses.Field[typing.Any], hint: object, value: object) -> object:
    where = f"params.{spec.name}"
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if value is None:
        if types.NoneType in options:
            return None
        raise SpecError(where, "must not be null")
    shown = repr(value)[:MAX_SHOWN]
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
