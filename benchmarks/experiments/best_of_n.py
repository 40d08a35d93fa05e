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
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.figure import Figure

from benchmarks.experiments.plots import Line, Panel, lines
from benchmarks.experiments.reward_models import (
    LAYERS,
    NOISE,
    Answers,
    Array,
    Grid,
    Setting,
    Training,
    grid,
    of_all_sizes,
)
from benchmarks.experiments.statistics import (
    Interval,
    best_of,
    kl_of_best_of,
    kl_of_choice,
    over_prompts,
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


def drop(curves: Sequence[Curve]) -> tuple[int, Interval]:
    """The n at which gold is highest, and what is lost from there to the largest n.

    The interval draws the prompts of all seeds anew.
    """
    gold = [row[np.newaxis] for one in curves for row in one.gold]
    peak = int(np.concatenate(gold).mean(0).argmax())
    return curves[0].ns[peak], over_prompts(
        gold, lambda rows: float((rows[:, peak] - rows[:, -1]).mean())
    )


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
    last = oracle[0].ns[-1]
    return "\n\n".join(
        [
            f"{len(oracle)} seeds, {chosen.drawn} held-out prompts each, {chosen.draws} answers of "
            "the starter SFT model to each at temperature 1. Reward models are those of "
            "[reward-accuracy](reward-accuracy.md). ± is half the 95 % interval over seeds "
            "(Student's t), brackets are 95 % intervals by drawing prompts anew. Lost is gold at "
            f"its peak less gold at n = {last}: an interior maximum is shown where its interval "
            "leaves out 0. KL is log n - (n - 1) / n.",
            _table(found, last),
            f"Choosing by gold itself gives {gold_at(oracle, last).shown()} at n = {last}. The "
            "starter model repeats itself: were its draws all that it can write, and answers of "
            f"one score one answer, KL at n = {last} would be {_kl(found):.2f} nats instead of "
            f"{kl_of_best_of(last):.2f}. The peak is picked and measured on the same prompts, "
            "which favours it a little.",
            "## What holds",
            "\n".join(f"- {claim}" for claim in _claims(found)),
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
        peak, lost = drop(curves)
        a, b = fit(curves[0].ns, mean_gold(curves))
        reward = over_seeds([float(one.reward[:, -1].mean()) for one in curves])
        rows.append(
            f"| {setting.rankings} | {setting.layers} | {setting.noise:g} "
            f"| {peak} ({kl_of_best_of(peak):.1f}) | {gold_at(curves, peak).shown()} "
            f"| {gold_at(curves, last).shown()} | {lost.mean:.2f} [{lost.low:.2f}, {lost.high:.2f}]"
            f" | {reward.shown()} | {a:.2f} | {b:.2f} |"
        )
    return "\n".join(rows)


def _claims(found: Curves) -> list[str]:
    """Gao's laws, each with what was measured and whether it holds."""
    peaks = {setting: float(mean_gold(curves).max()) for setting, curves in found.items()}
    usual = [s for s in found if s.noise == NOISE]
    whole = sorted((s for s in usual if s.layers == LAYERS), key=lambda s: s.rankings)
    by_size = of_all_sizes(found)
    monotone = all(
        (np.diff(one.reward.mean(0)) > 0).all() for curves in found.values() for one in curves
    )
    return [
        f"Reward rises with n in every run: {_holds(monotone)} (choosing by it, it must).",
        *_interior(found, whole[-1]),
        "Peak gold rises with rankings: " + _rising(whole, peaks, lambda s: f"{s.rankings}"),
        "Peak gold rises with size: " + _rising(by_size, peaks, lambda s: f"{s.layers} layers"),
        *_noise(found, peaks),
    ]


def _interior(found: Curves, largest: Setting) -> list[str]:
    falling = [
        f"{s.rankings} rankings, {s.layers} layers, e = {s.noise:g}"
        for s, curves in found.items()
        if drop(curves)[1].low > 0
    ]
    peak, lost = drop(found[largest])
    return [
        f"Gold has an interior maximum for weak reward models: {_holds(bool(falling))}"
        f"{': ' if falling else ''}{'; '.join(falling)}.",
        f"It has none for the largest, on {largest.rankings} rankings: {_holds(lost.low <= 0)} "
        f"(best n {peak}).",
    ]


def _rising(
    settings: Sequence[Setting], peaks: Mapping[Setting, float], name: Callable[[Setting], str]
) -> str:
    values = [peaks[setting] for setting in settings]
    shown = ", ".join(f"{name(s)}: {peaks[s]:.2f}" for s in settings)
    return f"{_holds(all(np.diff(values) > 0))} ({shown})."


def _noise(found: Curves, peaks: Mapping[Setting, float]) -> list[str]:
    """Peak gold of the same rankings by labelers without errors and by the noisiest."""
    noisiest = max(setting.noise for setting in found)
    both = [(s, replace(s, noise=noisiest)) for s in found if s.noise == 0]
    if not both:
        return []
    lower = all(peaks[noisy] < peaks[clean] for clean, noisy in both)
    shown = "; ".join(
        f"{clean.rankings} rankings: {peaks[clean]:.2f} without, {peaks[noisy]:.2f} with"
        for clean, noisy in both
    )
    return [f"Errors at e = {noisiest:g} lower peak gold: {_holds(lower)} ({shown})."]


def _holds(fact: bool) -> str:
    return "holds" if fact else "does not hold"


def _figure(found: Curves, of: Callable[[Curve], Array], name: str) -> Figure:
    usual = [s for s in found if s.noise == NOISE]
    whole = [s for s in found if s.layers == LAYERS]
    panels = {
        "by rankings": {f"{s.rankings} rankings": s for s in usual if s.layers == LAYERS},
        "by size": {f"{s.layers} layers": s for s in of_all_sizes(found)},
        "by error rate": {f"e = {s.noise:g}": s for s in whole if s.rankings == _middle(found)},
    }
    # The same reward model looks the same in every panel.
    styles: dict[Setting, int] = {}
    shown = []
    for title, settings in panels.items():
        drawn = [
            _line(label, found[setting], of, styles.setdefault(setting, len(styles)))
            for label, setting in settings.items()
        ]
        shown.append(Panel(title, drawn, {"SFT": 0.0}))
    return lines(shown, x="KL, nats", y=name)


def _middle(found: Curves) -> int:
    """The number of rankings at which most error rates were tried, the larger of equals."""
    counts = [s.rankings for s in found if s.layers == LAYERS]
    return max(counts, key=lambda count: (counts.count(count), count))


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
