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

from benchmarks.experiments import laws
from benchmarks.experiments.best_of_n import Curve, curve, gold_at, golds, peak_of
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
    found = _by_way([measure(world, chosen) for world in options.worlds()])
    text = "\n\n".join([_intro(options, chosen), _table(found), verdict(found)])
    return Page("Ensembles of reward models", text, {"gold": _figure(found, chosen.weak)})


def measure(world: World, chosen: Grid) -> dict[str, Curve]:
    """The curves of one seed."""
    weak = chosen.weak
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
        "of the starter SFT model to each at temperature 1. Reward models are of "
        f"{chosen.weak.shown}; an ensemble has {chosen.members} members, which see the same "
        "rankings: it costs no more labels than one. Single: each member chooses "
        "for itself, and gold is averaged over the members. Gold is in standard "
        "deviations under the SFT model. ± is half the 95 % interval over seeds (Student's t); "
        "above single is the difference seed by seed."
    )


def verdict(found: Curves) -> str:
    last, gain = found[SINGLE][0].ns[-1], gained(found, WORST)
    return (
        f"The worst case is better than a single one at n = {last}: "
        f"{laws.verdict(gain)} ({laws.told(gain)})."
    )


def _table(found: Curves) -> str:
    last = found[SINGLE][0].ns[-1]
    rows = [
        f"| chosen by | best n | gold there | gold at n = {last} | above single | lost |",
        "|---|---|---|---|---|---|",
    ]
    for way, curves in found.items():
        peak = peak_of(curves)
        above = gained(found, way).shown() if way != SINGLE else ""
        rows.append(
            f"| {way} | {peak} | {gold_at(curves, peak).shown()} | {gold_at(curves, last).shown()} "
            f"| {above} | {laws.lost(golds(curves)).shown()} |"
        )
    return "\n".join(rows)


def gained(found: Curves, way: str) -> Interval:
    """Gold at the largest n above that of a single member, seed by seed."""
    both = zip(found[way], found[SINGLE], strict=True)
    return over_seeds([float((ours.gold - one.gold)[:, -1].mean()) for ours, one in both])


def _figure(found: Curves, weak: Setting) -> Figure:
    drawn = [_line(way, curves) for way, curves in found.items()]
    return lines([Panel(weak.shown, drawn, {"SFT": 0.0})], x="KL, nats", y="gold, SD")


def _line(label: str, curves: Sequence[Curve]) -> Line:
    ns = curves[0].ns
    means = [over_seeds([float(one.gold[:, i].mean()) for one in curves]) for i in range(len(ns))]
    return Line(label, [kl_of_best_of(n) for n in ns], [mean.mean for mean in means])
