"""A pool's guidelines: every version, what each changed, and the word of having read one."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from labeling import selectors, services
from labeling.errors import NotFound
from labeling.models import GuidelineVersion, Pool
from labeling.rendering.document import Renderer
from labeling.views.shared import LabelerRequest, or_404

MAX_NUMBER = 2**31 - 1


@never_cache
@login_required
@require_GET
def guidelines(request: LabelerRequest, pool_id: int) -> HttpResponse:
    """The latest version, or the one asked for, as Markdown; and the list of all."""
    pool = _pool(request, pool_id)
    versions = list(pool.guideline_versions.select_related("author").order_by("-number"))
    version = _version(pool, request.GET.get("version", "")) if versions else None
    read = selectors.last_guidelines_read(request.user, pool.pk)
    context = {
        "pool": pool,
        "version": version,
        "versions": versions,
        "is_latest": version is not None and version == versions[0],
        "is_read": version is None or (read is not None and read.number >= version.number),
        "renderer": Renderer(),
        "view": "markdown",
        **_changes(version, versions),
    }
    return render(request, "labeling/guidelines.html", context)


@login_required
@require_POST
def read(request: LabelerRequest, pool_id: int) -> HttpResponse:
    """Note that the labeler has read a version, and go back to where that was said."""
    version = _version(_pool(request, pool_id), request.POST.get("version", ""))
    services.mark_guidelines_read(request.user, version)
    back = request.POST.get("next", "")
    if not url_has_allowed_host_and_scheme(
        back, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    ):
        back = reverse("labeling:guidelines", args=[pool_id])
    return redirect(back)


def _changes(version: GuidelineVersion | None, versions: list[GuidelineVersion]) -> dict[str, Any]:
    """What the version changed, against the one before it."""
    before = next((v for v in versions if version and v.number < version.number), None)
    if version is None or before is None:
        return {"before": None, "lines": None}
    return {"before": before, "lines": selectors.guideline_changes(before, version)}


def _pool(request: LabelerRequest, pool_id: int) -> Pool:
    """Labelers see the pools that are open; reviewers all of them."""
    pool = or_404(selectors.pool_of, pool_id)
    if not pool.is_open and not request.user.is_reviewer:
        raise Http404
    return pool


def _version(pool: Pool, number: str) -> GuidelineVersion:
    if number and not (number.isascii() and number.isdecimal() and int(number) <= MAX_NUMBER):
        raise Http404
    try:
        return selectors.guideline_version(pool, int(number) if number else None)
    except NotFound as error:
        raise Http404(error.message) from error
