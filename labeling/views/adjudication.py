"""Adjudication: what labelers disagree on, side by side, and a reviewer's decision."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods

from labeling import selectors, services
from labeling.errors import LabelingError
from labeling.models import Pool, RankedItem
from labeling.selectors import Case
from labeling.views.care_forms import AdjudicationForm
from labeling.views.reading import reading, remember_view
from labeling.views.shared import LabelerRequest, check_reviewer, or_404

LATEST_DECISIONS = 20


@never_cache
@login_required
@require_GET
def disagreements(request: LabelerRequest) -> HttpResponse:
    """Tasks that labelers ranked differently, the worst first; of one pool if asked."""
    check_reviewer(request)
    pool = _asked_pool(request)
    context = {
        "pool": pool,
        "pools": Pool.objects.all(),
        "disagreements": selectors.disagreements(pool),
        "decided": selectors.adjudications(pool)[:LATEST_DECISIONS],
    }
    return render(request, "labeling/disagreements.html", context)


@never_cache
@login_required
@require_http_methods(["GET", "POST"])
def adjudicate(request: LabelerRequest, task_id: int) -> HttpResponse:
    """One task with every labeler's ranks, and the form of the decision, or the decision."""
    check_reviewer(request)
    case = or_404(selectors.case_of, task_id)
    if request.method == "POST":
        return _decided(request, case, AdjudicationForm(case, request.POST))
    return _page(request, case, AdjudicationForm(case))


def _decided(request: LabelerRequest, case: Case, form: AdjudicationForm) -> HttpResponse:
    if not form.is_valid():
        return _page(request, case, form, status=422)
    try:
        services.adjudicate(
            request.user, case.task.pk, ranks=form.ranks(), reason=form.cleaned_data["reason"]
        )
    except LabelingError as error:
        field = error.data.get("field")
        form.add_error(field if field in form.fields else None, error.message)
        return _page(request, case, form, status=422 if field else 409)
    messages.success(request, _("Decided. What the labelers did stays as it is."))
    return redirect("labeling:disagreements")


def _page(
    request: LabelerRequest, case: Case, form: AdjudicationForm, status: int = 200
) -> HttpResponse:
    asked = request.GET.get("view", "")
    *earlier, prompt = case.task.prompt.messages
    context = {
        "case": case,
        "form": form,
        "earlier": earlier,
        "prompt": prompt,
        "warnings": selectors.warnings_of(case.task.prompt),
        "own": case.task.rankings.filter(labeler=request.user).exists(),
        "cards": [_card(case, form, alias) for alias in case.aliases],
        **reading(request, asked),
    }
    response = render(request, "labeling/adjudicate.html", context, status=status)
    remember_view(response, asked)
    return response


def _card(case: Case, form: AdjudicationForm, alias: str) -> dict[str, Any]:
    """One completion: its text, what each labeler made of it, and the field or the decision."""
    completion = dict(case.completions)[alias]
    labels = {flag["name"]: flag["label"] for flag in case.task.prompt.pool.rubric["flags"]}
    return {
        "alias": alias,
        "text": completion.text,
        "field": form[f"rank_{alias}"],
        "decided": case.decided.get(completion.pk),
        "voices": [
            {
                "name": voice.name,
                "item": voice.items[completion.pk],
                "flags": _flag_labels(voice.items[completion.pk], labels),
            }
            for voice in case.voices
        ],
    }


def _flag_labels(item: RankedItem, labels: dict[str, str]) -> list[str]:
    return [_(labels.get(name, name)) for name in item.flags]


def _asked_pool(request: LabelerRequest) -> Pool | None:
    asked = request.GET.get("pool", "")
    if not asked.isascii() or not asked.isdecimal() or len(asked) > 18:
        return None
    return Pool.objects.filter(pk=int(asked)).first()
