"""The laws of over-optimisation (Gao et al., 2210.10760), asked of what was measured.

Of each reward model, by its ``Setting``, two figures a seed: gold at its highest, and what of it is
lost as one chooses, or learns, further by that reward model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from benchmarks.experiments.plots import Line, Panel
from benchmarks.experiments.reward_models import LAYERS, Setting, of_all_sizes, usual
from benchmarks.experiments.statistics import Interval, over_seeds

Peaks = Mapping[Setting, Sequence[float]]
Found = TypeVar("Found")


def turning(lost: Mapping[Setting, Interval], weak: Setting, until: str) -> list[str]:
    """Whether gold falls again: by ``weak``, which is named beforehand, by the best taught, and by
    how many of the others. ``until``: how far each was followed.
    """
    best = most(lost)
    others = [setting for setting in lost if setting not in (weak, best)]
    falling = [setting.shown for setting in others if lost[setting].low > 0]
    turns = "turns" if lost[best].low > 0 else f"no turn is seen up to {until}"
    return [
        f"Gold has an interior maximum for the weak reward model ({weak.shown}): "
        f"{holds(lost[weak].low > 0)} (lost {lost[weak].shown()}).",
        f"For the best taught ({best.shown}) {turns} (lost {lost[best].shown()}).",
        f"Of the {len(others)} between them, {len(falling)} lose by an interval that leaves out 0 "
        f"(about one in 30 would by chance){': ' * bool(falling)}{'; '.join(falling)}.",
    ]


def ordered(peaks: Peaks) -> list[str]:
    """Whether gold at its highest rises with rankings and size, and falls with errors."""
    whole = sorted(
        (setting for setting in usual(peaks) if setting.layers == LAYERS),
        key=lambda setting: setting.rankings,
    )
    return [
        f"Peak gold rises with rankings: {_rising(peaks, whole, lambda s: f'{s.rankings}')}",
        "Peak gold rises with size: "
        + _rising(peaks, of_all_sizes(peaks), lambda s: f"{s.layers} layers"),
        *_noise(peaks),
    ]


def most(settings: Sequence[Setting] | Mapping[Setting, object]) -> Setting:
    """The whole model that learned from the most rankings."""
    return max(usual(settings), key=lambda setting: (setting.layers, setting.rankings))


def _rising(peaks: Peaks, settings: Sequence[Setting], name: Callable[[Setting], str]) -> str:
    """Whether each next one has more, and how much the last has above the first, seed by seed."""
    means = [float(np.mean(peaks[setting])) for setting in settings]
    first, last = (peaks[setting] for setting in (settings[0], settings[-1]))
    more = over_seeds([b - a for a, b in zip(first, last, strict=True)])
    shown = ", ".join(f"{name(s)}: {mean:.2f}" for s, mean in zip(settings, means, strict=True))
    return f"{holds(all(np.diff(means) > 0))} on the means ({shown}); in all {told(more)}."


def _noise(peaks: Peaks) -> list[str]:
    """Peak gold of the same rankings with the most errors, less that with the fewest."""
    noises = [setting.noise for setting in peaks]
    both = [
        (setting, replace(setting, noise=max(noises)))
        for setting in peaks
        if setting.noise == min(noises) and replace(setting, noise=max(noises)) in peaks
    ]
    changes = {
        few: over_seeds([b - a for a, b in zip(peaks[few], peaks[many], strict=True)])
        for few, many in both
        if few != many
    }
    if not changes:
        return []
    lower = all(change.mean < 0 for change in changes.values())
    shown = "; ".join(f"{few.rankings} rankings: {told(c)}" for few, c in changes.items())
    return [
        f"Errors at e = {max(noises):g} instead of {min(noises):g} lower peak gold: "
        f"{holds(lower)} on the means ({shown})."
    ]


def panels(found: Mapping[Setting, Found], draw: Callable[[str, Found, int], Line]) -> list[Panel]:
    """One panel by rankings, one by size, one by errors. ``draw`` makes a line of a label, of what
    was found and of a style: the same reward model looks the same in every panel.
    """
    whole = [setting for setting in found if setting.layers == LAYERS]
    counts = [setting.rankings for setting in whole]
    # That at which most error rates were tried, the larger of equals.
    middle = max(counts, key=lambda count: (counts.count(count), count))
    compared = {
        "by rankings": {f"{s.rankings} rankings": s for s in usual(whole)},
        "by size": {f"{s.layers} layers": s for s in of_all_sizes(found)},
        "by error rate": {f"e = {s.noise:g}": s for s in whole if s.rankings == middle},
    }
    styles: dict[Setting, int] = {}
    return [
        Panel(
            title,
            [
                draw(label, found[setting], styles.setdefault(setting, len(styles)))
                for label, setting in settings.items()
            ],
            {"SFT": 0.0},
        )
        for title, settings in compared.items()
    ]


def told(change: Interval) -> str:
    """A difference with its interval, and whether these seeds can tell it from none."""
    chance = "" if change.low > 0 or change.high < 0 else ", within chance"
    return f"{'+' * (change.mean >= 0)}{change.shown()}{chance}"


def holds(fact: bool) -> str:
    return "holds" if fact else "does not hold"
