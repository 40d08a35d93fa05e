"""Curves of a run's metrics, as points of an SVG that needs no script."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from training.models import Run, RunEvent

# The curves that matter for each kind, in this order; whatever else was told is in the tables.
CURVES = {
    Run.Kind.SAMPLE: ("tokens_per_second",),
    Run.Kind.SFT: ("loss", "eval_loss"),
    Run.Kind.REWARD: ("accuracy", "loss"),
    Run.Kind.PPO: ("reward_mean", "kl", "length_mean", "entropy"),
    Run.Kind.REJECTION: ("reward_mean", "reward_best", "loss"),
    Run.Kind.DPO: ("accuracy", "loss", "margin"),
    Run.Kind.RLOO: ("reward_mean", "kl", "length_mean", "loss"),
    Run.Kind.GRPO: ("reward_mean", "kl", "length_mean", "loss"),
}
MAX_EVENTS = 5_000
MAX_POINTS = 300
WIDTH, HEIGHT = 300.0, 100.0


@dataclass(frozen=True)
class Curve:
    """One metric over the events that told it; ``points`` fill a box of 300 by 100."""

    name: str
    points: str
    low: float
    high: float
    first: float
    last: float
    steps: int


def curves_of(run: Run) -> list[Curve]:
    """Curves of the run's latest events; a metric that was told only once makes none."""
    wanted = CURVES[Run.Kind(run.kind)]
    latest = RunEvent.objects.filter(run=run).exclude(metrics={}).order_by("-number")
    told = list(latest.values_list("metrics", flat=True)[:MAX_EVENTS])[::-1]
    values = _values(told, wanted)
    return [_curve(name, values[name]) for name in wanted if len(values[name]) > 1]


def _values(told: Iterable[dict[str, object]], wanted: Iterable[str]) -> dict[str, list[float]]:
    values: dict[str, list[float]] = defaultdict(list)
    for metrics, name in itertools.product(told, wanted):
        value = metrics.get(name)
        if isinstance(value, int | float):
            values[name].append(float(value))
    return values


def _curve(name: str, values: list[float]) -> Curve:
    low, high = min(values), max(values)
    # A flat curve runs through the middle of its box.
    bottom, spread = (low, high - low) if high > low else (low - 0.5, 1.0)
    every = -(-len(values) // MAX_POINTS)
    chosen = [*range(0, len(values), every)]
    if chosen[-1] != len(values) - 1:
        chosen.append(len(values) - 1)
    points = " ".join(
        f"{WIDTH * i / (len(values) - 1):.1f},{HEIGHT * (1 - (values[i] - bottom) / spread):.1f}"
        for i in chosen
    )
    return Curve(name, points, low, high, values[0], values[-1], len(values))
