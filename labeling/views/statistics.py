"""A labeler's own figures: nobody is measured against anybody."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from labeling import selectors
from labeling.views.shared import LabelerRequest


@never_cache
@login_required
@require_GET
def statistics(request: LabelerRequest) -> HttpResponse:
    figures = selectors.statistics_of(request.user)
    return render(request, "labeling/statistics.html", {"figures": figures})
