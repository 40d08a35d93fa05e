"""Every method of learning from the same rankings, side by side; with and without PPO-ptx.

For each seed: answers of the starter model to new prompts, rankings of a simulated labeler who
errs, one reward model on all of them. PPO, PPO-ptx, rejection sampling and RLOO learn from that
reward model on those prompts, DPO from the rankings themselves. Prompts, labeler and updates are
other ones with another seed.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.experiments.plots import Point, points
from benchmarks.experiments.policies import BASE, Examiner, Loop, Measured
from benchmarks.experiments.reward_models import (
    COMPLETIONS,
    NOISE,
    RANKINGS,
    TRAINING,
    Setting,
    Training,
)
from benchmarks.experiments.statistics import (
    Array,
    Interval,
    by_prompt,
    over_prompts,
    over_seeds,
    win_rates,
)
from benchmarks.experiments.world import MAX_NEW_TOKENS, Options, Page, Row, World

PTX_TEXTS = 400


@dataclass(frozen=True)
class Size:
    """``rankings``, of ``COMPLETIONS`` answers each, are what all methods learn from: the first of
    the ``sampled`` prompts that the experiments with reward models use too. Rejection sampling and
    the online methods answer the first ``prompts`` of theirs anew, the latter in ``steps`` of
    ``batch`` completions. Measured are ``answers`` to each of ``held_out`` prompts.
    """

    sampled: int = RANKINGS[-1]
    rankings: int = 2000
    prompts: int = 1000
    held_out: int = 256
    answers: int = 2
    steps: int = 64
    batch: int = 64


SMALL = Size(sampled=8, rankings=8, prompts=8, held_out=8, answers=2, steps=2, batch=16)

ONLINE = {"max_new_tokens": MAX_NEW_TOKENS}
# With a coefficient of 0.05, PPO found one family of tasks in which wrong answers were rewarded.
PPO = ONLINE | {"learning_rate": 3e-4, "kl_coef": 0.1, "epochs": 2}
# With the usual beta of 0.1, DPO left this SFT by 76 nats on one seed's rankings, for text that the
# base model found 147 times as perplexing.
DPO = {"epochs": 2, "beta": 0.3}
# A row of the table: its kind of run and its params. Whatever is not given is the default.
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "PPO": ("ppo", PPO),
    "PPO-ptx": ("ppo", PPO | {"ptx_ratio": 1.0, "ptx_coef": 1.0}),
    "rejection": ("rejection", {"n": 8, "epochs": 2}),
    "DPO": ("dpo", DPO),
    "RLOO": ("rloo", ONLINE | {"n": 4, "learning_rate": 3e-4, "kl_coef": 0.1}),
}
# What must hold of each of these, on the mean over seeds.
REACHING = ("PPO", "rejection", "DPO")
WIN, GAIN, PERPLEXITY = 0.65, 0.5, 1.5
START, BEFORE = "SFT", "base"


@dataclass(frozen=True)
class Seed:
    """``found``: what was measured of the start, the base model and each method, by name.
    ``rivals``: of some of them again, of another draw, to win against. ``asked``: what each of the
    held-out prompts says.
    """

    accuracy: float
    asked: Sequence[str]
    found: dict[str, Measured]
    rivals: dict[str, Measured]

    @property
    def start(self) -> Measured:
        return self.found[START]


def run(options: Options) -> Page:
    size = SMALL if options.small else Size()
    seeds = [compare(world, size) for world in options.worlds()]
    return Page(
        title="Five methods on the same rankings",
        text="\n\n".join([_setting(seeds, size), table(seeds), reach(seeds), ptx(seeds)]),
        figures={"methods": figure(seeds)},
    )


def compare(world: World, size: Size) -> Seed:
    loop = Loop(world)
    reward_model = strong_reward_model(loop, size)
    examiner = Examiner(loop, reward_model, size.held_out, size.answers)
    found = {START: examiner.of(loop.start), BEFORE: examiner.of(BASE)}
    for name in METHODS:
        found[name] = examiner.of(learn(loop, size, name, reward_model))
        print(f"seed {world.seed}: {name} measured", file=sys.stderr, flush=True)
    accuracy = loop.accuracy(reward_model, size.held_out)
    rivals = {START: examiner.of(loop.start, draw=1)}
    return Seed(accuracy, world.asked(size.held_out), found, rivals)


def learn(loop: Loop, size: Size, name: str, reward_model: Path) -> Path:
    """The policy of one method."""
    kind, params = METHODS[name]
    if params.keys() >= ONLINE.keys():
        params = params | {"steps": size.steps, "batch_size": size.batch}
    data: dict[str, Sequence[Row]] = {"prompts": loop.world.training(size.prompts)}
    if kind == "dpo":
        data = {"comparisons": rankings(loop, size)}
    if "ptx_coef" in params:
        data |= {"ptx": loop.texts(PTX_TEXTS)}
    return loop.policy(f"method-{name}", kind, data, params, reward_model=reward_model)


def rankings(loop: Loop, size: Size) -> list[dict[str, Any]]:
    """The labels that all methods share."""
    return Training(loop.world, size.sampled).comparisons(Setting(size.rankings))


def strong_reward_model(loop: Loop, size: Size) -> Path:
    """That of all rankings, on which the methods are compared."""
    return Training(loop.world, size.sampled).model(Setting(size.rankings))


def table(seeds: Sequence[Seed]) -> str:
    """Markdown: a row a method; mean over seeds, and half the width of its 95 % interval."""
    columns: dict[str, Callable[[Measured, Measured], float]] = {
        "gold": lambda found, start: found.mean_gold,
        "gain (SD)": lambda found, start: found.gain_over(start),
        "reward": lambda found, start: found.reward,
        "KL to SFT": lambda found, start: found.kl,
        "tokens": lambda found, start: found.length,
        "ended": lambda found, start: found.ended,
        "perplexity ×": lambda found, start: found.perplexity_over(start),
        "text loss": lambda found, start: found.text_loss,
    }
    heads = ["method", "win rate against SFT", "by prompts", *columns]
    lines = ["| " + " | ".join(heads) + " |", "|---|" + "---|" * (len(heads) - 1)]
    for name in seeds[0].found:
        prompts = wins_by_prompts(seeds, name)
        cells = [wins_by_seeds(seeds, name).shown(3), f"{prompts.low:.3f} to {prompts.high:.3f}"]
        for of in columns.values():
            values = [of(seed.found[name], seed.start) for seed in seeds]
            cells.append(over_seeds(values).shown(3 if of is columns["text loss"] else 2))
        if name == START:
            cells[:2] = ["", ""]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def asked(seeds: Sequence[Seed]) -> list[str]:
    """What the held-out prompts of all seeds say."""
    return [text for seed in seeds for text in seed.asked]


def wins(seed: Seed, name: str) -> Array:
    """Of each held-out prompt: the share of pairs of answers that the method wins."""
    return win_rates(seed.found[name].gold, seed.rivals[START].gold)


def wins_by_seeds(seeds: Sequence[Seed], name: str) -> Interval:
    return over_seeds([float(wins(seed, name).mean()) for seed in seeds])


def wins_by_prompts(seeds: Sequence[Seed], name: str) -> Interval:
    """Bootstrap over the prompts of all seeds."""
    rates = [np.array([rate]) for seed in seeds for rate in wins(seed, name)]
    return over_prompts(by_prompt(asked(seeds), rates))


def gains(seeds: Sequence[Seed], name: str) -> Interval:
    return over_seeds([seed.found[name].gain_over(seed.start) for seed in seeds])


def reach(seeds: Sequence[Seed]) -> str:
    """What was aimed at, and whether the means over seeds are there."""
    lines = [
        f"Aimed at, on the mean over seeds: a win rate of {WIN} or more, a gain of {GAIN} or more, "
        f"and answers that the base model finds at most {PERPLEXITY} times as perplexing as SFT's.",
        "",
    ]
    for name in REACHING:
        win, gain = wins_by_seeds(seeds, name).mean, gains(seeds, name).mean
        times = statistics.fmean(seed.found[name].perplexity_over(seed.start) for seed in seeds)
        verdicts = [
            f"win rate {win:.3f} ({_verdict(win >= WIN)})",
            f"gain {gain:.2f} ({_verdict(gain >= GAIN)})",
            f"perplexity × {times:.2f} ({_verdict(times <= PERPLEXITY)})",
        ]
        lines.append(f"- {name}: {', '.join(verdicts)}")
    return "\n".join(lines)


def _verdict(reached: bool) -> str:
    return "reached" if reached else "not reached"


def ptx(seeds: Sequence[Seed]) -> str:
    """The pretraining mix against plain PPO, seed by seed: paired, as they share all else."""
    rises = {
        name: over_seeds([s.found[name].text_loss - s.start.text_loss for s in seeds])
        for name in ("PPO", "PPO-ptx")
    }
    kept = over_seeds([s.found["PPO"].text_loss - s.found["PPO-ptx"].text_loss for s in seeds])
    price = over_seeds([s.found["PPO-ptx"].mean_gold - s.found["PPO"].mean_gold for s in seeds])
    return f"""## What the pretraining mix keeps

Nats a token on held-out texts that nobody sampled, of the kind that the mix is drawn from. PPO
raises their loss by {rises["PPO"].shown(3)} over SFT's, PPO-ptx by {rises["PPO-ptx"].shown(3)}:
seed by seed, PPO-ptx is {kept.shown(3)} below PPO. Gold of PPO-ptx less that of PPO:
{price.shown(2)} points."""


def figure(seeds: Sequence[Seed]) -> Figure:
    methods = [name for name in seeds[0].found if name not in (START, BEFORE)]
    panels = {
        "Win rate against SFT": [
            _point(name, wins_by_seeds(seeds, name), [wins(s, name).mean() for s in seeds])
            for name in methods
        ],
        "Gain in gold": [
            _point(name, gains(seeds, name), [s.found[name].gain_over(s.start) for s in seeds])
            for name in methods
        ],
    }
    return points(panels, x=["share of pairs", "standard deviations"], references=[0.5, 0.0])


def _point(name: str, found: Interval, dots: Sequence[float]) -> Point:
    known = found.low == found.low  # of one seed no interval is known
    low, high = (found.low, found.high) if known else (found.mean, found.mean)
    return Point(name, found.mean, low, high, dots)


def _setting(seeds: Sequence[Seed], size: Size) -> str:
    accuracies = over_seeds([seed.accuracy for seed in seeds])
    spread = over_seeds([seed.start.spread for seed in seeds])
    unlike = len(set(asked(seeds)))
    return f"""Each of {len(seeds)} seeds goes through the loop from the starter model, SFT.
{COMPLETIONS} of its answers to each of {size.rankings} prompts are ranked by a simulated labeler
who is to turn {NOISE:.0%} of the comparisons round. The reward model learns from these rankings in
{TRAINING["epochs"]} epochs; of pairs of SFT's answers to held-out prompts it orders
{accuracies.shown(3)} as gold does. DPO learns from the rankings themselves, the
others on {size.prompts} of their prompts; online methods do {size.steps} steps of {size.batch}
completions.

Measured on {size.held_out} prompts that no method saw, {size.answers} answers each at temperature
1, by gold, which training never reads. A win: higher gold than an answer of SFT to the same prompt,
drawn independently; ties count half. Gain: in standard deviations of gold over all of SFT's
held-out answers ({spread.shown(2)} points of 10). ± is half of Student's 95 % interval over seeds;
"by prompts" is the 95 % interval of a bootstrap over the {unlike} prompts of all seeds that are
unlike each other. The base model is what SFT was fine-tuned from."""
