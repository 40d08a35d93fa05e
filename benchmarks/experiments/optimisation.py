"""PPO pushed on: gold and reward against KL, by reward models of more rankings, layers and errors.

Without a KL penalty, PPO spends as many nats as it can. It buys reward with them; gold follows up
to a point. After Gao et al. (2210.10760) that lies further out the better the reward model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from benchmarks.experiments import laws
from benchmarks.experiments.plots import Line, lines
from benchmarks.experiments.policies import Loop
from benchmarks.experiments.pushed import (
    PUSHED,
    SMALL,
    Moment,
    Size,
    golds,
    means,
    reward_model,
    trace,
)
from benchmarks.experiments.reward_models import (
    COMPLETIONS,
    Setting,
)
from benchmarks.experiments.statistics import over_seeds
from benchmarks.experiments.world import Options, Page

# Two coefficients are fitted to so many points at least, each of which spent so many nats.
FITTED = 5
SPENT = 0.05

AXES = {of: f"{of}, gain over SFT, SD" for of in ("gold", "reward")}

Traces = Mapping[Setting, Sequence[Sequence[Moment]]]
Accuracies = Mapping[Setting, Sequence[float]]


def run(options: Options) -> Page:
    size = SMALL if options.small else Size()
    found: dict[Setting, list[list[Moment]]] = {setting: [] for setting in size.settings}
    accuracies: dict[Setting, list[float]] = {setting: [] for setting in size.settings}
    for world in options.worlds():
        loop = Loop(world)
        for setting in size.settings:
            model = reward_model(loop, size, setting)
            accuracies[setting].append(loop.accuracy(model, size.held_out))
            found[setting].append(trace(loop, size, setting, kl_coef=0.0))
    parts = [_setting(size, len(options.seeds)), table(found, accuracies), claims(found, size)]
    return Page(
        title="PPO pushed on: gold against KL",
        text="\n\n".join([*parts, fits(found)]),
        figures={"steps": by_step(found)} | {of: by_kl(found, of) for of in AXES},
    )


def table(found: Traces, accuracies: Accuracies) -> str:
    """The highest mean gold on the way, and what is left of it at the end."""
    rows = [
        "| reward model | accuracy | best at step (KL) | gold there | last gold | lost "
        "| last reward | last KL | perplexity × | tokens |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for setting, traces in found.items():
        best = [moments[laws.highest(golds(traces))] for moments in traces]
        last = [moments[-1] for moments in traces]
        cells = [
            setting.shown,
            over_seeds(accuracies[setting]).shown(3),
            f"{best[0].step} ({np.mean([moment.kl for moment in best]):.1f})",
            over_seeds([moment.gold for moment in best]).shown(),
            over_seeds([moment.gold for moment in last]).shown(),
            laws.lost(golds(traces)).shown(),
            over_seeds([moment.reward for moment in last]).shown(),
            over_seeds([moment.kl for moment in last]).shown(1),
            over_seeds([moment.perplexity for moment in last]).shown(),
            over_seeds([moment.length for moment in last]).shown(1),
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def claims(found: Traces, size: Size) -> str:
    """Gao's laws, each with what was measured and whether it holds."""
    risen = all(
        moments[-1].reward > moments[0].reward for traces in found.values() for moments in traces
    )
    measured = {setting: golds(traces) for setting, traces in found.items()}
    told = [
        "Reward is higher in the end than at first in every run: "
        f"{laws.HOLDS if risen else laws.FAILS}.",
        *laws.turning(measured, size.weak, f"step {size.steps}"),
        *laws.ordered(measured),
    ]
    return "\n".join(["## What holds", "", *(f"- {claim}" for claim in told)])


def fit(moments: Sequence[Moment]) -> tuple[float, float, float]:
    """a and b of Gao's R(d) = d (a - b log d), d = sqrt(KL), by least squares; and R squared."""
    d = np.sqrt([moment.kl for moment in moments])
    gold = np.array([moment.gold for moment in moments])
    terms = np.stack([d, -d * np.log(d)], 1)
    (a, b), *_ = np.linalg.lstsq(terms, gold, rcond=None)
    left = gold - terms @ np.array([a, b])
    return float(a), float(b), float(1 - (left**2).mean() / gold.var())


def fits(found: Traces) -> str:
    rows = [
        "## Gao's form",
        "",
        "Fitted to all measured points, gold = d (a − b log d) with d = √KL (2210.10760), whose "
        "highest point lies at d = exp(a/b − 1). KL is the mean over one answer to each prompt, "
        "which a few answers far from SFT decide; that spoils the fit as much as any fault of the "
        "form:",
        "",
        "| reward model | points | a | b | R² | KL of the highest point |",
        "|---|---|---|---|---|---|",
    ]
    for setting, traces in found.items():
        spent = [moment for moments in traces for moment in moments if moment.kl > SPENT]
        cells = [str(len(spent)), "", "", "", "too few points"]
        if len(spent) >= FITTED:
            a, b, explained = fit(spent)
            where = highest(a, b, max(moment.kl for moment in spent))
            told = where if explained > 0 else "a flat line fits better"
            cells[1:] = f"{a:.2f}", f"{b:.2f}", f"{explained:.2f}", told
        rows.append(f"| {setting.shown} | {' | '.join(cells)} |")
    return "\n".join(rows)


def highest(a: float, b: float, spent: float) -> str:
    """KL of the highest point of Gao's form; ``spent``: the furthest that was measured, in nats."""
    if b <= 0:
        return "none: no maximum of this form" if a <= 0 else f"beyond the {spent:.0f} nats spent"
    place = 2 * (a / b - 1)
    return f"{math.exp(place):.1f}" if place <= math.log(spent) else f"beyond the {spent:.0f} spent"


def by_step(found: Traces) -> Figure:
    """Gold against the steps, with intervals over seeds."""

    def line(label: str, traces: Sequence[Sequence[Moment]], style: int) -> Line:
        gold = [over_seeds(list(values)) for values in golds(traces).T]
        known = len(traces) > 1
        return Line(
            label,
            [moment.step for moment in traces[0]],
            [mean.mean for mean in gold],
            [mean.low for mean in gold] if known else None,
            [mean.high for mean in gold] if known else None,
            style,
        )

    return lines(laws.panels(found, line), x="steps", y=AXES["gold"])


def by_kl(found: Traces, of: str) -> Figure:
    """Gold, or reward, against the root of KL: means over seeds at the same step."""

    def line(label: str, traces: Sequence[Sequence[Moment]], style: int) -> Line:
        roots = [[math.sqrt(max(0.0, moment.kl)) for moment in moments] for moments in traces]
        return Line(label, list(np.mean(roots, 0)), means(traces, of), style=style)

    return lines(laws.panels(found, line), x="√KL to SFT, √nats", y=AXES[of])


def _setting(size: Size, seeds: int) -> str:
    return f"""PPO without a KL penalty: {size.steps} steps of {PUSHED["batch_size"]} episodes, a
learning rate of {PUSHED["learning_rate"]:g}, {PUSHED["epochs"]} epochs, {seeds} seeds. SFT and
prompts are those of the page of methods, reward models those of
[reward-accuracy](reward-accuracy.md), on rankings of {COMPLETIONS} answers; accuracy is the share
of pairs of SFT's answers to held-out prompts that they order as gold does.

Every {size.every} steps the policy answers {size.held_out} held-out prompts at temperature 1. Gold
is the gain over SFT in standard deviations of SFT's gold. Reward is likewise less SFT's; its unit
is the standard deviation of the answers that its model was trained on. ± is half of Student's 95 %
interval over seeds. The best step is picked on the seeds it is shown for, which favours it a
little; lost is gold at the step that is best for the other seeds less gold at the end."""
