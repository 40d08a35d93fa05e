"""Writing prompts: the page to write one, and what became of one's own."""

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
from django.views.decorators.http import require_GET, require_http_methods

from labeling import selectors, services
from labeling.errors import LabelingError
from labeling.models import Pool, Proposal
from labeling.views.conversation_fields import Conversation
from labeling.views.reading import reading
from labeling.views.shared import LabelerRequest, or_404
from labeling.views.writing_forms import ProposalForm

MAX_SHOWN = 200


@never_cache
@login_required
@require_GET
def own(request: LabelerRequest) -> HttpResponse:
    """The labeler's own proposals, newest first, with what a reviewer said."""
    proposals = list(selectors.own_proposals(request.user)[:MAX_SHOWN])
    context = {
        "proposals": proposals,
        "can_propose": selectors.pools_to_propose_for().exists(),
        **reading(request),
    }
    return render(request, "labeling/prompts.html", context)


@never_cache
@login_required
@require_http_methods(["GET", "POST"])
def new(request: LabelerRequest) -> HttpResponse:
    """The page that a prompt is written on; every button of it works without JavaScript."""
    pools = list(selectors.pools_to_propose_for())
    if not pools:
        messages.info(request, _("No pool takes written prompts at present."))
        return redirect("labeling:prompts")
    if request.method == "POST":
        return _posted(request, pools)
    form, written = _begin(request, pools)
    return _page(request, form, written, after=_uuid(request.GET.get("after")))


def _begin(request: LabelerRequest, pools: list[Pool]) -> tuple[ProposalForm, Conversation]:
    """An empty page, or one with what the author proposed before, to write it anew."""
    before = _uuid(request.GET.get("from"))
    if before is None:
        asked = [pool for pool in pools if str(pool.pk) == request.GET.get("pool")]
        initial = {"pool": (asked or pools)[0].pk, "kind": request.GET.get("kind", "plain")}
        return ProposalForm(pools, initial=initial), Conversation()
    proposal = or_404(selectors.own_proposal, request.user, before)
    initial = {
        "pool": proposal.pool_id,
        "kind": proposal.kind,
        "use_case": proposal.use_case,
        "application": proposal.application_id,
    }
    written = Conversation.of(proposal.messages, proposal.parts)
    return ProposalForm(pools, initial=initial), written


def _posted(request: LabelerRequest, pools: list[Pool]) -> HttpResponse:
    form = ProposalForm(pools, request.POST)
    written = Conversation.posted(request.POST)
    action = request.POST.get("do", "")
    if action != "submit":
        written.change(action)
        after = _uuid(request.POST.get("application")) if action == "other-use-case" else None
        # Nothing was handed in: what is not filled in yet is no fault.
        again = ProposalForm(pools, initial=request.POST.dict())
        return _page(request, again, written, after=after, preview=action == "preview")
    if not form.is_valid():
        return _page(request, form, written, status=422)
    try:
        services.propose_prompt(request.user, **_proposal(form, written))
    except LabelingError as error:
        field = error.data.get("field")
        form.add_error(field if field in form.fields else None, error.message)
        return _page(request, form, written, status=422 if field else 409, fault=error.data)
    messages.success(request, saved_message())
    return redirect("labeling:prompts")


def _proposal(form: ProposalForm, written: Conversation) -> dict[str, Any]:
    given = dict(form.cleaned_data)
    few_shot = given["kind"] == Proposal.Kind.FEW_SHOT
    return {
        **given,
        "messages": [] if few_shot else written.turns,
        "few_shot": written.few_shot if few_shot else None,
    }


def _page(
    request: LabelerRequest,
    form: ProposalForm,
    written: Conversation,
    *,
    after: uuid.UUID | None = None,
    preview: bool = False,
    status: int = 200,
    fault: dict[str, Any] | None = None,
) -> HttpResponse:
    pool = _chosen_pool(form)
    application = None
    if pool is not None:
        held = None if after else _uuid(form["application"].value())
        application = pool.applications.filter(pk=held).first() if held else None
        application = application or selectors.next_application(request.user, pool, after=after)
    context = {
        "form": form,
        "written": written,
        "application": application,
        "preview": services.previewed(str(form["kind"].value()), written.turns, written.few_shot)
        if preview
        else [],
        **reading(request),
        "problem": next((errors[0] for errors in form.errors.values()), ""),
        "fault": fault or {},
        "saved_message": saved_message(),
        "next_url": reverse("labeling:prompts"),
        "max_characters": services.MAX_PROMPT_CHARACTERS,
    }
    return render(request, "labeling/prompt_new.html", context, status=status)


def saved_message() -> str:
    return _("Your prompt waits for a reviewer. You will see here what becomes of it.")


def _chosen_pool(form: ProposalForm) -> Pool | None:
    value = str(form["pool"].value() or "")
    if not (value.isascii() and value.isdecimal() and len(value) < 19):
        return None
    return selectors.pools_to_propose_for().filter(pk=int(value)).first()


def _uuid(given: object) -> uuid.UUID | None:
    try:
        return uuid.UUID(str(given))
    except ValueError:
        return None
