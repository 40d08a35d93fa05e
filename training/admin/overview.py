"""The admin's first page: the loop as six stations, the one that waits for somebody lit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import Q
from django.http import HttpRequest
from django.urls import reverse

from labeling.models import Comparison, Demonstration, Pool, Prompt, Ranking, Round, Slot
from training import selectors
from training.models import ModelVersion, Run

LATEST_RUNS = 8


@dataclass(frozen=True)
class Station:
    """A step of the loop: what stands there, and whom it waits for, if it waits."""

    name: str
    figure: str
    text: str
    address: str
    waits_for: str = ""
    button: str = ""
    button_address: str = ""


def overview(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Unfold's dashboard callback."""
    stations = [_prompts(), _completions(), _rankings(), _reward(), _policy(), _promotion()]
    runs = Run.objects.select_related("pool", "made")[:LATEST_RUNS]
    return {
        **context,
        "stations": stations,
        "next": next((station for station in stations if station.waits_for), None),
        "latest_runs": runs,
    }


def _prompts() -> Station:
    prompts, pools = Prompt.objects.count(), Pool.objects.count()
    return Station(
        "Prompts",
        f"{prompts:,}",
        f"in {pools:,} pool{'' if pools == 1 else 's'}, {Demonstration.objects.count():,} demonstrations",
        _list("labeling_prompt"),
        *(
            ("There is nothing to rank yet: make a pool and import prompts.", "Go to the pools",
             _list("labeling_pool"))
            if not prompts
            else ()
        ),
    )


def _completions() -> Station:
    latest = Round.objects.order_by("-number").first()
    waiting = Prompt.objects.filter(pool__is_open=True)
    if latest is not None:
        waiting = waiting.exclude(tasks__round=latest)
    count = waiting.count()
    first = waiting.select_related("pool").order_by("pk").first()
    sampling = Run.objects.filter(
        kind=Run.Kind.SAMPLE, state__in=[Run.State.QUEUED, Run.State.RUNNING]
    ).exists()
    wait: tuple[str, str, str] | tuple[()] = ()
    if first is not None and not sampling:
        wait = (
            f"{count:,} prompts have no completions in this round, the first in “{first.pool}”.",
            "Sample completions",
            reverse("admin:labeling_pool_sample", args=[first.pool_id]),
        )
    text = "prompts wait for completions" + (", being written" if sampling else "")
    return Station("Sampling", f"{count:,}", text, _list("labeling_task"), *wait)


def _rankings() -> Station:
    done = Ranking.objects.filter(status=Ranking.Status.COUNTED).count()
    open_slots = Slot.objects.filter(pool__is_open=True).exclude(state=Slot.State.DONE).count()
    wait = (
        ("Labelers have work: rank some yourself, or ask them to.", "Rank", reverse("labeling:rank"))
        if open_slots and not _untrained()
        else ()
    )
    text = f"rankings, {open_slots:,} places left"
    return Station("Ranking", f"{done:,}", text, _list("labeling_ranking"), *wait)


def _reward() -> Station:
    count = _untrained()
    busy = _busy(Run.Kind.REWARD, Run.Kind.DPO)
    wait = (
        (
            f"{count:,} comparisons came in since the last reward model.",
            "Train a reward model",
            reverse("admin:training_run_add") + "?kind=reward",
        )
        if count and not busy
        else ()
    )
    text = "comparisons since the last reward model" + (", a run is on" if busy else "")
    address = _list("training_modelversion") + "?kind__exact=reward"
    return Station("Reward model", f"{count:,}", text, address, *wait)


def _policy() -> Station:
    policies = ModelVersion.objects.filter(kind=ModelVersion.Kind.POLICY)
    reward = selectors.latest_reward_model(None)
    made = policies.filter(reward_model=reward).exists() if reward else True
    busy = _busy(Run.Kind.PPO, Run.Kind.REJECTION)
    wait = (
        (
            f"No policy was trained against {reward} yet.",
            "Train a policy",
            reverse("admin:training_run_add") + "?kind=ppo",
        )
        if not made and not busy
        else ()
    )
    text = "policies" + (", a run is on" if busy else "")
    address = _list("training_modelversion") + "?kind__exact=policy"
    return Station("Policy", f"{policies.count():,}", text, address, *wait)


def _promotion() -> Station:
    current = selectors.current_promotion()
    newer = ModelVersion.objects.filter(kind=ModelVersion.Kind.POLICY).exclude(digest="")
    if current is not None:
        newer = newer.filter(created_at__gt=current.created_at)
    candidate = newer.exclude(promotions__isnull=False).order_by("-id").first()
    wait = (
        (
            f"{candidate} is newer than the sampler: look at its metrics and promote it.",
            "Look at it",
            reverse("admin:training_modelversion_change", args=[candidate.pk]),
        )
        if candidate
        else ()
    )
    figure = str(current.round_id) if current else "–"
    text = f"the round; {current.model} samples" if current else "no policy is promoted"
    return Station("Promotion", figure, text, _list("labeling_round"), *wait)


def _untrained() -> int:
    """Comparisons that count and came in after the newest model made from comparisons."""
    newest = (
        Run.objects.filter(kind__in=[Run.Kind.REWARD, Run.Kind.DPO], state=Run.State.SUCCEEDED)
        .order_by("-id")
        .first()
    )
    counts = Q(ranking__status=Ranking.Status.COUNTED)
    if newest is not None:
        counts &= Q(ranking__created_at__gt=newest.created_at)
    return Comparison.objects.filter(counts).count()


def _busy(*kinds: Run.Kind) -> bool:
    alive = [Run.State.QUEUED, Run.State.RUNNING]
    return Run.objects.filter(kind__in=kinds, state__in=alive).exists()


def _list(name: str) -> str:
    return reverse(f"admin:{name}_changelist")
