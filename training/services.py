"""What a person may do with runs and models; a run that cannot work is refused here, with the
reason.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path

from django.conf import settings
from django.db import IntegrityError, transaction

from labeling.lifecycle import current_round
from labeling.models import Pool, User
from labeling.selectors import prompts_to_sample
from training import lifecycle, selectors, tasks
from training.errors import (
    ModelNotFound,
    NothingToSample,
    NotPromotable,
    NoTrainingData,
    RunAlreadyThere,
    RunNotCancellable,
    RunRefused,
)
from training.jobs.errors import SpecError
from training.jobs.params import Params, parse_params
from training.jobs.spec import data_of, needs_reward_model
from training.models import STARTER, ModelVersion, Promotion, Run

HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")
# A pool's own sampling settings are the defaults of the runs that write completions for it.
POOL_DEFAULTS = {
    Run.Kind.SAMPLE: ("temperature", "top_p", "max_new_tokens"),
    Run.Kind.PPO: ("max_new_tokens",),
    Run.Kind.REJECTION: ("max_new_tokens",),
    Run.Kind.RLOO: ("max_new_tokens",),
    Run.Kind.GRPO: ("max_new_tokens",),
}

# The data files that hold what labelers ranked or wrote.
DATA_OF_LABELERS = frozenset({"comparisons", "demonstrations", "ptx"})
BY_LABELERS = {
    Run.Labelers.PEOPLE: " by people",
    Run.Labelers.SIMULATED: " by simulated labelers",
    Run.Labelers.ALL: "",
}
# Data by the name of its file, where people know it by another.
NAMES_OF_DATA = {
    "comparisons": "comparisons (ties aside)",
    "ptx": "demonstrations to mix in",
    "completions": "completions of earlier rounds",
}


@transaction.atomic
def start_run(
    by: User | None,
    *,
    kind: str,
    pool: Pool | None = None,
    model: str | int | None = None,
    reward_model: str | int | None = None,
    params: Mapping[str, object] | None = None,
    labelers: str = Run.Labelers.PEOPLE,
    seed: int = 0,
) -> Run:
    """Put a run into the queue, if it can work.

    ``model`` defaults to the pool's sampler or the promoted policy, ``reward_model`` to the latest.
    ``labelers`` chooses whose rankings and demonstrations train: ``people``, ``simulated`` or
    ``all``. What simulated labelers made is never taken where it is not named.

    Raises:
        RunRefused, ModelNotFound, NothingToSample, NoTrainingData, RunAlreadyThere.
    """
    checked = _checked_params(kind, pool, params or {})
    run = Run(
        kind=kind,
        pool=pool,
        model=_policy(pool, model),
        reward_model=_reward_model(kind, checked, pool, reward_model),
        labelers=_labelers(kind, checked, labelers),
        params=dataclasses.asdict(checked),
        seed=seed,
        round=current_round(),
        created_by=by,
    )
    _check_data(run, checked)
    return _enqueue(run)


def cancel_run(run: Run) -> None:
    """Raises RunNotCancellable when the run has ended."""
    if not lifecycle.request_cancel(run):
        raise RunNotCancellable(state=run.state)


def promote_model(by: User | None, model: ModelVersion) -> Promotion:
    """Make a policy the sampler of a new round. Raises NotPromotable."""
    if model.kind != ModelVersion.Kind.POLICY:
        raise NotPromotable("Only a policy writes completions; this is a reward model.")
    return lifecycle.promote(model, by)


def register_model(reference: str) -> ModelVersion:
    """A model from outside, by local folder or Hugging Face id. Raises ModelNotFound."""
    folder = Path(reference)
    if reference == STARTER:
        name = STARTER
    elif folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ModelNotFound(f"{reference} has no config.json: it is not a model folder.")
        name = folder.resolve().name
    elif HUB_ID.fullmatch(reference):
        name = reference
    else:
        raise ModelNotFound(f"{reference!r} is neither a folder nor a Hugging Face id (org/name).")
    known = ModelVersion.objects.filter(reference=reference).first()
    return known or ModelVersion.objects.create(
        name=_unused_name(name),
        kind=ModelVersion.Kind.POLICY,
        reference=reference,
        round=current_round(),
    )


@transaction.atomic
def ensure_first_policy() -> ModelVersion:
    """The promoted policy; the model of PODIUM_MODEL while nobody has promoted another.

    Changing the setting takes effect as long as the loop has not moved past the model it named.
    """
    current = selectors.current_promotion()
    if current is not None and (
        current.promoted_by_id
        or current.model.digest
        or current.model.reference == settings.PODIUM_MODEL
    ):
        return current.model
    model = register_model(settings.PODIUM_MODEL)
    lifecycle.promote(model, None)
    return model


def _checked_params(kind: str, pool: Pool | None, params: Mapping[str, object]) -> Params:
    if not isinstance(params, Mapping):
        raise RunRefused("params must be an object", field="params")
    defaults = (
        {name: getattr(pool, name) for name in POOL_DEFAULTS.get(Run.Kind(kind), ()) if pool}
        if kind in Run.Kind.values
        else {}
    )
    try:
        return parse_params(kind, {**defaults, **params})
    except SpecError as error:
        raise RunRefused(str(error), field=error.field) from error


def _policy(pool: Pool | None, given: str | int | None) -> ModelVersion:
    chosen = given or (pool.sampler if pool else "")
    if chosen:
        return selectors.model_named(chosen, ModelVersion.Kind.POLICY)
    return ensure_first_policy()


def _reward_model(
    kind: str, params: Params, pool: Pool | None, given: str | int | None
) -> ModelVersion | None:
    if not needs_reward_model(kind, params):
        if given:
            raise RunRefused(
                f"a {kind} run with these params takes no reward model", field="reward_model"
            )
        return None
    if given:
        return selectors.model_named(given, ModelVersion.Kind.REWARD)
    latest = selectors.latest_reward_model(pool)
    if latest is None:
        raise ModelNotFound(f"A {kind} run needs a reward model: start a reward run first.")
    return latest


def _labelers(kind: str, params: Params, given: str) -> Run.Labelers:
    if given not in Run.Labelers.values:
        choices = ", ".join(Run.Labelers.values)
        raise RunRefused(f"labelers must be one of {choices}", field="labelers")
    labelers = Run.Labelers(given)
    # The default says nothing wrong of a run that reads neither.
    if labelers != Run.Labelers.PEOPLE and DATA_OF_LABELERS.isdisjoint(data_of(kind, params)):
        raise RunRefused(
            f"a {kind} run with these params reads nothing that labelers ranked or wrote: "
            "leave labelers out",
            field="labelers",
        )
    return labelers


def _check_data(run: Run, params: Params) -> None:
    """Raises NothingToSample or NoTrainingData when the run would find no row to work on."""
    if run.kind == Run.Kind.SAMPLE:
        _check_prompts_to_sample(run)
        return
    for name in data_of(run.kind, params):
        if name == "ptx" and settings.PTX_CORPUS:
            # A file of the machines that train; whoever freezes the data looks into it.
            continue
        if not _has_data(run, name):
            raise _no_data(run, name)


def _has_data(run: Run, name: str) -> bool:
    if name == "comparisons":
        return selectors.preferences(run.pool, run.labelers).exists()
    return next(selectors.rows_of(run, name), None) is not None


def _no_data(run: Run, name: str) -> NoTrainingData:
    where = f"pool {run.pool.name!r}" if run.pool else "any pool"
    what = NAMES_OF_DATA.get(name, name)
    if name not in DATA_OF_LABELERS:
        return NoTrainingData(f"There are no {what} in {where}.")
    told = f"There are no {what}{BY_LABELERS[Run.Labelers(run.labelers)]} in {where}"
    simulated = Run(kind=run.kind, pool=run.pool, labelers=Run.Labelers.SIMULATED)
    if run.labelers == Run.Labelers.PEOPLE and _has_data(simulated, name):
        return NoTrainingData(
            f"{told}, only by simulated labelers, whose work trains nothing unless it is named. "
            "To train on it, set labelers to simulated.",
            field="labelers",
        )
    return NoTrainingData(f"{told}.")


def _check_prompts_to_sample(run: Run) -> None:
    if run.pool is None:
        raise RunRefused("a sample run needs a pool", field="pool")
    if not run.pool.prompts.exists():
        raise NothingToSample(f"Pool {run.pool.name!r} has no prompts: import some first.")
    if not prompts_to_sample(run.pool, run.round).exists():
        raise NothingToSample


def _enqueue(run: Run) -> Run:
    run.spec_digest = _digest(run)
    twin = Run.objects.filter(
        spec_digest=run.spec_digest, state__in=[Run.State.QUEUED, Run.State.RUNNING]
    ).first()
    if twin is not None:
        raise RunAlreadyThere(f"Run {twin.pk} does the same and is {twin.state}.", run=twin.pk)
    try:
        with transaction.atomic():
            run.save(force_insert=True)
    except IntegrityError as error:
        raise RunAlreadyThere from error
    tasks.ring(run.queue)
    return run


def _digest(run: Run) -> str:
    what = [
        run.kind,
        run.pool_id,
        run.model_id,
        run.reward_model_id,
        run.labelers,
        run.params,
        run.seed,
        run.round_id,
    ]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def _unused_name(name: str) -> str:
    taken = set(ModelVersion.objects.filter(name__startswith=name).values_list("name", flat=True))
    names = [name, *(f"{name}-{n}" for n in range(2, len(taken) + 3))]
    return next(candidate for candidate in names if candidate not in taken)
