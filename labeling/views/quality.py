"""Quality figures of a pool, for reviewers."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods

from labeling import selectors, services
from labeling.views.shared import LabelerRequest, check_reviewer, or_404


@never_cache
@login_required
@require_GET
def pools(request: LabelerRequest) -> HttpResponse:
    """The pools with what is known of each at a glance."""
    check_reviewer(request)
    reports = {report.pool_id: report for report in selectors.quality_reports()}
    rows = [
        (pool, reports.get(pool.pk), progress)
        for pool, progress in selectors.pools_for(request.user)
    ]
    return render(request, "labeling/quality_pools.html", {"rows": rows})


@never_cache
@login_required
@require_http_methods(["GET", "POST"])
def pool(request: LabelerRequest, pool_id: int) -> HttpResponse:
    """The figures as a worker last computed them; a POST asks for new ones."""
    check_reviewer(request)
    found = or_404(selectors.pool_of, pool_id)
    if request.method == "POST":
        services.request_quality(found)
        messages.info(request, _("A worker computes them anew; look again in a moment."))
        return redirect("labeling:quality", pool_id)
    report = selectors.quality_of(found)
    context = {
        "pool": found,
        "report": report,
        "sections": selectors.quality_sections(report) if report else [],
        "of_pool": selectors.OF_POOL,
        "of_labeler": selectors.OF_LABELER,
    }
    return render(request, "labeling/quality.html", context)
