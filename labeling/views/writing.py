"""Writing demonstrations: the prompt in hand, the editor, and one's own last ones."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from labeling import selectors, services
from labeling.errors import LabelingError, NotQualified, WorkPaused
from labeling.models import Pool, Writing
from labeling.views.reading import reading, remember_view
from labeling.views.shared import LabelerRequest, or_404, turned_away
from labeling.views.writing_forms import DemonstrationForm, WritingSkipForm


@never_cache
@login_required
@require_GET
def write(request: LabelerRequest, pool_id: int | None = None) -> HttpResponse:
    """On to the prompt in hand, else to the next one. Asking again gives the same prompt."""
    pool = or_404(selectors.pool_of, pool_id) if pool_id is not None else None
    try:
        writing = services.next_writing(request.user, pool=pool)
    except (NotQualified, WorkPaused) as refusal:
        return turned_away(request, pool, refusal)
    except LabelingError as error:
        messages.warning(request, error.message)
        return redirect("labeling:home")
    if writing is not None:
        return redirect("labeling:writing", writing.pk)
    context = {"pool": pool, "written_today": selectors.demonstrations_today(request.user)}
    return render(request, "labeling/writing_nothing.html", context)


@never_cache
@login_required
@require_http_methods(["GET", "POST"])
def writing(request: LabelerRequest, handle: uuid.UUID) -> HttpResponse:
    """The page that a demonstration is written on; later, for a while, the one it is changed on."""
    held = or_404(selectors.writing_of, request.user, handle)
    if held.state == Writing.State.OPEN:
        revising, text = False, held.draft
    else:
        written = selectors.demonstration_of(held)
        if written is None or held not in selectors.revisable_writings(request.user):
            messages.info(request, _("That prompt is done: you wrote for it or skipped it."))
            return redirect(_next_url(held.prompt.pool))
        revising, text = True, written.text
    if request.method == "POST":
        return _posted(request, held, revising)
    return _page(request, held, DemonstrationForm(text=text), revising)


@login_required
@require_POST
def skip(request: LabelerRequest, handle: uuid.UUID) -> HttpResponse:
    held = or_404(selectors.writing_of, request.user, handle)
    form = WritingSkipForm(request.POST)
    if not form.is_valid():
        messages.warning(request, _("Please choose why you skip it."))
        return redirect("labeling:writing", handle)
    try:
        services.skip_writing(request.user, handle, reason=form.full_reason())
    except LabelingError as error:
        messages.warning(request, error.message)
    else:
        messages.success(request, _("Skipped. You will not be shown that prompt again."))
    return redirect(_next_url(held.prompt.pool))


@never_cache
@login_required
@require_GET
def demonstrations(request: LabelerRequest) -> HttpResponse:
    """One's own last demonstrations, which may still be changed."""
    context = {
        "written": selectors.own_demonstrations(request.user),
        "written_today": selectors.demonstrations_today(request.user),
    }
    return render(request, "labeling/writing_own.html", context)


def _posted(request: LabelerRequest, held: Writing, revising: bool) -> HttpResponse:
    form = DemonstrationForm(request.POST)
    if not form.is_valid():
        return _page(request, held, form, revising, status=422)
    action, text = request.POST.get("do", "submit"), form.cleaned_data["text"]
    if action in ("preview", "write") or action.startswith("view:"):
        preview = text if action == "preview" else ""
        view = action.partition(":")[2]
        return _page(request, held, form, revising, preview=preview, view=view)
    try:
        if action == "draft" and not revising:
            services.save_writing_draft(request.user, held.pk, text=text)
            messages.success(request, _("Draft saved."))
            return redirect("labeling:writing", held.pk)
        store = services.revise_demonstration if revising else services.submit_demonstration
        store(request.user, held.pk, **form.cleaned_data)
    except LabelingError as error:
        form.add_error("text", error.message)
        status = 422 if error.data.get("field") else 409
        return _page(request, held, form, revising, status=status)
    messages.success(request, _saved(revising))
    return redirect("labeling:demonstrations" if revising else _next_url(held.prompt.pool))


def _page(
    request: LabelerRequest,
    held: Writing,
    form: DemonstrationForm,
    revising: bool,
    *,
    preview: str = "",
    view: str = "",
    status: int = 200,
) -> HttpResponse:
    context: dict[str, Any] = {
        "task": selectors.writing_payload(held),
        "form": form,
        "skip_form": WritingSkipForm(),
        "revising": revising,
        "preview": preview,
        **reading(request, view),
        "written_today": selectors.demonstrations_today(request.user),
        "next_url": reverse("labeling:demonstrations") if revising else _next_url(held.prompt.pool),
        "saved_message": _saved(revising),
    }
    response = render(request, "labeling/writing.html", context, status=status)
    remember_view(response, view)
    return response


def _saved(revising: bool) -> str:
    return _("Your change is saved.") if revising else _("Demonstration saved. Thank you.")


def _next_url(pool: Pool) -> str:
    return reverse("labeling:pool_write", args=[pool.pk])
