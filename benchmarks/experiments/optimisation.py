"""PPO pushed on: gold and reward against KL, for a weak reward model and a strong one.

Without a KL penalty, PPO spends as many nats as it can. What it spends buys reward all along; gold
follows up to a point, which lies further out the better the reward model (Gao et al., 2210.10760).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from benchmarks.experiments import methods
from benchmarks.experiments.plots import Line, Panel, lines
from benchmarks.experiments.policies import Examiner, Loop
from benchmarks.experiments.reward_models import COMPLETIONS, NOISE, RANKINGS, Setting, Training
from benchmarks.experiments.statistics import Interval, over_seeds
from benchmarks.experiments.world import MAX_NEW_TOKENS, Options, Page, hash_of
from benchmarks.jobs import new_job
from training.jobs.events import EventWriter
from training.jobs.folder import JobFolder, write_json
from training.jobs.params import PpoParams
from training.rlhf import ppo
from training.rlhf.job import Job
from training.rlhf.learner import new_learner
from training.rlhf.roles import load_models
from training.rlhf.sample import fit_prompts

FULL = methods.Size()
WEAK = Setting(RANKINGS[0], noise=0.25)


@dataclass(frozen=True)
class Size:
    """``every``: steps between measurements; ``weak``: how the weak reward model is trained, the
    strong one has the rankings of ``methods``.
    """

    methods: methods.Size = FULL
    weak: Setting = WEAK
    steps: int = 48
    every: int = 8
    held_out: int = 128


SMALL = Size(
    methods.SMALL, weak=dataclasses.replace(WEAK, rankings=8), steps=2, every=1, held_out=8
)
# Two coefficients are fitted to so many points at least, each of which spent so many nats.
FITTED = 5
SPENT = 0.05
# A high rate and small batches: to see where it leads, in few minutes.
PUSHED = {
    "batch_size": 32,
    "minibatch_size": 16,
    "epochs": 2,
    "learning_rate": 5e-4,
    "max_new_tokens": MAX_NEW_TOKENS,
}


@dataclass(frozen=True)
class Moment:
    """The policy after so many steps: means over held-out prompts."""

    step: int
    kl: float
    reward: float
    gold: float
    perplexity: float
    length: float


def weak_reward_model(loop: Loop, size: Size) -> Path:
    """Few rankings by a labeler who often errs."""
    return Training(loop.world, size.methods.sampled).model(size.weak)


def trace(loop: Loop, size: Size, name: str, reward_model: Path, kl_coef: float) -> list[Moment]:
    """A PPO run in this process, its policy measured on the way; read back if it was run before."""
    folder = new_job(
        loop.world.root / f"{name}-{kl_coef:g}",
        "ppo",
        loop.start,
        {"prompts": loop.world.training(size.methods.prompts)},
        PUSHED | {"steps": size.steps, "kl_coef": kl_coef},
        seed=loop.world.seed,
        reward_model=reward_model,
    )
    asked = [(folder.root / "job.json").read_text(), hash_of(loop.start), hash_of(reward_model)]
    key = hashlib.sha256("".join(asked).encode()).hexdigest()[:12]
    path = folder.root / f"moments-{size.every}-{size.held_out}-{key}.json"
    if not path.is_file():
        examiner = Examiner(loop, reward_model, size.held_out, answers=1)
        moments = [dataclasses.asdict(moment) for moment in _moments(folder, examiner, size.every)]
        write_json(path, {"moments": moments})
    return [Moment(**moment) for moment in json.loads(path.read_text())["moments"]]


def _moments(folder: JobFolder, examiner: Examiner, every: int) -> Iterator[Moment]:
    """``training.rlhf.ppo.run``, without checkpoints and artifact."""
    job = Job(folder, folder.read_spec(), EventWriter(folder.events))
    params = job.spec.params
    assert isinstance(params, PpoParams)
    models = load_models(job, params)
    room = models.scorer.room(models.renderer, models.policy, models.value)
    wanted = [(row, ()) for row in job.rows()]
    prompts = fit_prompts(job, models.renderer, room, wanted, params.max_new_tokens, models.scorer)
    learner = new_learner(models, params)
    start = examiner.of(Path(job.spec.model))
    going = True
    while going:
        if learner.step % every == 0:
            found = examiner.measure(models.policy)
            yield Moment(
                learner.step,
                found.kl,
                found.reward - start.reward,
                found.gain_over(start),
                found.perplexity_over(start),
                found.length,
            )
        going = ppo.iterate(job, learner, prompts, params)


Traces = Mapping[str, Sequence[Sequence[Moment]]]


def run(options: Options) -> Page:
    size = SMALL if options.small else Size()
    found: dict[str, list[list[Moment]]] = {"weak": [], "strong": []}
    accuracies: dict[str, list[float]] = {"weak": [], "strong": []}
    for world in options.worlds():
        loop = Loop(world)
        models = {
            "weak": weak_reward_model(loop, size),
            "strong": methods.strong_reward_model(loop, size.methods),
        }
        for name, model in models.items():
            found[name].append(trace(loop, size, f"pushed-{name}", model, 0.0))
            accuracies[name].append(loop.accuracy(model, size.held_out))
    return Page(
        title="PPO pushed on: gold against KL",
        text="\n\n".join([_setting(size, accuracies), table(found), fits(found)]),
        figures={"optimisation": figure(found)},
    )


def means(traces: Sequence[Sequence[Moment]], name: str) -> list[float]:
    """Of each measured step: the mean over seeds of one figure."""
    return [
        over_seeds([getattr(moment, name) for moment in moments]).mean
        for moments in zip(*traces, strict=True)
    ]


def peak(traces: Sequence[Sequence[Moment]]) -> int:
    """The place, among the measured steps, where the mean gold is highest."""
    return int(np.argmax(means(traces, "gold")))


def lost(traces: Sequence[Sequence[Moment]]) -> Interval:
    """Gold at its highest less that at the end, over seeds; where it is highest, the others say."""
    found = []
    for at, moments in enumerate(traces):
        others = [*traces[:at], *traces[at + 1 :]] or traces
        found.append(moments[peak(others)].gold - moments[-1].gold)
    return over_seeds(found)


def table(found: Traces) -> str:
    """The highest mean gold on the way, and what is left of it at the end."""
    heads = "| reward model | when | step | KL | reward | gold (SD) | perplexity × | tokens |"
    rows = [heads, "|---|---|---|---|---|---|---|---|"]
    for name, traces in found.items():
        for when, place in (("best gold", peak(traces)), ("last", -1)):
            moments = [moments[place] for moments in traces]
            cells = [
                over_seeds([getattr(moment, of) for moment in moments]).shown(decimals)
                for of, decimals in (
                    ("kl", 1),
                    ("reward", 2),
                    ("gold", 2),
                    ("perplexity", 2),
                    ("length", 1),
                )
            ]
            rows.append(f"| {name} | {when} | {moments[0].step} | {' | '.join(cells)} |")
    rows += ["", "The best step is picked on the seeds it is shown for, which favours it a little."]
    told = [f"{name} {lost(traces).shown()}" for name, traces in found.items()]
    rows += [f"Gold lost from the step that is best for the other seeds: {', '.join(told)}."]
    return "\n".join(rows)


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
        "Fitted to all measured points, gold = d (a − b log d) with d = √KL (2210.10760), whose "
        "highest point lies at d = exp(a/b − 1):",
        "",
        "| reward model | points | a | b | R² | KL of the highest point |",
        "|---|---|---|---|---|---|",
    ]
    for name, traces in found.items():
        spent = [moment for moments in traces for moment in moments if moment.kl > SPENT]
        cells = [str(len(spent)), "", "", "", "too few points"]
        if len(spent) >= FITTED:
            a, b, explained = fit(spent)
            cells[1:] = f"{a:.2f}", f"{b:.2f}", f"{explained:.2f}", _highest(a, b, spent)
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _highest(a: float, b: float, spent: Sequence[Moment]) -> str:
    most = max(moment.kl for moment in spent)
    if b <= 0 or 2 * (a / b - 1) > math.log(most):
        return f"beyond the {most:.0f} nats that were spent"
    return f"{math.exp(2 * (a / b - 1)):.1f}"


def figure(found: Traces) -> Figure:
    """Gold and reward against the root of KL, a panel a reward model."""
    return lines(
        [
            Panel(
                f"{name} reward model",
                [
                    line(label, traces, of, style)
                    for style, (label, of) in enumerate((("gold", "gold"), ("reward", "reward")))
                ],
                levels={"SFT": 0.0},
            )
            for name, traces in found.items()
        ],
        x="√KL to SFT, √nats",
        y="gain over SFT, standard deviations",
        share_y=False,
    )


def line(label: str, traces: Sequence[Sequence[Moment]], of: str, style: int) -> Line:
    """Means over seeds at the same step, with their intervals where there are several."""
    spread = [
        over_seeds([getattr(moment, of) for moment in moments])
        for moments in zip(*traces, strict=True)
    ]
    roots = [math.sqrt(max(0.0, kl)) for kl in means(traces, "kl")]
    known = len(traces) > 1
    return Line(
        label,
        roots,
        [found.mean for found in spread],
        [found.low for found in spread] if known else None,
        [found.high for found in spread] if known else None,
        style,
    )


def _setting(size: Size, accuracies: Mapping[str, Sequence[float]]) -> str:
    weak, strong = (over_seeds(accuracies[name]).shown(3) for name in ("weak", "strong"))
    seeds = len(accuracies["weak"])
    return f"""PPO without a KL penalty: {size.steps} steps of {PUSHED["batch_size"]} episodes, a
learning rate of {PUSHED["learning_rate"]:g}, {PUSHED["epochs"]} epochs, {seeds} seeds. SFT, prompts
and the strong reward model are those of the page of methods ({size.methods.rankings} rankings of
{COMPLETIONS} answers, {NOISE:.0%} of the comparisons turned round). The weak one
knows {size.weak.rankings} of them, {size.weak.noise:.0%} turned round. Of pairs of
SFT's answers to held-out prompts, they order {strong} and {weak} as gold does.

Every {size.every} steps the policy answers {size.held_out} held-out prompts at temperature 1. Gold
is the gain over SFT in standard deviations of SFT's gold. Reward is likewise less SFT's; its unit
is the standard deviation of the answers that its model was trained on. ± is half of Student's 95 %
interval over seeds."""
