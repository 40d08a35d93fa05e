"""The ranking page: a labeler's task in hand, its texts, and what becomes of it."""

from __future__ import annotations

import uuid
from contextlib import suppress
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from labeling import selectors, services
from labeling.errors import LabelingError, LeaseExpired, NotQualified, WorkPaused
from labeling.forms import FlagForm, RankingForm, SkipForm
from labeling.models import Assignment, Ranking, User
from labeling.views.reading import reading, remember_view, turns_shown
from labeling.views.shared import LabelerRequest, or_404, turned_away

SAVED = gettext_lazy("Ranking saved. Thank you.")
SAVED_LATE = gettext_lazy(
    "Your ranking is kept for the reviewers, but it does not count: its time had run out and "
    "somebody else took the last place on that prompt."
)
SKIPPED = gettext_lazy("Skipped. You will not be shown that prompt again.")
FLAGGED = gettext_lazy("Flagged. Thank you: an admin will look at it. You can go on ranking.")


@never_cache
@login_required
@require_GET
def rank(request: LabelerRequest, pool_id: int | None = None) -> HttpResponse:
    """On to the labeler's task in hand, else to a new one. Asking again gives the same task."""
    pool = or_404(selectors.pool_of, pool_id) if pool_id is not None else None
    try:
        assignment = services.lease_next(request.user, pool=pool)
    except (NotQualified, WorkPaused) as refusal:
        return turned_away(request, pool, refusal)
    if assignment is not None:
        return redirect("labeling:assignment", assignment.pk)
    context = {"pool": pool, "rankings_today": selectors.rankings_today(request.user)}
    return render(request, "labeling/nothing.html", context)


@never_cache
@login_required
@require_http_methods(["GET", "POST"])
def assignment(request: LabelerRequest, assignment_id: uuid.UUID) -> HttpResponse:
    """The ranking page, and the plain form's submission."""
    leased = or_404(selectors.assignment_of, request.user, assignment_id)
    task = selectors.task_payload(leased)
    if request.method == "POST":
        return _submit(request, leased, RankingForm(task, request.POST), task)
    if leased.state != Assignment.State.OPEN:
        return _closed(request, leased)
    # A page that is fetched ahead of its turn is not yet before the labeler's eyes.
    if "ahead" not in request.GET:
        services.mark_shown(leased)
    return ranking_page(request, leased, RankingForm(task), task)


@never_cache
@login_required
@require_GET
def texts(request: LabelerRequest, assignment_id: uuid.UUID) -> HttpResponse:
    """The prompt and its answers in another view, for the page that shows them."""
    task = selectors.task_payload(or_404(selectors.assignment_of, request.user, assignment_id))
    return render(
        request,
        "labeling/texts.html",
        {"task": task, **reading(request, request.GET.get("view", ""))},
    )


@login_required
@require_POST
def flag(request: LabelerRequest, assignment_id: uuid.UUID) -> HttpResponse:
    """Flag the prompt from the plain form; what was ranked so far comes along and is kept."""
    leased = or_404(selectors.assignment_of, request.user, assignment_id)
    form = FlagForm(request.POST)
    if form.is_valid():
        services.flag_prompt(request.user, assignment_id, **form.answer())
        messages.success(request, FLAGGED)
    else:
        messages.warning(request, _("Please choose what is wrong with it."))
    answers = RankingForm(selectors.task_payload(leased), request.POST)
    with suppress(LabelingError):
        services.save_draft(request.user, assignment_id, **answers.unfinished())
    return redirect("labeling:assignment", assignment_id)


@login_required
@require_POST
def skip(request: LabelerRequest, assignment_id: uuid.UUID) -> HttpResponse:
    leased = or_404(selectors.assignment_of, request.user, assignment_id)
    form = SkipForm(request.POST)
    if form.is_valid():
        try:
            services.skip_assignment(
                request.user,
                assignment_id,
                lease_token=form.cleaned_data["lease_token"],
                reason=form.full_reason(),
            )
        except LabelingError as error:
            messages.warning(request, error.message)
        else:
            messages.success(request, SKIPPED)
            return redirect(_next_url(leased))
    else:
        messages.warning(request, _("Please choose why you skip it."))
    return redirect("labeling:assignment", assignment_id)


def _submit(
    request: LabelerRequest, leased: Assignment, form: RankingForm, task: dict[str, Any]
) -> HttpResponse:
    if not form.is_valid():
        return ranking_page(request, leased, form, task, status=422)
    try:
        submitted = _submit_renewing(request.user, leased.pk, form.answer())
    except LabelingError as error:
        if leased.state != Assignment.State.OPEN:
            messages.info(request, error.message)
            return redirect(_next_url(leased))
        form.add_error(None, error.message)
        return ranking_page(request, leased, form, task, status=409)
    if submitted.status == "late":
        messages.warning(request, SAVED_LATE)
    else:
        messages.success(request, SAVED)
    return redirect(_next_url(leased))


def _submit_renewing(
    labeler: User, assignment_id: uuid.UUID, answer: dict[str, Any]
) -> services.Submitted:
    """Submit; when the lease has ended, take it anew and submit again.

    Where that fails too the second submission is stored as late: nothing a labeler did is dropped.
    """
    try:
        return services.submit_ranking(labeler, assignment_id, **answer)
    except LeaseExpired:
        with suppress(LeaseExpired):
            services.extend_lease(labeler, assignment_id, lease_token=answer["lease_token"])
        return services.submit_ranking(labeler, assignment_id, **answer)


def _closed(request: LabelerRequest, leased: Assignment) -> HttpResponse:
    """Where the labeler goes from a task that is done: to what can still be changed, else on."""
    ranking = selectors.ranking_of_assignment(leased)
    if ranking is not None and selectors.can_be_revised(ranking):
        return redirect("labeling:ranking", ranking.pk)
    messages.info(request, _("That prompt was already submitted or skipped."))
    return redirect(_next_url(leased))


def ranking_page(
    request: LabelerRequest,
    leased: Assignment,
    form: RankingForm,
    task: dict[str, Any],
    *,
    status: int = 200,
    revising: Ranking | None = None,
) -> HttpResponse:
    """The page of one task: to be ranked, or ranked and to be changed."""
    context = {
        "task": task,
        "form": form,
        "skip_form": SkipForm(initial={"lease_token": task["lease_token"]}),
        **turns_shown(task["prompt"]["messages"]),
        **reading(request, request.GET.get("view", "")),
        "flag_form": FlagForm(),
        "rankings_today": selectors.rankings_today(request.user),
        "next_url": reverse("labeling:rankings") if revising else _next_url(leased),
        "revising": revising,
        "guidelines_of": leased.task.prompt.pool_id,
        "news": selectors.guideline_news(request.user, leased.guideline_version),
        "heartbeat_every": _heartbeat_seconds(leased),
    }
    response = render(request, "labeling/ranking.html", context, status=status)
    # Without JavaScript the choice is remembered here.
    remember_view(response, request.GET.get("view", ""))
    return response


def _heartbeat_seconds(leased: Assignment) -> int:
    """Three times within a lease, so that one lost request costs nothing; at least every minute."""
    return min(max(leased.task.prompt.pool.lease_seconds // 3, 1), 60)


def _next_url(leased: Assignment) -> str:
    return reverse("labeling:pool_rank", args=[leased.task.prompt.pool_id])
