"""What the pages share."""

from __future__ import annotations

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from labeling.errors import LabelingError
from labeling.models import Pool, User


class LabelerRequest(HttpRequest):
    """A request that passed ``login_required``."""

    user: User


def turned_away(request: HttpRequest, pool: Pool | None, refusal: LabelingError) -> HttpResponse:
    """Where a labeler goes who asked for work in a pool that is not open to them."""
    if pool is not None:
        return redirect("labeling:qualification", pool.pk)
    messages.info(request, refusal.message)
    return redirect("labeling:home")


def check_reviewer(request: LabelerRequest) -> None:
    """Raises PermissionDenied: what labelers did is for reviewers and admins."""
    if not request.user.is_reviewer:
        raise PermissionDenied
