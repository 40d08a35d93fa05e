"""A labeler's first page."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from labeling import selectors
from labeling.views.shared import LabelerRequest


@login_required
@require_GET
def home(request: LabelerRequest) -> HttpResponse:
    pools = selectors.pools_for(request.user)
    standings = selectors.standings(request.user, [pool for pool, _ in pools])
    context = {
        "pools": pools,
        "standings": standings,
        "any_open": any(pool.is_open and pool.pk not in standings for pool, _ in pools),
        "rankings_today": selectors.rankings_today(request.user),
        "live": selectors.tasks_in_hand(request.user, selectors.open_pools()),
    }
    return render(request, "labeling/home.html", context)
