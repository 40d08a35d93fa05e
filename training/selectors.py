"""The reads of training: which data there is, and which models."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from django.db.models import Prefetch, QuerySet

from labeling import selectors as labeling_selectors
from labeling.models import Comparison, Completion, Pool, Prompt, Ranking, Round, User
from training.errors import ModelNotFound, RunNotFound
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


def comparison_groups(pool: Pool | None, labelers: str) -> Iterator[Row]:
    """One row a task: its K completions, and the pairs of each of its rankings.

    Ties are dropped, and pairs of equal texts, which no model can tell apart.
    """
    rankings = (
        training_rankings(pool, labelers)
        .order_by("task_id", "id")
        .select_related("task__prompt")
        .prefetch_related(
            "comparisons",
            Prefetch("task__completions", Completion.objects.order_by("number")),
        )
    )
    for task, group in itertools.groupby(
        rankings.iterator(chunk_size=200), key=lambda ranking: ranking.task
    ):
        completions = list(task.completions.all())
        rows = [_ranking_row(ranking, completions) for ranking in group]
        rows = [row for row in rows if row["pairs"]]
        if rows:
            yield {
                **prompt_row(task.prompt),
                "completions": [_completion_row(completion) for completion in completions],
                "rankings": rows,
            }


def _ranking_row(ranking: Ranking, completions: list[Completion]) -> Row:
    index_of = {completion.pk: index for index, completion in enumerate(completions)}
    pairs = []
    for pair in ranking.comparisons.all():
        a, b = index_of[pair.a_id], index_of[pair.b_id]
        if (
            pair.preferred != Comparison.Preferred.TIE
            and completions[a].text != completions[b].text
        ):
            pairs.append([a, b] if pair.preferred == Comparison.Preferred.A else [b, a])
    return {"labeler": str(ranking.labeler_id), "pairs": pairs}


def _completion_row(completion: Completion) -> Row:
    return {
        "text": completion.text,
        "token_ids": completion.token_ids,
        "finish_reason": completion.finish_reason,
    }


def demonstrations(pool: Pool | None) -> Iterator[Row]:
    for row in labeling_selectors.demonstration_rows(pool):
        yield {
            "prompt": str(row["prompt"]),
            "author": row["prompt_author"],
            "messages": row["messages"],
            "completion": row["completion"],
        }


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
