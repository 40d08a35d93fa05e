"""Ensembles of weak reward models against one of them, by the best of n (2310.02743).

The members are runs of their own on the same rankings, in another order each. What is chosen by:

    single      each member for itself, averaged over the members
    mean        the mean over the members
    worst case  the lowest of the members (WCO)
    uncertainty the mean less PENALTY times the variance over the members (UWO)

and, of one run with as many score heads on one body, the mean of the heads and, again, the mean
less PENALTY times their variance: the product's own ``heads`` and ``pessimism``.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from matplotlib.figure import Figure

from benchmarks.experiments.best_of_n import Curve, curve, gold_at, lost, peak_of
from benchmarks.experiments.plots import Line, Panel, lines
from benchmarks.experiments.reward_models import Answers, Grid, Setting, Training, grid
from benchmarks.experiments.statistics import Interval, kl_of_best_of, over_seeds
from benchmarks.experiments.world import Options, Page, World

# Coste et al.'s weight of the variance for the best of n.
PENALTY = 0.5
SINGLE, WORST = "single", "worst case"

# By way of choosing, the curve of each seed.
Curves = Mapping[str, Sequence[Curve]]


def run(options: Options) -> Page:
    chosen = grid(options)
    found = {
        weak: _by_way([measure(world, chosen, weak) for world in options.worlds()])
        for weak in chosen.weak
    }
    text = "\n\n".join([_intro(options, chosen), *(_section(*item) for item in found.items())])
    return Page("Ensembles of reward models", text, {"gold": _figure(found)})


def measure(world: World, chosen: Grid, weak: Setting) -> dict[str, Curve]:
    """The curves of one seed, members trained as ``weak`` is."""
    training = Training(world, chosen.most)
    answers = Answers.of(world, "pool", chosen.drawn, chosen.draws)
    members = np.stack(
        [
            answers.scores(training.model(replace(weak, member=number)))
            for number in range(chosen.members)
        ]
    )
    heads = training.model(replace(weak, heads=chosen.members))
    ways = {
        "mean": members.mean(0),
        WORST: members.min(0),
        "uncertainty": members.mean(0) - PENALTY * members.var(0),
        "heads, mean": answers.scores(heads),
        "heads, uncertainty": answers.scores(heads, pessimism=PENALTY),
    }
    found = {SINGLE: _averaged([curve(scores, answers.gold) for scores in members])}
    found |= {way: curve(scores, answers.gold) for way, scores in ways.items()}
    shown = {way: float(one.gold[:, -1].mean().round(2)) for way, one in found.items()}
    print(f"seed {world.seed}: {weak.name} {shown}", file=sys.stderr, flush=True)
    return found


def _averaged(curves: Sequence[Curve]) -> Curve:
    parts = [
        np.mean([getattr(one, name) for one in curves], 0) for name in ("reward", "gold", "kl")
    ]
    return Curve(curves[0].ns, *parts)


def _by_way(seeds: Sequence[Mapping[str, Curve]]) -> dict[str, list[Curve]]:
    return {way: [curves[way] for curves in seeds] for way in seeds[0]}


def _intro(options: Options, chosen: Grid) -> str:
    return (
        f"{len(options.seeds)} seeds, {chosen.drawn} held-out prompts each, {chosen.draws} answers "
        f"of the starter SFT model to each at temperature 1, {chosen.members} members. Members see "
        "the same rankings: an ensemble costs no more labels than one. Single is their average. "
        "Gold is in standard deviations under the SFT model. ± is half the 95 % interval over "
        "seeds (Student's t); above single is the difference seed by seed."
    )


def _section(weak: Setting, found: Curves) -> str:
    last = found[SINGLE][0].ns[-1]
    gain = gained(found, WORST)
    holds = "holds" if gain.mean >= 0 else "does not hold"
    sure = "more than chance" if gain.low > 0 or gain.high < 0 else "within chance"
    return "\n\n".join(
        [
            f"## Members of {weak.rankings} rankings, e = {weak.noise:g}",
            _table(found, last),
            f"The worst case is at least as good as a single one at n = {last}: {holds} ({sure}).",
        ]
    )


def _table(found: Curves, last: int) -> str:
    rows = [
        f"| chosen by | best n | gold there | gold at n = {last} | above single | lost |",
        "|---|---|---|---|---|---|",
    ]
    for way, curves in found.items():
        peak = peak_of(curves)
        above = gained(found, way).shown() if way != SINGLE else ""
        rows.append(
            f"| {way} | {peak} | {gold_at(curves, peak).shown()} | {gold_at(curves, last).shown()} "
            f"| {above} | {lost(curves).shown()} |"
        )
    return "\n".join(rows)


def gained(found: Curves, way: str) -> Interval:
    """Gold at the largest n above that of a single member, seed by seed."""
    both = zip(found[way], found[SINGLE], strict=True)
    return over_seeds([float((ours.gold - one.gold)[:, -1].mean()) for ours, one in both])


def _figure(found: Mapping[Setting, Curves]) -> Figure:
    return lines(
        [
            Panel(
                f"{weak.rankings} rankings, e = {weak.noise:g}",
                [_line(way, of) for way, of in curves.items()],
                {"SFT": 0.0},
            )
            for weak, curves in found.items()
        ],
        x="KL, nats",
        y="gold, SD",
    )


def _line(label: str, curves: Sequence[Curve]) -> Line:
    ns = curves[0].ns
    means = [over_seeds([float(one.gold[:, i].mean()) for one in curves]) for i in range(len(ns))]
    return Line(label, [kl_of_best_of(n) for n in ns], [mean.mean for mean in means])
