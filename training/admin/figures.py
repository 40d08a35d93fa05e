"""How numbers and metrics are written on the pages of training."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.utils import timezone

from training.models import Run

# What a list shows of a run or a model: the first of these that it has.
KEY_METRICS = (
    "reward_best",
    "reward_mean",
    "accuracy",
    "kl",
    "eval_loss",
    "loss",
    "completions",
    "pairs",
)
SHOWN_IN_LISTS = 2


def figure(value: object) -> str:
    """A number with four digits that matter, a dash for none, anything else as it is."""
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or (value.is_integer() and abs(value) < 1e15):
        return f"{int(value):,}"
    return f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.4g}"


def metric_rows(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(name.replace("_", " "), figure(value)) for name, value in sorted(metrics.items())]


def key_metrics(metrics: Mapping[str, Any]) -> str:
    told = [name for name in KEY_METRICS if name in metrics][:SHOWN_IN_LISTS]
    return ", ".join(f"{name.replace('_', ' ')} {figure(metrics[name])}" for name in told) or "–"


def duration(run: Run) -> str:
    """How long the run has worked, since its last claim."""
    if run.started_at is None:
        return "–"
    worked = (run.finished_at or timezone.now()) - run.started_at
    return str(timedelta(seconds=max(0, round(worked.total_seconds()))))
