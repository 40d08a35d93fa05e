"""PPO pushed on without mercy, and its policies measured on the way."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.experiments import methods
from benchmarks.experiments.policies import Examiner, Loop
from benchmarks.experiments.reward_models import RANKINGS, WEAK, Setting, Training
from benchmarks.experiments.statistics import Array, over_seeds
from benchmarks.experiments.world import MAX_NEW_TOKENS, hash_of
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


@dataclass(frozen=True)
class Size:
    """``every``: steps between measurements on ``held_out`` prompts. ``settings``: how the reward
    models are trained, the weak and the best among them.
    """

    methods: methods.Size = FULL
    settings: Sequence[Setting] = (
        WEAK,
        Setting(RANKINGS[0]),
        Setting(RANKINGS[1], noise=WEAK.noise),
        Setting(RANKINGS[1], layers=1),
        Setting(RANKINGS[1]),
        Setting(FULL.rankings),
    )
    weak: Setting = WEAK
    steps: int = 48
    every: int = 8
    held_out: int = 128


FEW = Setting(methods.SMALL.rankings)
FEW_WRONG = dataclasses.replace(FEW, noise=WEAK.noise)
SMALL = Size(
    methods.SMALL,
    (FEW_WRONG, FEW, dataclasses.replace(FEW, layers=1)),
    FEW_WRONG,
    steps=2,
    every=1,
    held_out=8,
)
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


def reward_model(loop: Loop, size: Size, setting: Setting) -> Path:
    return Training(loop.world, size.methods.sampled).model(setting)


def trace(loop: Loop, size: Size, setting: Setting, kl_coef: float) -> list[Moment]:
    """A PPO run in this process, its policy measured on the way; read back if it was run before."""
    model = reward_model(loop, size, setting)
    folder = new_job(
        loop.world.root / f"pushed-{setting.name}-{kl_coef:g}",
        "ppo",
        loop.start,
        {"prompts": loop.world.training(size.methods.prompts)},
        PUSHED | {"steps": size.steps, "kl_coef": kl_coef},
        seed=loop.world.seed,
        reward_model=model,
    )
    asked = [(folder.root / "job.json").read_text(), hash_of(loop.start), hash_of(model)]
    key = hashlib.sha256("".join(asked).encode()).hexdigest()[:12]
    path = folder.root / f"moments-{size.every}-{size.held_out}-{key}.json"
    if not path.is_file():
        examiner = Examiner(loop, model, size.held_out, answers=1)
        moments = [dataclasses.asdict(moment) for moment in _moments(folder, examiner, size.every)]
        write_json(path, {"moments": moments})
        print(f"seed {loop.world.seed}: {folder.root.name} done", file=sys.stderr, flush=True)
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


def means(traces: Sequence[Sequence[Moment]], name: str) -> list[float]:
    """Of each measured step: the mean over seeds of one figure."""
    return [
        over_seeds([getattr(moment, name) for moment in moments]).mean
        for moments in zip(*traces, strict=True)
    ]


def golds(traces: Sequence[Sequence[Moment]]) -> Array:
    """(seeds, moments)."""
    return np.array([[moment.gold for moment in moments] for moments in traces])
