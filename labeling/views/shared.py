"""What the pages share."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect

from labeling.errors import LabelingError, NotFound
from labeling.models import Pool, User

P = ParamSpec("P")
Found = TypeVar("Found")


class LabelerRequest(HttpRequest):
    """A request that passed ``login_required``."""

    user: User


def or_404(read: Callable[P, Found], *arguments: P.args, **options: P.kwargs) -> Found:
    """What a selector reads; what it does not find is a page that is not there."""
    try:
        return read(*arguments, **options)
    except NotFound as error:
        raise Http404(error.message) from error


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
