"""The KL coefficient on a weak reward model: too small, and gold collapses while reward rises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from benchmarks.experiments import laws
from benchmarks.experiments.plots import Line, Panel, lines
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
from benchmarks.experiments.statistics import over_seeds
from benchmarks.experiments.world import Options, Page

COEFFICIENTS = (0.0, 0.05, 0.2)

Traces = Mapping[float, Sequence[Sequence[Moment]]]


def run(options: Options) -> Page:
    size = SMALL if options.small else Size()
    found: dict[float, list[list[Moment]]] = {beta: [] for beta in COEFFICIENTS}
    accuracies = []
    for world in options.worlds():
        loop = Loop(world)
        model = reward_model(loop, size, size.weak)
        accuracies.append(loop.accuracy(model, size.held_out))
        for beta in COEFFICIENTS:
            found[beta].append(trace(loop, size, size.weak, beta))
    return Page(
        title="The KL coefficient on a weak reward model",
        text="\n\n".join([_setting(size, accuracies), table(found), verdict(found)]),
        figures={"kl-coef": figure(found)},
    )


def table(found: Traces) -> str:
    """The last policy of each coefficient, and the best gold on the way."""
    heads = ["β", "best gold (SD)", "at step", "last gold (SD)", "last reward", "last KL"]
    rows = [
        f"| {' | '.join([*heads, 'perplexity ×', 'tokens'])} |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for beta, traces in found.items():
        best = [moments[laws.highest(golds(traces))] for moments in traces]
        last = [moments[-1] for moments in traces]
        cells = [
            f"{beta:g}",
            over_seeds([moment.gold for moment in best]).shown(),
            str(best[0].step),
            over_seeds([moment.gold for moment in last]).shown(),
            over_seeds([moment.reward for moment in last]).shown(),
            over_seeds([moment.kl for moment in last]).shown(1),
            over_seeds([moment.perplexity for moment in last]).shown(),
            over_seeds([moment.length for moment in last]).shown(1),
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def verdict(found: Traces) -> str:
    """What the law says of the ends of the range, as it was measured, seed by seed."""
    none, most = (golds(found[beta]) for beta in (COEFFICIENTS[0], COEFFICIENTS[-1]))
    below = over_seeds(list(-none[:, -1]))
    kept, won = over_seeds(list(most[:, -1])), over_seeds(list(most[:, -1] - none[:, -1]))
    return "\n".join(
        [
            "## What holds",
            "",
            "- Without a penalty gold collapses, and ends below SFT's: "
            f"{laws.verdict(laws.lost(none), below)} (it loses {laws.lost(none).shown()} from the "
            f"step that is best for the other seeds, and ends {below.shown()} below SFT).",
            f"- With β = {COEFFICIENTS[-1]:g} it ends above SFT's, and above what it comes to "
            f"without: {laws.verdict(kept, won)} ({laws.told(kept)} and {laws.told(won)}, from the "
            f"same reward models and prompts; lost {laws.lost(most).shown()}).",
        ]
    )


def figure(found: Traces) -> Figure:
    """Gold and reward against the steps, a line a coefficient."""
    return lines(
        [
            Panel(
                title,
                [
                    Line(
                        f"β = {beta:g}",
                        [moment.step for moment in traces[0]],
                        means(traces, of),
                        style=style,
                    )
                    for style, (beta, traces) in enumerate(found.items())
                ],
                levels={"SFT": 0.0},
            )
            for title, of in (("gold", "gold"), ("reward", "reward"))
        ],
        x="steps",
        y="gain over SFT, standard deviations",
        share_y=False,
    )


def _setting(size: Size, accuracies: Sequence[float]) -> str:
    return f"""PPO as on the page of optimisation: {size.steps} steps of {PUSHED["batch_size"]}
episodes, a learning rate of {PUSHED["learning_rate"]:g}, {PUSHED["epochs"]} epochs. The weak reward
model knows {size.weak.rankings} rankings by a labeler who is to turn {size.weak.noise:.0%} of the
comparisons round, and orders {over_seeds(accuracies).shown(3)} of held-out pairs as gold does. Each
of {len(COEFFICIENTS)} KL coefficients starts from the same policy, {len(accuracies)} seeds.
Lines are means over seeds; ± is half of Student's 95 % interval over seeds. Units as on that page.
The best step is picked on the seeds it is shown for, which favours it a little."""
