"""The reads of training: which data there is, and which models."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db.models import Prefetch, QuerySet

from labeling import selectors as labeling_selectors
from labeling.models import Comparison, Completion, Pool, Prompt, Ranking, Round, User
from training.errors import ModelNotFound, NoTrainingData, RunNotFound
from training.models import ModelVersion, Promotion, Run

Row = dict[str, Any]


def run_of(run_id: int) -> Run:
    run = Run.objects.select_related("pool", "model", "made").filter(pk=run_id).first()
    if run is None:
        raise RunNotFound(f"There is no run {run_id}.")
    return run


def model_of(model_id: int) -> ModelVersion:
    model = ModelVersion.objects.filter(pk=model_id).first()
    if model is None:
        raise ModelNotFound(f"There is no model {model_id}.")
    return model


def model_named(name_or_id: str | int, kind: ModelVersion.Kind | None = None) -> ModelVersion:
    """By id or by name. Raises ModelNotFound, which lists what there is of the kind."""
    models = ModelVersion.objects.filter(kind=kind) if kind else ModelVersion.objects.all()
    found = labeling_selectors.by_id_or_name(models, str(name_or_id))
    if found is None:
        names = ", ".join(models.values_list("name", flat=True)[:20]) or "none yet"
        what = f"{kind} model" if kind else "model"
        raise ModelNotFound(f"There is no {what} {str(name_or_id)!r}; there are: {names}.")
    return found


def current_promotion() -> Promotion | None:
    return Promotion.objects.select_related("model", "round").order_by("-round").first()


def latest_reward_model(pool: Pool | None) -> ModelVersion | None:
    """The newest reward model trained on the pool, else the newest of all."""
    rewards = ModelVersion.objects.filter(kind=ModelVersion.Kind.REWARD).order_by("-id")
    of_pool = rewards.filter(made_by__pool=pool).first() if pool else None
    return of_pool or rewards.first()


def lineage(model: ModelVersion) -> list[ModelVersion]:
    """The model and what it was made from, the oldest first."""
    chain = lineages()[model.pk]
    models = ModelVersion.objects.in_bulk(chain)
    return [models[pk] for pk in chain]


def lineages() -> dict[int, list[int]]:
    """For each model the ids of what it was made from, the oldest first, and its own."""
    parents = dict(ModelVersion.objects.order_by("pk").values_list("pk", "parent_id"))
    chains: dict[int, list[int]] = {}
    for pk, parent in parents.items():
        # A model is made after its parent, so the parent's chain is there already.
        chains[pk] = [*(chains[parent] if parent else []), pk]
    return chains


# --- training data --------------------------------------------------------------------------------


def rows_of(run: Run, name: str) -> Iterator[Row]:
    """What a run reads under the name of one of its data files (``training.jobs.spec.data_of``)."""
    if name == "comparisons":
        measured = run.kind == Run.Kind.REWARD
        return comparison_groups(run.pool, run.labelers, with_held_out=measured)
    if name == "completions":
        return past_completions(run.pool)
    if name == "ptx":
        return pretraining_rows(run.pool, run.labelers)
    if name == "demonstrations":
        return demonstrations(run.pool, _writers(run))
    if run.kind == Run.Kind.SAMPLE:
        assert run.pool is not None
        return prompts_to_sample(run.pool, run.round)
    return prompts(run.pool)


def _writers(run: Run) -> str:
    """Whose demonstrations: those of the labelers that the run names. Only a reward model for which
    simulated ones are named finds its zero on people's where there are any.
    """
    if run.kind != Run.Kind.REWARD or run.labelers == Run.Labelers.PEOPLE:
        return run.labelers
    by_people = next(demonstrations(run.pool, Run.Labelers.PEOPLE), None) is not None
    return Run.Labelers.PEOPLE if by_people else Run.Labelers.SIMULATED


def training_rankings(pool: Pool | None, labelers: str) -> QuerySet[Ranking]:
    """Counted rankings of the training group; the held-out group never trains a model."""
    rankings = labeling_selectors.counted_rankings(pool, labelers)
    return rankings.filter(labeler__labeler_group=User.LabelerGroup.TRAINING)


def preferences(pool: Pool | None, labelers: str) -> QuerySet[Comparison]:
    """Comparisons that prefer one side: ties carry no gradient."""
    rankings = training_rankings(pool, labelers)
    return Comparison.objects.filter(ranking__in=rankings).exclude(
        preferred=Comparison.Preferred.TIE
    )


def comparison_groups(
    pool: Pool | None, labelers: str, *, with_held_out: bool = False
) -> Iterator[Row]:
    """One row a task: its K completions, and the pairs of each of its rankings.

    Ties are only counted; pairs of equal texts, which no model can tell apart, are left for the
    trainer to drop and count. ``with_held_out``
    adds the rankings of held-out labelers, marked as such: a reward model is measured on them.
    """
    wanted = labeling_selectors.counted_rankings if with_held_out else training_rankings
    rankings = (
        wanted(pool, labelers)
        .order_by("task_id", "id")
        .select_related("task__prompt", "labeler")
        .prefetch_related(
            "comparisons",
            Prefetch("task__completions", Completion.objects.order_by("number")),
        )
    )
    for task, group in itertools.groupby(
        rankings.iterator(chunk_size=200), key=lambda ranking: ranking.task
    ):
        completions = list(task.completions.all())
        yield {
            **prompt_row(task.prompt),
            "completions": [_completion_row(completion) for completion in completions],
            "rankings": [_ranking_row(ranking, completions) for ranking in group],
        }


def _ranking_row(ranking: Ranking, completions: list[Completion]) -> Row:
    index_of = {completion.pk: index for index, completion in enumerate(completions)}
    pairs, ties = [], 0
    for pair in ranking.comparisons.all():
        a, b = index_of[pair.a_id], index_of[pair.b_id]
        if pair.preferred == Comparison.Preferred.TIE:
            ties += 1
        else:
            pairs.append([a, b] if pair.preferred == Comparison.Preferred.A else [b, a])
    return {
        "labeler": str(ranking.labeler_id),
        "held_out": ranking.labeler.labeler_group == User.LabelerGroup.HELD_OUT,
        "pairs": pairs,
        "ties": ties,
    }


def _completion_row(completion: Completion) -> Row:
    return {
        "text": completion.text,
        "token_ids": completion.token_ids,
        "finish_reason": completion.finish_reason,
    }


def demonstrations(pool: Pool | None, labelers: str) -> Iterator[Row]:
    """Those of the training group. Imported ones count as people's."""
    for row in labeling_selectors.demonstration_rows(pool, labelers, for_training=True):
        yield {
            "prompt": str(row["prompt"]),
            "author": row["prompt_author"],
            "messages": row["messages"],
            "completion": row["completion"],
        }


def past_completions(pool: Pool | None) -> Iterator[Row]:
    """Every completion written so far for the prompts of a pool, by whatever model."""
    written = Completion.objects.select_related("task").order_by("id")
    of_pool = written.filter(task__prompt__pool=pool) if pool else written
    for row in of_pool.iterator(chunk_size=500):
        yield {"prompt": str(row.task.prompt_id), **_completion_row(row)}


def pretraining_rows(pool: Pool | None, labelers: str) -> Iterator[Row]:
    """Text whose likelihood PPO is to keep: the corpus of PODIUM_PTX_CORPUS, or else the
    demonstrations of ``labelers``.
    """
    if not settings.PTX_CORPUS:
        yield from demonstrations(pool, labelers)
        return
    where = f"PODIUM_PTX_CORPUS ({settings.PTX_CORPUS})"
    try:
        with Path(settings.PTX_CORPUS).open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    where = f"PODIUM_PTX_CORPUS ({settings.PTX_CORPUS}), line {number}"
                    yield json.loads(line)
    except (OSError, ValueError) as error:
        raise NoTrainingData(f"{where}: {error}") from error


def prompts(pool: Pool | None) -> Iterator[Row]:
    rows = pool.prompts.all() if pool else Prompt.objects.all()
    for prompt in rows.order_by("id").iterator(chunk_size=500):
        yield prompt_row(prompt)


def prompts_to_sample(pool: Pool, round_: Round) -> Iterator[Row]:
    indexes = list(range(pool.completions_per_prompt))
    for prompt in labeling_selectors.prompts_to_sample(pool, round_).iterator(chunk_size=500):
        yield {**prompt_row(prompt), "indexes": indexes}


def prompt_row(prompt: Prompt) -> Row:
    return {"prompt": str(prompt.pk), "author": prompt.author, "messages": prompt.messages}
