"""The laws of over-optimisation (Gao et al., 2210.10760), asked of what was measured.

Of each reward model, by its ``Setting``, the gold that each seed came to at each place on the way:
n of the best of n, or steps of PPO; (seeds, places). Where gold is highest, the other seeds say: a
place picked for the values that are measured there would be high by chance too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from benchmarks.experiments.plots import Line, Panel
from benchmarks.experiments.reward_models import LAYERS, Setting, of_all_sizes, usual
from benchmarks.experiments.statistics import Array, Interval, over_seeds

Golds = Mapping[Setting, Array]
Found = TypeVar("Found")

HOLDS, PERHAPS, FAILS = "holds", "on the means, within chance", "does not hold"
ONE_SEED = "of one seed no interval is known"


def highest(gold: Array) -> int:
    """The place where the mean over seeds is highest."""
    return int(gold.mean(0).argmax())


def peaks(gold: Array) -> list[float]:
    """Of each seed its gold at the place that is best for the others. (One alone has no others.)"""
    if len(gold) == 1:
        return [float(gold.max())]
    return [float(row[highest(np.delete(gold, at, 0))]) for at, row in enumerate(gold)]


def risen(gold: Array) -> Interval:
    """Gold at its highest above that of the first place."""
    return over_seeds(list(np.array(peaks(gold)) - gold[:, 0]))


def lost(gold: Array) -> Interval:
    """Gold at its highest above that of the last place."""
    return over_seeds(list(np.array(peaks(gold)) - gold[:, -1]))


def verdict(*differences: Interval) -> str:
    """Whether all are above 0, and whether these seeds can tell."""
    if any(one.low != one.low for one in differences):
        return ONE_SEED
    if all(one.low > 0 for one in differences):
        return HOLDS
    return PERHAPS if all(one.mean > 0 for one in differences) else FAILS


def told(change: Interval) -> str:
    """A difference with its sign and interval."""
    return f"{'+' * (change.mean >= 0)}{change.shown()}"


def turning(golds: Golds, weak: Setting, until: str) -> list[str]:
    """Whether gold rises and falls again: by ``weak``, which is named beforehand, by the best
    taught, and by how many of the others. ``until``: how far each was followed.
    """
    turns = {setting: verdict(risen(gold), lost(gold)) for setting, gold in golds.items()}
    best = whole(golds)[-1]
    others = [setting for setting in golds if setting not in (weak, best)]
    turned = [setting.shown for setting in others if turns[setting] == HOLDS]
    return [
        f"{who} ({setting.shown}) gold rises and falls again up to {until}: {turns[setting]} "
        f"({risen(golds[setting]).shown()} up, {lost(golds[setting]).shown()} down)."
        for who, setting in (("By the weak reward model", weak), ("By the best taught", best))
    ] + [
        f"Of the {len(others)} others it holds for {len(turned)} (by chance it would for about one "
        f"in 30){': ' * bool(turned)}{'; '.join(turned)}."
    ]


def ordered(golds: Golds) -> list[str]:
    """Whether gold, at its highest and in the end, rises with rankings and size, and falls with
    errors.
    """
    claims = []
    for what, of in {"Peak gold": peaks, "Gold in the end": in_the_end}.items():
        found = {setting: of(gold) for setting, gold in golds.items()}
        claims += [
            *_rising(f"{what} rises with rankings", found, whole(found), "{0.rankings}"),
            *_rising(f"{what} rises with size", found, of_all_sizes(found), "{0.layers} layers"),
            *_noise(what, found),
        ]
    return claims


def in_the_end(gold: Array) -> list[float]:
    """Of each seed its gold at the last place."""
    return [float(value) for value in gold[:, -1]]


def whole(settings: Iterable[Setting]) -> list[Setting]:
    """The whole model at the usual rate of errors, by rankings."""
    found = [setting for setting in usual(settings) if setting.layers == LAYERS]
    return sorted(found, key=lambda setting: setting.rankings)


OfSeeds = Mapping[Setting, Sequence[float]]


def _rising(what: str, found: OfSeeds, settings: Sequence[Setting], name: str) -> list[str]:
    """Whether each next one has more, and how much the last has above the first, seed by seed."""
    if len(settings) < 2:
        return []
    means = [float(np.mean(found[setting])) for setting in settings]
    first, last = (found[setting] for setting in (settings[0], settings[-1]))
    more = over_seeds([b - a for a, b in zip(first, last, strict=True)])
    shown = ", ".join(
        f"{name.format(s)}: {mean:.2f}" for s, mean in zip(settings, means, strict=True)
    )
    in_order = verdict(more) if all(np.diff(means) > 0) else FAILS
    return [f"{what}: {in_order} ({shown}; in all {told(more)})."]


def _noise(what: str, found: OfSeeds) -> list[str]:
    """What the same rankings with the fewest errors come to, less that with the most."""
    fewest, most = (pick(setting.noise for setting in found) for pick in (min, max))
    drops = {
        clean: over_seeds([b - a for a, b in zip(found[noisy], found[clean], strict=True)])
        for clean in found
        if clean.noise == fewest != most and (noisy := replace(clean, noise=most)) in found
    }
    if not drops:
        return []
    shown = "; ".join(f"{clean.rankings} rankings: {told(drop)}" for clean, drop in drops.items())
    return [
        f"{what} is higher with errors at e = {fewest:g} than at {most:g}: "
        f"{verdict(*drops.values())} ({shown})."
    ]


def panels(found: Mapping[Setting, Found], draw: Callable[[str, Found, int], Line]) -> list[Panel]:
    """One panel by rankings, one by size, one by errors. ``draw`` makes a line of a label, of what
    was found and of a style: the same reward model looks the same in every panel.
    """
    complete = [setting for setting in found if setting.layers == LAYERS]
    counts = [setting.rankings for setting in complete]
    # That at which most error rates were tried, the larger of equals.
    middle = max(counts, key=lambda count: (counts.count(count), count))
    compared = {
        "by rankings": whole(found),
        "by size": of_all_sizes(found),
        "by error rate": sorted(
            (setting for setting in complete if setting.rankings == middle), key=lambda s: s.noise
        ),
    }
    styles: dict[Setting, int] = {}
    return [
        Panel(
            title,
            [
                draw(setting.shown, found[setting], styles.setdefault(setting, len(styles)))
                for setting in settings
            ],
            {"SFT": 0.0},
        )
        for title, settings in compared.items()
    ]
