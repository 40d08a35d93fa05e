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


def peak_of(curves: Sequence[Curve]) -> int:
    """The n at which gold is highest on the mean of the curves."""
    return curves[0].ns[int(np.mean([one.gold.mean(0) for one in curves], 0).argmax())]


def lost(curves: Sequence[Curve]) -> Interval:
    """Gold at its highest less gold at the largest n, over seeds.

    Where it is highest, the other seeds say: a place picked for the values that are measured there
    would be high by chance too. (Of a single seed there are no others.)
    """
    found = []
    for at, one in enumerate(curves):
        others = [*curves[:at], *curves[at + 1 :]] or curves
        gold = one.gold.mean(0)
        found.append(float(gold[one.ns.index(peak_of(others))] - gold[-1]))
    return over_seeds(found)


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
            "(Student's t). Lost is gold at its peak, which the other seeds choose, less gold at "
            f"n = {last}: an interior maximum is shown where the interval leaves out 0. KL is "
            "log n - (n - 1) / n.",
            _table(found, last),
            f"Choosing by gold itself gives {gold_at(oracle, last).shown()} at n = {last}. The "
            "starter model repeats itself: were its draws all that it can write, and answers of "
            f"one score one answer, KL at n = {last} would be {_kl(found):.2f} nats instead of "
            f"{kl_of_best_of(last):.2f}. Gold at the best n is picked and measured on the same "
            "prompts, which favours it a little.",
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
        peak = peak_of(curves)
        a, b = fit(curves[0].ns, mean_gold(curves))
        reward = over_seeds([float(one.reward[:, -1].mean()) for one in curves])
        rows.append(
            f"| {setting.rankings} | {setting.layers} | {setting.noise:g} "
            f"| {peak} ({kl_of_best_of(peak):.1f}) | {gold_at(curves, peak).shown()} "
            f"| {gold_at(curves, last).shown()} | {lost(curves).shown()} "
            f"| {reward.shown()} | {a:.2f} | {b:.2f} |"
        )
    return "\n".join(rows)


def _claims(found: Curves) -> list[str]:
    """Gao's laws, each with what was measured and whether it holds."""
    usual = [s for s in found if s.noise == NOISE]
    whole = sorted((s for s in usual if s.layers == LAYERS), key=lambda s: s.rankings)
    by_size = of_all_sizes(found)
    monotone = all(
        (np.diff(one.reward.mean(0)) > 0).all() for curves in found.values() for one in curves
    )
    return [
        f"Reward rises with n in every run: {_holds(monotone)} (choosing by it, it must).",
        *_interior(found, whole[-1]),
        "Peak gold rises with rankings: " + _rising(found, whole, lambda s: f"{s.rankings}"),
        "Peak gold rises with size: " + _rising(found, by_size, lambda s: f"{s.layers} layers"),
        *_noise(found),
    ]


def _interior(found: Curves, largest: Setting) -> list[str]:
    falling = [
        f"{s.rankings} rankings, {s.layers} layers, e = {s.noise:g}"
        for s, curves in found.items()
        if lost(curves).low > 0
    ]
    least = lost(found[largest])
    turns = "turns" if least.low > 0 else f"no turn is seen up to n = {found[largest][0].ns[-1]}"
    return [
        f"Gold has an interior maximum for weak reward models: {_holds(bool(falling))}"
        f"{': ' if falling else ''}{'; '.join(falling)}.",
        f"For the best taught, on {largest.rankings} rankings, {turns} (lost {least.shown()}, "
        f"best n {peak_of(found[largest])}).",
    ]


def _rising(found: Curves, settings: Sequence[Setting], name: Callable[[Setting], str]) -> str:
    """Whether each next one has more, and how much the last has above the first, seed by seed."""
    peaks = [_peaks(found[setting]) for setting in settings]
    means = [float(np.mean(seeds)) for seeds in peaks]
    more = over_seeds([last - first for first, last in zip(peaks[0], peaks[-1], strict=True)])
    shown = ", ".join(f"{name(s)}: {mean:.2f}" for s, mean in zip(settings, means, strict=True))
    return f"{_holds(all(np.diff(means) > 0))} on the means ({shown}); in all {_sign(more)}."


def _peaks(curves: Sequence[Curve]) -> list[float]:
    """Of each seed its gold at the n that is best on the mean."""
    at = curves[0].ns.index(peak_of(curves))
    return [float(one.gold[:, at].mean()) for one in curves]


def _noise(found: Curves) -> list[str]:
    """Peak gold of the same rankings by the noisiest labelers, less that by ones without errors."""
    noisiest = max(setting.noise for setting in found)
    both = [(s, replace(s, noise=noisiest)) for s in found if s.noise == 0]
    if not both:
        return []
    changes = {
        clean.rankings: over_seeds(
            [b - a for a, b in zip(_peaks(found[clean]), _peaks(found[noisy]), strict=True)]
        )
        for clean, noisy in both
    }
    lower = all(change.mean < 0 for change in changes.values())
    shown = "; ".join(f"{count} rankings: {_sign(change)}" for count, change in changes.items())
    return [f"Errors at e = {noisiest:g} lower peak gold: {_holds(lower)} on the means ({shown})."]


def _sign(change: Interval) -> str:
    """A difference with its interval, and whether three seeds can tell it from none."""
    told = "" if change.low > 0 or change.high < 0 else ", within chance"
    return f"{'+' * (change.mean >= 0)}{change.shown()}{told}"


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
