"""A labeler's own rankings: the list, and the page on which one is changed."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods

from labeling import selectors, services
from labeling.errors import LabelingError
from labeling.forms import RankingForm
from labeling.models import Ranking
from labeling.views.ranking import ranking_page
from labeling.views.shared import LabelerRequest, or_404

CHANGED = gettext_lazy("Your ranking was changed.")


@never_cache
@login_required
@require_GET
def own(request: LabelerRequest) -> HttpResponse:
    """The labeler's latest rankings, and which of them may still be changed."""
    context = {
        "rankings": selectors.recent_rankings(request.user),
        "rankings_today": selectors.rankings_today(request.user),
    }
    return render(request, "labeling/rankings.html", context)


@never_cache
@login_required
@require_http_methods(["GET", "POST"])
def revise(request: LabelerRequest, ranking_id: int) -> HttpResponse:
    """The ranking page again, as it was handed in."""
    ranking = or_404(selectors.ranking_of, request.user, ranking_id)
    task = selectors.ranking_payload(ranking)
    if request.method == "POST":
        return _revise(request, ranking, RankingForm(task, request.POST), task)
    if not selectors.can_be_revised(ranking):
        messages.info(request, _("That ranking can no longer be changed."))
        return redirect("labeling:rankings")
    return ranking_page(request, ranking.assignment, RankingForm(task), task, revising=ranking)


def _revise(
    request: LabelerRequest, ranking: Ranking, form: RankingForm, task: dict[str, Any]
) -> HttpResponse:
    leased, again = ranking.assignment, {"revising": ranking}
    if not form.is_valid():
        return ranking_page(request, leased, form, task, status=422, **again)
    answer = form.answer()
    del answer["lease_token"]
    try:
        services.revise_ranking(request.user, ranking.pk, **answer)
    except LabelingError as error:
        form.add_error(None, error.message)
        return ranking_page(request, leased, form, task, status=409, **again)
    messages.success(request, CHANGED)
    return redirect("labeling:rankings")
