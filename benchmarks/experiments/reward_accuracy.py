"""How often a reward model is right: by rankings, by its size, by its labelers' errors.

It is right about two held-out answers when it scores the better one higher. Which is better is
asked twice: of gold, and of a labeler who errs as often as the one it learnt from. The latter
cannot exceed the noise ceiling 1 - e and, as far as errors fall on all pairs alike, is

    a (1 - 2e) + e        a: accuracy against gold, e: the labeler's error rate

e is counted on the very pairs, as gold would have them: labelers are asked to err at a rate, over
answers that are no ties, and come near it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from benchmarks.experiments.laws import whole
from benchmarks.experiments.plots import Line, Panel, lines
from benchmarks.experiments.reward_models import (
    COMPLETIONS,
    LAYERS,
    NOISE,
    Answers,
    Array,
    Grid,
    Setting,
    Training,
    grid,
    of_all_sizes,
    right,
    size_of,
)
from benchmarks.experiments.statistics import Interval, by_prompt, over_prompts, over_seeds
from benchmarks.experiments.world import Options, Page, World
from training.jobs.world import recognise

# The share of the noise ceiling that a reward model is to reach.
REACH = 0.9


@dataclass(frozen=True)
class Found:
    """One reward model on the held-out prompts of its seed.

    For each prompt, of each of its pairs, whether the model agrees: ``clean`` with gold, ``noisy``
    with a labeler who errs as its own; ``sound``: whether that labeler agrees with gold. ``alone``:
    whether the model agrees with gold on the pairs that differ in one component of gold and no
    other, by component. ``asked``, ``families``: of each prompt. ``pairs``: it was trained on.
    """

    clean: Sequence[Array]
    noisy: Sequence[Array]
    sound: Sequence[Array]
    alone: Mapping[str, Sequence[float]]
    asked: Sequence[str]
    families: Sequence[str]
    parameters: int
    pairs: int

    @property
    def clean_accuracy(self) -> float:
        return float(np.concatenate(self.clean).mean())

    @property
    def noisy_accuracy(self) -> float:
        return float(np.concatenate(self.noisy).mean())

    @property
    def ceiling(self) -> float:
        """The share of labels that gold itself agrees with: nothing can agree with more."""
        return float(np.concatenate(self.sound).mean())

    @property
    def of_ceiling(self) -> float:
        return self.noisy_accuracy / self.ceiling


Results = Mapping[Setting, Sequence[Found]]


def run(options: Options) -> Page:
    chosen = grid(options)
    found: dict[Setting, list[Found]] = {setting: [] for setting in chosen.settings}
    for world in options.worlds():
        for setting, measured in measure(world, chosen).items():
            found[setting].append(measured)
    figures = {"rankings": _by_rankings(found), "size": _by_size(found)}
    return Page("Accuracy of reward models", _text(found, chosen), figures)


def measure(world: World, chosen: Grid) -> dict[Setting, Found]:
    """Every reward model of one seed."""
    training = Training(world, chosen.most)
    answers = Answers.of(world, "held-out", chosen.held_out, COMPLETIONS)
    pairs = {noise: answers.pairs(world, noise) for noise in {0.0, *chosen.noises}}
    differences = answers.differences(pairs[0.0])
    families = [_family(prompt["messages"]) for prompt in answers.prompts]
    found = {}
    for setting in chosen.settings:
        model = training.model(setting)
        scores = answers.scores(model)
        clean = right(scores, pairs[0.0])
        found[setting] = Found(
            clean=clean,
            noisy=right(scores, pairs[setting.noise]),
            sound=right(answers.gold, pairs[setting.noise]),
            alone=_alone(clean, differences),
            asked=world.asked(chosen.held_out),
            families=families,
            parameters=size_of(model),
            pairs=training.pairs(setting),
        )
        shown = f"seed {world.seed}: {setting.name} {found[setting].clean_accuracy:.3f}"
        print(shown, file=sys.stderr, flush=True)
    return found


def _family(messages: Sequence[Mapping[str, str]]) -> str:
    known = recognise(messages)
    return known[0].name if known else ""


def _alone(
    clean: Sequence[Array], differences: Sequence[Sequence[frozenset[str]]]
) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for agreed, unlike in zip(clean, differences, strict=True):
        for agrees, names in zip(agreed, unlike, strict=True):
            if len(names) == 1:
                found.setdefault(min(names), []).append(float(agrees))
    return found


def _text(found: Results, chosen: Grid) -> str:
    runs = next(iter(found.values()))
    seeds, asked = len(runs), [text for one in runs for text in one.asked]
    unlike = len(set(asked))
    return "\n\n".join(
        [
            f"{seeds} seeds; each draws its own prompts, answers and labelers. Reward models start "
            "from the starter SFT model (or from its first layers alone) and are trained by the "
            f"`reward` kind on rankings of {COMPLETIONS} answers. They are measured on "
            f"{chosen.held_out} held-out prompts with {COMPLETIONS} answers each ({unlike} of "
            f"the {len(asked)} of all seeds are unlike each other). ± is half the 95 % interval "
            "over seeds (Student's t).",
            _table(found),
            _verdict(found),
            "## Noisy labels see less of what there is\n\n"
            "Accuracy against labelers who err at rate e should be a (1 - 2e) + e, a being the "
            "accuracy against gold and e counted on these very pairs. The difference is measured "
            "less expected, in points of accuracy, its interval by drawing the prompts of all "
            "seeds anew. The simulated labelers confuse near neighbours most, as people do; there "
            "a reward model is least sure too, so that an error costs it less than the formula "
            "says. The last column has the same difference for as many errors that fall on all "
            "pairs alike.",
            _identity(found),
            "## What is learnt first",
            _components(found),
            "## Where it is right",
            _families(found),
        ]
    )


def _table(found: Results) -> str:
    rows = [
        "| rankings | pairs | layers | parameters | e | accuracy, gold | accuracy, labels "
        "| ceiling | of the ceiling |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for setting, runs in found.items():
        clean = over_seeds([one.clean_accuracy for one in runs])
        noisy = over_seeds([one.noisy_accuracy for one in runs])
        ceiling = over_seeds([one.ceiling for one in runs])
        share = over_seeds([one.of_ceiling for one in runs])
        rows.append(
            f"| {setting.rankings} | {np.mean([one.pairs for one in runs]):.0f} "
            f"| {setting.layers} | {runs[0].parameters:,} | {setting.noise:g} | {clean.shown(3)} "
            f"| {noisy.shown(3)} | {ceiling.mean:.3f} | {share.shown(3)} |"
        )
    return "\n".join(rows)


def _verdict(found: Results) -> str:
    """What was aimed at, of the whole model by the most rankings at the usual rate of errors."""
    most = whole(found)[-1]
    share = over_seeds([one.of_ceiling for one in found[most]])
    reached = "reached" if share.mean >= REACH else "not reached"
    return (
        f"{REACH:g} of the noise ceiling is {reached} on the mean over seeds: {most.rankings} "
        f"rankings at e = {most.noise:g} come to {share.shown(3)}."
    )


def _identity(found: Results) -> str:
    rows = [
        "| rankings | layers | e (counted) | measured | expected | difference | within "
        "| drawn evenly |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for setting, runs in found.items():
        if setting.noise == 0:
            continue
        asked = [text for one in runs for text in one.asked]
        gap = _gap(asked, [(one.clean, one.noisy, one.sound) for one in runs])
        even = _gap(asked, [(one.clean, *_evenly(one)) for one in runs])
        measured = float(np.concatenate([row for one in runs for row in one.noisy]).mean())
        counted = 1 - float(np.concatenate([row for one in runs for row in one.sound]).mean())
        within = "yes" if gap.low <= 0 <= gap.high else "no"
        rows.append(
            f"| {setting.rankings} | {setting.layers} | {setting.noise:g} ({counted:.3f}) "
            f"| {measured:.3f} | {measured - gap.mean:.3f} "
            f"| {_signed(gap)} | {within} | {_signed(even)} |"
        )
    return "\n".join(rows)


def _signed(gap: Interval) -> str:
    return f"{gap.mean:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]"


def _evenly(one: Found) -> tuple[list[Array], list[Array]]:
    """``noisy`` and ``sound``, were each label turned round with one chance."""
    random = np.random.default_rng(0)
    sound = [(random.random(len(agreed)) < one.ceiling).astype(float) for agreed in one.clean]
    both = zip(sound, one.clean, strict=True)
    return [np.where(kept, agreed, 1 - agreed) for kept, agreed in both], sound


def _gap(
    asked: Sequence[str], seeds: Sequence[tuple[Sequence[Array], Sequence[Array], Sequence[Array]]]
) -> Interval:
    """Measured accuracy less a (1 - 2e) + e, over the prompts of all seeds.

    ``asked``: what they say. ``seeds``: the ``clean``, ``noisy`` and ``sound`` of each.
    """
    rows = [np.stack(of_prompt, 1) for seed in seeds for of_prompt in zip(*seed, strict=True)]

    def gap(drawn: Array) -> float:
        gold, labels, sound = drawn.mean(0)
        return float(labels - (gold * (2 * sound - 1) + 1 - sound))

    return over_prompts(by_prompt(asked, rows), gap)


def _components(found: Results) -> str:
    """Accuracy on pairs that differ in one component alone, of the weakest and the best taught."""
    by_rankings = whole(found)
    few, many = by_rankings[0], by_rankings[-1]
    names = sorted({name for one in found[many] for name in one.alone})
    rows = [
        "Accuracy against gold on pairs that differ in one component of gold alone, "
        f"e = {NOISE:g}, {LAYERS} layers, all seeds.\n",
        f"| component | pairs | {few.rankings} rankings | {many.rankings} rankings |",
        "|---|---|---|---|",
    ]
    for name in names:
        first, last = (
            [agrees for one in found[setting] for agrees in one.alone.get(name, ())]
            for setting in (few, many)
        )
        rows.append(f"| {name} | {len(last)} | {np.mean(first):.2f} | {np.mean(last):.2f} |")
    return "\n".join(rows)


def _families(found: Results) -> str:
    """Accuracy by family of tasks, of the best taught."""
    most = whole(found)[-1]
    runs = found[most]
    rows = [
        f"Accuracy against gold by family, {most.rankings} rankings, e = {NOISE:g}.\n",
        "| family | pairs | accuracy |",
        "|---|---|---|",
    ]
    for name in sorted(set(runs[0].families)):
        seeds = [
            np.concatenate([a for a, of in zip(one.clean, one.families, strict=True) if of == name])
            for one in runs
        ]
        accuracy = over_seeds([float(seed.mean()) for seed in seeds])
        rows.append(f"| {name} | {sum(map(len, seeds))} | {accuracy.shown(3)} |")
    return "\n".join(rows)


def _by_rankings(found: Results) -> Figure:
    """The whole model against noisy labels, beside their ceilings, and against gold."""
    noises = sorted({setting.noise for setting in found})
    of = {
        e: sorted(
            (s for s in found if (s.layers, s.noise) == (LAYERS, e)), key=lambda s: s.rankings
        )
        for e in noises
    }
    panels = {"noisy_accuracy": "against labels", "clean_accuracy": "against gold"}
    ceilings = {f"ceiling, e = {e:g}": 1 - e for e in noises}
    return lines(
        [
            Panel(
                title,
                [
                    _line(f"e = {e:g}", found, of[e], [s.rankings for s in of[e]], measure)
                    for e in noises
                ],
                ceilings if measure == "noisy_accuracy" else {},
            )
            for measure, title in panels.items()
        ],
        x="rankings",
        y="accuracy",
        log_x=True,
    )


def _by_size(found: Results) -> Figure:
    of = of_all_sizes(found)
    sizes = [found[setting][0].parameters / 1e6 for setting in of]
    line = _line(f"e = {NOISE:g}", found, of, sizes, "clean_accuracy")
    return lines(
        [Panel(f"{of[0].rankings} rankings", [line])],
        x="parameters, millions",
        y="accuracy against gold",
        log_x=True,
    )


def _line(
    label: str, found: Results, settings: Sequence[Setting], x: Sequence[float], measure: str
) -> Line:
    means = [over_seeds([getattr(one, measure) for one in found[s]]) for s in settings]
    return Line(
        label,
        x,
        [mean.mean for mean in means],
        [mean.low for mean in means],
        [mean.high for mean in means],
    )
