"""The way into a pool: where a labeler stands, an item to rank, and what it taught."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from labeling import selectors, services
from labeling.errors import LabelingError
from labeling.forms import TrialForm
from labeling.models import Qualification, Trial
from labeling.views.reading import reading, remember_view, turns_shown
from labeling.views.shared import LabelerRequest, or_404


@never_cache
@login_required
@require_GET
def overview(request: LabelerRequest, pool_id: int) -> HttpResponse:
    """The steps into the pool, how far the labeler has come, and the one thing to do next."""
    pool = or_404(selectors.pool_of, pool_id)
    context = {
        "pool": pool,
        "progress": selectors.qualification_progress(request.user, pool),
        "states": Qualification.State,
        "learnt": selectors.own_feedback(request.user, pool),
        "has_guidelines": pool.guideline_versions.exists(),
    }
    return render(request, "labeling/qualification.html", context)


@never_cache
@login_required
@require_GET
def next_item(request: LabelerRequest, pool_id: int) -> HttpResponse:
    """On to the item in hand, else to the next one. Asking again gives the same one."""
    pool = or_404(selectors.pool_of, pool_id)
    try:
        trial = services.next_trial(request.user, pool)
    except LabelingError as refusal:
        messages.warning(request, refusal.message)
        return redirect("labeling:home")
    if trial is None:
        return redirect("labeling:qualification", pool.pk)
    return redirect("labeling:trial", trial.pk)


@login_required
@require_POST
def begin_test(request: LabelerRequest, pool_id: int) -> HttpResponse:
    pool = or_404(selectors.pool_of, pool_id)
    try:
        services.begin_test(request.user, pool)
    except LabelingError as refusal:
        messages.warning(request, refusal.message)
        return redirect("labeling:qualification", pool.pk)
    return redirect("labeling:qualification_next", pool.pk)


@never_cache
@login_required
@require_http_methods(["GET", "POST"])
def trial(request: LabelerRequest, trial_id: uuid.UUID) -> HttpResponse:
    """One item to rank, as a plain form."""
    found = or_404(selectors.trial_of, request.user, trial_id)
    task = selectors.trial_payload(found)
    if request.method == "POST":
        return _submit(request, found, TrialForm(task, request.POST), task)
    if found.state != Trial.State.OPEN:
        return _onward(found)
    return _page(request, found, TrialForm(task), task)


@never_cache
@login_required
@require_GET
def feedback(request: LabelerRequest, trial_id: uuid.UUID) -> HttpResponse:
    """What an item of the training taught: both orders, and why."""
    found = or_404(selectors.trial_of, request.user, trial_id)
    learnt = or_404(selectors.feedback_on, found)
    pool = found.qualification.pool
    context = {
        "trial": found,
        "pool": pool,
        "feedback": learnt,
        "progress": selectors.qualification_progress(request.user, pool),
        **turns_shown(found.item.messages),
        **reading(request, request.GET.get("view", "")),
    }
    return render(request, "labeling/feedback.html", context)


def _submit(
    request: LabelerRequest, found: Trial, form: TrialForm, task: dict[str, Any]
) -> HttpResponse:
    if not form.is_valid():
        return _page(request, found, form, task, status=422)
    try:
        submitted = services.submit_trial(request.user, found.pk, **form.answer())
    except LabelingError as refusal:
        messages.info(request, refusal.message)
        return _onward(or_404(selectors.trial_of, request.user, found.pk))
    return _onward(submitted)


def _onward(done: Trial) -> HttpResponse:
    """After training to what it taught; within a test to the next item; after it to the result."""
    if done.state == Trial.State.OPEN:
        return redirect("labeling:trial", done.pk)
    if done.attempt == 0:
        return redirect("labeling:feedback", done.pk)
    return redirect("labeling:qualification_next", done.qualification.pool_id)


def _page(
    request: LabelerRequest,
    found: Trial,
    form: TrialForm,
    task: dict[str, Any],
    *,
    status: int = 200,
) -> HttpResponse:
    pool = found.qualification.pool
    latest = pool.guideline_versions.order_by("-number").first()
    context = {
        "task": {**task, "guidelines": selectors.guidelines_payload(latest)},
        "form": form,
        "pool": pool,
        "is_test": found.attempt > 0,
        "progress": selectors.qualification_progress(request.user, pool),
        "guidelines_of": pool.pk,
        "news": selectors.guideline_news(request.user, latest),
        **turns_shown(task["prompt"]["messages"]),
        **reading(request, request.GET.get("view", "")),
    }
    response = render(request, "labeling/trial.html", context, status=status)
    remember_view(response, request.GET.get("view", ""))
    return response
