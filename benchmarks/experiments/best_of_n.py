"""The best of n by a reward model: what the reward model thinks of it, and what it is worth.

After Gao et al. (2210.10760): of N answers of the SFT model to each held-out prompt the best of n
is chosen by each reward model, for n up to N, without bias by averaging over all subsets. Gold and
reward are in standard deviations of the SFT model's answers, so that both are 0 at n = 1. Distance
is d = sqrt(KL); gold is fitted by R(d) = d (a - b d), whose peak is at d = a / 2b.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from benchmarks.experiments import laws
from benchmarks.experiments.plots import Line, lines
from benchmarks.experiments.reward_models import (
    Answers,
    Array,
    Grid,
    Setting,
    Training,
    grid,
)
from benchmarks.experiments.statistics import (
    Interval,
    best_of,
    kl_of_best_of,
    kl_of_choice,
    over_seeds,
)
from benchmarks.experiments.world import Options, Page, World


@dataclass(frozen=True)
class Curve:
    """For each prompt and each n, the reward and the gold of the best of n: (P, n) each, in
    standard deviations under the SFT model. ``kl``: (P, n), repeated answers counted as one."""

    ns: Sequence[int]
    reward: Array
    gold: Array
    kl: Array


Curves = Mapping[Setting, Sequence[Curve]]


def run(options: Options) -> Page:
    chosen = grid(options)
    found: dict[Setting, list[Curve]] = {setting: [] for setting in chosen.settings}
    oracle = []
    for world in options.worlds():
        curves, best = measure(world, chosen)
        oracle.append(best)
        for setting, curve in curves.items():
            found[setting].append(curve)
    figures = {
        "gold": _figure(found, lambda curve: curve.gold, "gold, SD"),
        "reward": _figure(found, lambda curve: curve.reward, "reward, SD"),
    }
    return Page("Best of n by a reward model", _text(found, oracle, chosen), figures)


def measure(world: World, chosen: Grid) -> tuple[dict[Setting, Curve], Curve]:
    """The curve of each reward model of one seed, and that of gold itself."""
    training = Training(world, chosen.most)
    answers = Answers.of(world, "pool", chosen.drawn, chosen.draws)
    found = {}
    for setting in chosen.settings:
        found[setting] = curve(answers.scores(training.model(setting)), answers.gold)
        shown = f"seed {world.seed}: {setting.name} {found[setting].gold.mean(0).round(2)}"
        print(shown, file=sys.stderr, flush=True)
    return found, curve(answers.gold, answers.gold)


def powers_of_two(draws: int) -> list[int]:
    """1, 2, 4, … up to two thirds of the draws: beyond, hardly any subset is unlike another."""
    return [2**power for power in range(int(math.log2(draws * 2 / 3)) + 1)]


def curve(scores: Array, gold: Array) -> Curve:
    """Of (P, N) scores and points of gold."""
    ns = powers_of_two(scores.shape[1])
    reward, worth = standardised(scores), standardised(gold)
    return Curve(
        ns,
        np.stack([best_of(scores, reward, n) for n in ns], 1),
        np.stack([best_of(scores, worth, n) for n in ns], 1),
        np.stack([kl_of_choice(scores, n) for n in ns], 1),
    )


def standardised(values: Array) -> Array:
    """In standard deviations from the mean over all prompts and draws."""
    found: Array = (values - values.mean()) / values.std()
    return found


def golds(curves: Sequence[Curve]) -> Array:
    """(seeds, n): means over prompts."""
    return np.stack([one.gold.mean(0) for one in curves])


def peak_of(curves: Sequence[Curve]) -> int:
    """The n at which gold is highest on the mean of the curves."""
    return curves[0].ns[laws.highest(golds(curves))]


def fit(ns: Sequence[int], gold: Array) -> tuple[float, float]:
    """a and b of R(d) = d (a - b d), by least squares."""
    d = np.sqrt([kl_of_best_of(n) for n in ns])
    (a, minus_b), *_ = np.linalg.lstsq(np.stack([d, d**2], 1), gold, rcond=None)
    return float(a), float(-minus_b)


def gold_at(curves: Sequence[Curve], n: int) -> Interval:
    """Mean gold of the best of n, its interval over seeds."""
    return over_seeds([float(one.gold[:, one.ns.index(n)].mean()) for one in curves])


def mean_gold(curves: Sequence[Curve]) -> Array:
    """(n,) over all prompts of all seeds."""
    gold: Array = np.concatenate([one.gold for one in curves]).mean(0)
    return gold


def _text(found: Curves, oracle: Sequence[Curve], chosen: Grid) -> str:
    last, turn = oracle[0].ns[-1], peak_of(found[laws.whole(found)[-1]])
    return "\n\n".join(
        [
            f"{len(oracle)} seeds, {chosen.drawn} held-out prompts each, {chosen.draws} answers of "
            "the starter SFT model to each at temperature 1. Reward models are those of "
            "[reward-accuracy](reward-accuracy.md). ± is half the 95 % interval over seeds "
            "(Student's t). Lost is gold at its peak, which the other seeds choose, less gold at "
            f"n = {last}. KL is log n - (n - 1) / n.",
            _table(found, last),
            f"Choosing by gold itself gives {gold_at(oracle, turn).shown()} at n = {turn}, where "
            "the best taught reward model is at its best, and "
            f"{gold_at(oracle, last).shown()} at n = {last}. The "
            "starter model repeats itself: were its draws all that it can write, and answers of "
            f"one score one answer, KL at n = {last} would be {_kl(found):.2f} nats instead of "
            f"{kl_of_best_of(last):.2f}. Gold at the best n is picked and measured on the same "
            "prompts, which favours it a little.",
            "## What holds",
            "\n".join(f"- {claim}" for claim in _claims(found, chosen.weak)),
        ]
    )


def _kl(found: Curves) -> float:
    """At the largest n, over all reward models, seeds and prompts."""
    return float(np.mean([one.kl[:, -1] for curves in found.values() for one in curves]))


def _table(found: Curves, last: int) -> str:
    rows = [
        "| rankings | layers | e | best n (KL) | gold there | gold at "
        f"n = {last} | lost | reward at n = {last} | a | b |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for setting, curves in found.items():
        peak = peak_of(curves)
        a, b = fit(curves[0].ns, mean_gold(curves))
        reward = over_seeds([float(one.reward[:, -1].mean()) for one in curves])
        rows.append(
            f"| {setting.rankings} | {setting.layers} | {setting.noise:g} "
            f"| {peak} ({kl_of_best_of(peak):.1f}) | {gold_at(curves, peak).shown()} "
            f"| {gold_at(curves, last).shown()} | {laws.lost(golds(curves)).shown()} "
            f"| {reward.shown()} | {a:.2f} | {b:.2f} |"
        )
    return "\n".join(rows)


def _claims(found: Curves, weak: Setting) -> list[str]:
    """Gao's laws, each with what was measured and whether it holds."""
    monotone = all(
        (np.diff(one.reward.mean(0)) > 0).all() for curves in found.values() for one in curves
    )
    measured = {setting: golds(curves) for setting, curves in found.items()}
    return [
        "Reward rises with n in every run, as it must where it chooses: "
        f"{laws.HOLDS if monotone else laws.FAILS}.",
        *laws.turning(measured, weak, f"n = {found[weak][0].ns[-1]}"),
        *laws.ordered(measured),
    ]


def _figure(found: Curves, of: Callable[[Curve], Array], name: str) -> Figure:
    drawn = laws.panels(found, lambda label, curves, style: _line(label, curves, of, style))
    return lines(drawn, x="KL, nats", y=name)


def _line(label: str, curves: Sequence[Curve], of: Callable[[Curve], Array], style: int) -> Line:
    ns = curves[0].ns
    means = [over_seeds([float(of(one)[:, i].mean()) for one in curves]) for i in range(len(ns))]
    return Line(
        label,
        [kl_of_best_of(n) for n in ns],
        [mean.mean for mean in means],
        [mean.low for mean in means],
        [mean.high for mean in means],
        style=style,
    )
