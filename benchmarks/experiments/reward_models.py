"""The reward models of the experiments: how each is trained, and what it says of answers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from benchmarks import STARTER
from benchmarks.experiments.world import Options, Row, World, gold, hash_of
from benchmarks.jobs import model_of
from benchmarks.world_data import pairs_of, ranked
from training.jobs.world import score
from training.rlhf.models import load_reward_model, parameter_count
from training.rlhf.scoring import Scorer

Array = NDArray[np.float64]

LAYERS = 4
NOISE = 0.1
RANKINGS = (125, 500, 2000, 4000)
COMPLETIONS = 9
# On 2,000 rankings of one seed these order 0.891 of the pairs of other prompts as gold does. One
# epoch: 0.877; in it a rate of 3e-4 0.874, of 1e-3 0.849, and that with 8 prompts a batch 0.868.
TRAINING = {"epochs": 2, "batch_prompts": 2, "learning_rate": 5e-4}
WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Setting:
    """How a reward model is trained: on the rankings of so many prompts, each of ``COMPLETIONS``
    answers, by a labeler who turns the share ``noise`` of comparisons round, from the first
    ``layers`` layers of the SFT model.

    ``member``: models that differ in nothing else see the same rankings in another order.
    """

    rankings: int
    layers: int = LAYERS
    noise: float = NOISE
    heads: int = 1
    member: int = 0

    @property
    def name(self) -> str:
        parts = [f"reward-{self.rankings}", f"{self.layers}l", f"noise{self.noise:g}"]
        parts += [f"{self.heads}h"] * (self.heads > 1)
        return "-".join([*parts, f"m{self.member}"])

    @property
    def shown(self) -> str:
        """What tells it from the others of an experiment, for its page."""
        layers = f", {self.layers} of {LAYERS} layers" * (self.layers != LAYERS)
        return f"{self.rankings} rankings, e = {self.noise:g}{layers}"


# Few rankings by a labeler who often errs.
WEAK = Setting(RANKINGS[0], noise=0.25)


@dataclass(frozen=True)
class Grid:
    """Which reward models an experiment compares, and what they are measured on.

    ``most``: prompts sampled to train on. ``held_out`` prompts are answered ``COMPLETIONS`` times
    for accuracy, ``drawn`` of them ``draws`` times to take the best of n from. ``weak``, of which
    ensembles of ``members`` are made, is the one that over-optimisation is expected of.
    """

    settings: Sequence[Setting]
    most: int
    held_out: int
    drawn: int
    draws: int
    weak: Setting
    members: int

    @property
    def noises(self) -> list[float]:
        return sorted({setting.noise for setting in self.settings})


def grid(options: Options) -> Grid:
    """The whole model by rankings, then by noise on fewer rankings, then smaller ones."""
    if options.small:
        settings = [Setting(8), Setting(8, noise=0.25), Setting(8, layers=1)]
        return Grid(settings, 8, held_out=12, drawn=4, draws=32, weak=settings[1], members=2)
    settings = [Setting(count) for count in RANKINGS]
    settings += [Setting(count, noise=e) for e in (0.0, 0.25) for count in RANKINGS[:2]]
    settings += [Setting(RANKINGS[1], layers=size) for size in (1, 2)]
    return Grid(settings, RANKINGS[-1], held_out=192, drawn=24, draws=384, weak=WEAK, members=4)


def of_all_sizes(settings: Iterable[Setting]) -> list[Setting]:
    """Those that differ in size alone, at the usual noise, from the smallest to the whole model."""
    at_usual = usual(settings)
    rankings = min(at_usual, key=lambda setting: setting.layers).rankings
    return sorted((s for s in at_usual if s.rankings == rankings), key=lambda s: s.layers)


def usual(settings: Iterable[Setting]) -> list[Setting]:
    """Those at the usual rate of errors."""
    return [setting for setting in settings if setting.noise == NOISE]


@dataclass(frozen=True)
class Training:
    """The pool of one seed that all settings draw from: ``most`` prompts with their answers."""

    world: World
    most: int

    @cached_property
    def _prompts(self) -> list[dict[str, Any]]:
        return self.world.training(self.most)

    @cached_property
    def _answers(self) -> dict[str, list[dict[str, Any]]]:
        return self.world.completions(self._prompts, COMPLETIONS)

    def comparisons(self, setting: Setting) -> list[dict[str, Any]]:
        """The rankings that a setting learns from: those of the first prompts."""
        wanted = self._prompts[: setting.rankings]
        rows = [row for prompt in wanted for row in self._answers[prompt["prompt"]]]
        return list(ranked(wanted, rows, self.world.labeler(setting.noise)))

    def pairs(self, setting: Setting) -> int:
        """How many comparisons a setting learns from."""
        rows = self.comparisons(setting)
        return sum(len(row["rankings"][0]["pairs"]) for row in rows)

    def model(self, setting: Setting) -> Path:
        """The reward model of a setting, trained by a run of the program.

        All held-out prompts are the experiment's own, so that the run holds out none.
        """
        params = TRAINING | {"heads": setting.heads, "validation_share": 0.0}
        job = self.world.reward_model(
            setting.name,
            self.comparisons(setting),
            params,
            model=body(self.world.root, setting.layers),
            seed=self.world.seed + 1000 * setting.member,
        )
        return model_of(job)


def body(root: Path, layers: int) -> Path:
    """The starter SFT model, or what its first layers alone are, written into ``root``."""
    if layers == LAYERS:
        return STARTER
    folder = root / f"body-{layers}l-{hash_of(STARTER)}"
    if not (folder / WEIGHTS).is_file():
        shutil.copytree(STARTER, folder, ignore=shutil.ignore_patterns(WEIGHTS), dirs_exist_ok=True)
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        config["num_hidden_layers"] = layers
        (folder / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
        weights = load_file(STARTER / WEIGHTS)
        cut = tuple(f"model.layers.{number}." for number in range(layers, LAYERS))
        kept = {name: weight for name, weight in weights.items() if not name.startswith(cut)}
        save_file(kept, folder / WEIGHTS, {"format": "pt"})
    return folder


def size_of(model: Path) -> int:
    """The number of parameters of a reward model."""
    return parameter_count(load_reward_model(str(model)))


@dataclass(frozen=True)
class Answers:
    """Answers of the SFT model to held-out prompts, as many to each: P prompts, N answers."""

    name: str
    prompts: Sequence[Row]
    rows: Sequence[Sequence[Row]]

    @classmethod
    def of(cls, world: World, name: str, prompts: int, count: int) -> Answers:
        wanted = world.held_out(prompts)
        made = world.completions(wanted, count, name=name)
        return cls(name, wanted, [made[prompt["prompt"]] for prompt in wanted])

    @cached_property
    def gold(self) -> Array:
        """(P, N) points of gold."""
        return np.array(
            [
                [gold(prompt["messages"], row["text"]) for row in rows]
                for prompt, rows in zip(self.prompts, self.rows, strict=True)
            ]
        )

    def differences(self, pairs: Sequence[NDArray[np.int64]]) -> list[list[frozenset[str]]]:
        """For each prompt and pair the components of gold in which the two answers differ."""
        found = []
        for prompt, rows, judged in zip(self.prompts, self.rows, pairs, strict=True):
            parts = [score(prompt["messages"], row["text"]).components for row in rows]
            found.append([_unlike(parts[winner], parts[loser]) for winner, loser in judged])
        return found

    def scores(self, model: Path, pessimism: float = 0.0) -> Array:
        """(P, N) scores of a reward model, kept beside it. Answers that are alike score alike."""
        size = f"{len(self.prompts)}x{len(self.rows[0])}"
        kept = model / f"scores-{self.name}-{size}-{pessimism:g}.npy"
        if kept.is_file():
            found: Array = np.load(kept)
            return found
        scorer = Scorer.load(str(model), pessimism)
        keys = [
            (number, row["text"], row["finish_reason"])
            for number, rows in enumerate(self.rows)
            for row in rows
        ]
        place = {key: index for index, key in enumerate(dict.fromkeys(keys))}
        texts = [
            scorer.renderer.render(
                self.prompts[number]["messages"], {"text": text, "finish_reason": reason}
            )
            for number, text, reason in place
        ]
        unique = scorer.score(texts).numpy().astype(np.float64)
        scores: Array = unique[[place[key] for key in keys]].reshape(len(self.prompts), -1)
        np.save(kept, scores)
        return scores

    def pairs(self, world: World, noise: float) -> list[NDArray[np.int64]]:
        """For each prompt (pairs, 2): winner and loser by a labeler who never saw a training label.

        With noise 0 that is gold, ties under the just noticeable difference left out.
        """
        found = []
        for prompt, rows in zip(self.prompts, self.rows, strict=True):
            texts = {str(index): row["text"] for index, row in enumerate(rows)}
            pairs, _ = pairs_of(world.labeler(noise).judge(prompt["messages"], texts).ranks)
            found.append(np.array(pairs, dtype=np.int64).reshape(-1, 2))
        return found


def _unlike(one: Mapping[str, float], other: Mapping[str, float]) -> frozenset[str]:
    names = {*one, *other}
    return frozenset(name for name in names if one.get(name, 0.0) != other.get(name, 0.0))


def right(scores: Array, pairs: Sequence[NDArray[np.int64]]) -> list[Array]:
    """For each prompt, of each pair 1 where the winner scores higher, 0.5 for equal scores."""
    return [
        (1 + np.sign(row[found[:, 0]] - row[found[:, 1]])) / 2
        for row, found in zip(scores, pairs, strict=True)
    ]
