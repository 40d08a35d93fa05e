"""The admin's first page: the loop as six stations, the one that waits for somebody lit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import Q
from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext, pgettext

from labeling.models import Comparison, Demonstration, Pool, Prompt, Ranking, Round, Slot
from training import selectors
from training.models import ModelVersion, Run

LATEST_RUNS = 8
ALIVE = [Run.State.QUEUED, Run.State.RUNNING]


@dataclass(frozen=True)
class Wait:
    """What a station waits for, and the button that does it."""

    text: str
    button: str
    address: str


@dataclass(frozen=True)
class Station:
    """A step of the loop: what stands there, and what it waits for, if it waits."""

    name: str
    figure: str
    text: str
    address: str
    wait: Wait | None


def overview(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Unfold's dashboard callback."""
    stations = [_prompts(), _sampling(), _ranking(), _reward_model(), _policy(), _promotion()]
    return {
        **context,
        "title": _("Overview"),
        "stations": stations,
        "next": next((station for station in stations if station.wait), None),
        "latest_runs": Run.objects.select_related("pool", "made")[:LATEST_RUNS],
    }


def _prompts() -> Station:
    prompts, pools = Prompt.objects.count(), Pool.objects.count()
    wait = None
    if not prompts:
        text = _("There is nothing to rank yet: make a pool and import prompts into it.")
        wait = Wait(text, _("Go to the pools"), _list("labeling_pool"))
    written = Demonstration.objects.count()
    in_pools = ngettext("in %(count)s pool", "in %(count)s pools", pools) % {"count": f"{pools:,}"}
    demonstrations = ngettext("%(count)s demonstration", "%(count)s demonstrations", written)
    text = f"{in_pools}, {demonstrations % {'count': f'{written:,}'}}"
    return Station(_("Prompts"), f"{prompts:,}", text, _list("labeling_prompt"), wait)


def _sampling() -> Station:
    latest = Round.objects.order_by("-number").first()
    waiting = Prompt.objects.filter(pool__is_open=True)
    if latest is not None:
        waiting = waiting.exclude(tasks__round=latest)
    count, busy = waiting.count(), _busy(Run.Kind.SAMPLE)
    first = waiting.select_related("pool").order_by("pk").first()
    wait = None
    if first is not None and not busy:
        address = reverse("admin:labeling_pool_sample", args=[first.pool_id])
        text = ngettext(
            "There is %(count)s prompt without completions in this round, in “%(pool)s”.",
            "There are %(count)s prompts without completions in this round, "
            "the first in “%(pool)s”.",
            count,
        )
        wait = Wait(
            text % {"count": f"{count:,}", "pool": first.pool}, _("Sample completions"), address
        )
    text = _("prompts without completions")
    if busy:
        text = _("prompts without completions, being written")
    return Station(_("Sampling"), f"{count:,}", text, _list("labeling_task"), wait)


def _ranking() -> Station:
    done = Ranking.objects.filter(status=Ranking.Status.COUNTED).count()
    slots = Slot.objects.filter(pool__is_open=True, is_control=False)
    places = slots.exclude(state=Slot.State.DONE).count()
    wait = None
    if places and not _comparisons_since_training():
        text = _("Labelers have work: rank some yourself, or ask them to.")
        wait = Wait(text, pgettext("verb", "Rank"), reverse("labeling:rank"))
    text = ngettext("rankings, %(count)s place left", "rankings, %(count)s places left", places)
    text %= {"count": f"{places:,}"}
    return Station(_("Ranking"), f"{done:,}", text, _list("labeling_ranking"), wait)


def _reward_model() -> Station:
    count, busy = _comparisons_since_training(), _busy(Run.Kind.REWARD, Run.Kind.DPO)
    wait = None
    if count and not busy:
        text = ngettext(
            "%(count)s comparison came in since the last training on comparisons.",
            "%(count)s comparisons came in since the last training on comparisons.",
            count,
        )
        text %= {"count": f"{count:,}"}
        wait = Wait(text, _("Train a reward model"), _start(Run.Kind.REWARD))
    text = _("comparisons since the last training")
    if busy:
        text = _("comparisons since the last training, a run is on")
    address = _list("training_modelversion") + "?kind__exact=reward"
    return Station(_("Reward model"), f"{count:,}", text, address, wait)


def _policy() -> Station:
    policies = ModelVersion.objects.filter(kind=ModelVersion.Kind.POLICY)
    reward, busy = selectors.latest_reward_model(None), _busy(Run.Kind.PPO, Run.Kind.REJECTION)
    wait = None
    if reward is not None and not busy and not policies.filter(reward_model=reward).exists():
        text = _("No policy was trained against %(model)s yet.") % {"model": reward}
        wait = Wait(text, _("Train a policy"), _start(Run.Kind.PPO))
    text = _("policies, a run is on") if busy else _("policies")
    address = _list("training_modelversion") + "?kind__exact=policy"
    return Station(_("Policy"), f"{policies.count():,}", text, address, wait)


def _promotion() -> Station:
    current = selectors.current_promotion()
    made_here = ModelVersion.objects.filter(kind=ModelVersion.Kind.POLICY).exclude(digest="")
    newer = made_here.filter(promotions=None)
    if current is not None:
        newer = newer.filter(created_at__gt=current.created_at)
    candidate = newer.order_by("-id").first()
    wait = None
    if candidate is not None:
        address = reverse("admin:training_modelversion_change", args=[candidate.pk])
        text = _("%(model)s is newer than the sampler: look at its metrics and promote it.")
        wait = Wait(text % {"model": candidate}, _("Look at it"), address)
    number = str(current.round_id) if current else "–"
    text = _("no policy is promoted")
    if current:
        text = _("the round; %(model)s samples") % {"model": current.model}
    return Station(_("Promotion"), number, text, _list("labeling_round"), wait)


def _comparisons_since_training() -> int:
    """Comparisons that count and came in after the latest training on comparisons began."""
    trainings = Run.objects.filter(kind__in=[Run.Kind.REWARD, Run.Kind.DPO])
    latest = trainings.filter(state=Run.State.SUCCEEDED).order_by("-id").first()
    counts = Q(ranking__status=Ranking.Status.COUNTED)
    if latest is not None:
        counts &= Q(ranking__created_at__gt=latest.created_at)
    return Comparison.objects.filter(counts).count()


def _busy(*kinds: Run.Kind) -> bool:
    return Run.objects.filter(kind__in=kinds, state__in=ALIVE).exists()


def _list(name: str) -> str:
    return reverse(f"admin:{name}_changelist")


def _start(kind: Run.Kind) -> str:
    return f"{reverse('admin:training_run_add')}?kind={kind}"
