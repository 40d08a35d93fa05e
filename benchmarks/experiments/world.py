"""What the experiments share: prompts, completions, rankings and jobs of one seed, kept on disk.

A ``World`` is one seed. Its prompts to train on and its held-out prompts have none in common, and
fewer are always the first of more: so the first 500 of 4,000 prompts, with the first 4 of their 6
completions, are a smaller experiment of the same draw. Everything that takes long is a job of the
real program, in a folder that is used again when the same is asked for, of the same models; a job
that was killed goes on where it stood.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import STARTER
from benchmarks.jobs import model_of, new_job, run
from benchmarks.world_data import good_answers, prompts, text_of
from training.jobs.folder import JobFolder, sha256_of_file, write_json
from training.jobs.world import SimulatedLabeler, score
from training.rlhf.sample import read_completions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = Mapping[str, Any]

# Worlds are drawn far from the text that the starter model was trained on.
FIRST = 1_000_000
MAX_NEW_TOKENS = 64
# Beside a job's own file: what all that the job has made so far was made for.
MADE_FOR = "made_for.json"
# Prompts that are completed at once.
AT_ONCE = 32
# Demonstrations that set a reward model's zero.
GOOD_ANSWERS = 64


@dataclass(frozen=True)
class Options:
    """How an experiment is run. ``small``: only to see that it works, in less than a minute."""

    seeds: Sequence[int]
    small: bool
    keep: Path

    def worlds(self) -> list[World]:
        return [World(seed, self.keep / f"seed-{seed}") for seed in self.seeds]


@dataclass(frozen=True)
class Page:
    """What an experiment found. ``figures`` by a short name, shown in this order above ``text``."""

    title: str
    text: str
    figures: Mapping[str, Figure] = field(default_factory=dict)


@dataclass(frozen=True)
class World:
    """One seed of the starter world, and the folder of its jobs."""

    seed: int
    root: Path

    def draw(self, number: int) -> int:
        """The seed of one of the draws of this world, of which there are less than 1,000."""
        return FIRST + 1000 * self.seed + number

    def held_out(self, count: int) -> list[dict[str, Any]]:
        """Prompts to measure on."""
        return prompts(self.draw(2), count, held_out=True)

    def asked(self, count: int) -> list[str]:
        """What the prompts to measure on say, by which some are alike."""
        return [text_of(row["messages"]) for row in self.held_out(count)]

    def training(self, count: int) -> list[dict[str, Any]]:
        """Prompts to train on."""
        return prompts(self.draw(0), count)

    def completions(
        self, wanted: Sequence[Row], count: int, *, name: str = "", model: Path = STARTER
    ) -> dict[str, list[dict[str, Any]]]:
        """``count`` completions of each prompt at temperature 1, by the prompt's name.

        ``name`` tells the folder from others of the same size.
        """
        rows = [{**row, "indexes": list(range(count))} for row in wanted]
        job = self.job(
            f"sample-{name}{'-' * bool(name)}{len(rows)}x{count}",
            "sample",
            {"prompts": rows},
            {"max_new_tokens": MAX_NEW_TOKENS, "batch_prompts": AT_ONCE},
            model=model,
        )
        found: dict[str, list[dict[str, Any]]] = {row["prompt"]: [] for row in wanted}
        for row in read_completions(model_of(job)):
            found[row["prompt"]].append(row)
        return found

    def labeler(self, noise: float) -> SimulatedLabeler:
        return SimulatedLabeler(seed=self.seed, noise=noise)

    def reward_model(
        self,
        name: str,
        comparisons: Sequence[Row],
        params: Mapping[str, Any],
        *,
        model: Path = STARTER,
        seed: int | None = None,
    ) -> JobFolder:
        """A finished reward run; ``benchmarks.jobs.model_of`` it is the model."""
        good = good_answers(self.draw(1), GOOD_ANSWERS)
        data = {"comparisons": comparisons, "demonstrations": good}
        return self.job(name, "reward", data, params, model=model, seed=seed)

    def job(
        self,
        name: str,
        kind: str,
        data: Mapping[str, Iterable[Row]],
        params: Mapping[str, Any],
        *,
        model: Path = STARTER,
        reward_model: Path | None = None,
        seed: int | None = None,
    ) -> JobFolder:
        """The job ``name``, run to its end unless it was before.

        What one of that name made for something else, or of other models, is thrown away.

        Raises:
            SystemExit: it failed; the end of its log is shown.
        """
        root = self.root / name
        folder = new_job(
            root,
            kind,
            model,
            data,
            params,
            seed=self.seed if seed is None else seed,
            reward_model=reward_model,
        )
        _forget_unless_made_for(folder, [one for one in (model, reward_model) if one])
        if folder.read_result() is None:
            run(folder, kind)
            shutil.rmtree(folder.checkpoints)
        return folder


def _forget_unless_made_for(folder: JobFolder, models: Sequence[Path]) -> None:
    """Throw away what was made for another job.json or of other weights: folders of models keep
    their names.

    What is asked is noted after what is old is gone: killed in between, it goes the next time.
    """
    note = folder.root / MADE_FOR
    asked = {
        "job": sha256_of_file(folder.root / "job.json"),
        "weights": [hash_of(model) for model in models],
    }
    if not note.is_file() or json.loads(note.read_text(encoding="utf-8")) != asked:
        _forget(folder)
        write_json(note, asked)


def hash_of(model: Path) -> str:
    """Of a model's weights."""
    return sha256_of_file(model / "model.safetensors")[:12]


def _forget(folder: JobFolder) -> None:
    """What a job made, not what it is to do."""
    for made in (folder.checkpoints, folder.artifacts):
        shutil.rmtree(made, ignore_errors=True)
    for written in (folder.result, folder.events, folder.log):
        written.unlink(missing_ok=True)
    folder.create()


def gold(messages: Sequence[Mapping[str, str]], text: str) -> float:
    """The gold score of an answer, in points."""
    return score(messages, text).total


def metrics_of(folder: JobFolder) -> dict[str, Any]:
    """The metrics that a finished job reported."""
    result = folder.read_result()
    assert result
    return dict(result["metrics"])
