"""Two rounds against one at the same number of labels, by DPO.

One round learns from all rankings of SFT's own answers. Two rounds learn from half of them; then
the policy that came out answers the other prompts, its answers are ranked by the same labeler, and
learning goes on from that policy. Prompts, labels and updates are as many either way.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np

from benchmarks.experiments import methods
from benchmarks.experiments.methods import METHODS, SMALL, START, Seed, Size
from benchmarks.experiments.policies import Examiner, Loop
from benchmarks.experiments.reward_models import COMPLETIONS, NOISE
from benchmarks.experiments.statistics import (
    Interval,
    by_prompt,
    over_prompts,
    over_seeds,
    win_rates,
)
from benchmarks.experiments.world import Options, Page, World

ONE, FIRST, SECOND = "one round", "two rounds, after the first", "two rounds, after the second"


def run(options: Options) -> Page:
    size = SMALL if options.small else Size()
    seeds = [compare(world, size) for world in options.worlds()]
    return Page(
        title="Two rounds against one",
        text="\n\n".join([_setting(seeds, size), methods.table(seeds), verdict(seeds)]),
        figures={"rounds": methods.figure(seeds)},
    )


def compare(world: World, size: Size) -> Seed:
    loop = Loop(world)
    reward_model = methods.strong_reward_model(loop, size)
    examiner = Examiner(loop, reward_model, size.held_out, size.answers)
    kind, params = METHODS["DPO"]
    training = world.training(size.rankings)
    early, late = training[: size.rankings // 2], training[size.rankings // 2 :]
    names = {row["prompt"] for row in early}
    of_start = [row for row in methods.rankings(loop, size) if row["prompt"] in names]
    first = loop.policy("round-1", kind, {"comparisons": of_start}, params)
    of_first = loop.rankings(late, COMPLETIONS, NOISE, writer=first)
    second = loop.policy("round-2", kind, {"comparisons": of_first}, params, start=first)
    one = methods.learn(loop, size, "DPO", reward_model)
    print(f"seed {world.seed}: both rounds done", file=sys.stderr, flush=True)
    policies = {START: loop.start, ONE: one, FIRST: first, SECOND: second}
    found = {name: examiner.of(policy) for name, policy in policies.items()}
    rivals = {START: examiner.of(loop.start, draw=1), ONE: examiner.of(one, draw=1)}
    accuracy = loop.accuracy(reward_model, size.held_out)
    return Seed(accuracy, world.asked(size.held_out), found, rivals)


def verdict(seeds: Sequence[Seed]) -> str:
    """Two rounds against one, answer by answer and on the mean."""
    wins = [win_rates(seed.found[SECOND].gold, seed.rivals[ONE].gold) for seed in seeds]
    by_seeds = over_seeds([float(won.mean()) for won in wins])
    rates = [np.array([rate]) for won in wins for rate in won]
    by_prompts = over_prompts(by_prompt(methods.asked(seeds), rates))
    more = over_seeds([s.found[SECOND].mean_gold - s.found[ONE].mean_gold for s in seeds])
    return (
        f"Two rounds win {by_seeds.shown(3)} of the pairs against one (by prompts "
        f"{by_prompts.low:.3f} to {by_prompts.high:.3f}), and {more.shown()} points of gold more: "
        f"{_told(more)}."
    )


def _told(more: Interval) -> str:
    if not (more.low > 0 or more.high < 0):
        return "no difference that these seeds can tell from chance"
    return "more than chance, by these seeds" if more.low > 0 else "less, by these seeds"


def _setting(seeds: Sequence[Seed], size: Size) -> str:
    return f"""{len(seeds)} seeds, with SFT, prompts, labelers and columns of the page of methods.
One round: DPO on {size.rankings} rankings of {COMPLETIONS} answers of SFT. Two
rounds: DPO on the first half of them; the other {size.rankings - size.rankings // 2} prompts are
answered by the policy that came out, {COMPLETIONS} times each, and ranked; DPO goes on from that
policy, which is now the reference. Labels, prompts and updates are as many as in one round; what
two rounds cost beside is the wait for the labels in between."""
