"""Reviewing prompts that labelers wrote: read, then accept, edit and accept, or reject."""

from __future__ import annotations

import uuid
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
from labeling.models import USE_CASES, Proposal
from labeling.views.conversation_fields import Conversation, kept_as_written
from labeling.views.reading import reading
from labeling.views.shared import LabelerRequest, check_reviewer, or_404
from labeling.views.writing_forms import RejectForm

MAX_SHOWN = 200


@never_cache
@login_required
@require_GET
def proposals(request: LabelerRequest) -> HttpResponse:
    """What waits for review, or what was decided."""
    check_reviewer(request)
    asked = request.GET.get("state", "")
    state = asked if asked in Proposal.State.values else Proposal.State.PROPOSED
    context = {
        "state": state,
        "states": Proposal.State.choices,
        "proposals": list(selectors.proposals_in(state)[:MAX_SHOWN]),
        "waiting": selectors.proposals_waiting(),
    }
    return render(request, "labeling/review.html", context)


@never_cache
@login_required
@require_http_methods(["GET", "POST"])
def proposal(request: LabelerRequest, proposal_id: uuid.UUID) -> HttpResponse:
    """One proposal, read as a conversation, with the reviewer's decision on it."""
    check_reviewer(request)
    found = or_404(selectors.proposal_of, proposal_id)
    if request.method == "POST":
        return _decided(request, found)
    return _page(request, found, Conversation.of(found.messages, None))


def _decided(request: LabelerRequest, found: Proposal) -> HttpResponse:
    action = request.POST.get("do", "")
    use_case = request.POST.get("use_case", found.use_case)
    # The form that rejects has no turns.
    written = Conversation.of(found.messages, None)
    if action != "reject":
        written = Conversation.posted(request.POST)
        written.turns = kept_as_written(written.turns, found.messages)
    try:
        if action == "accept":
            services.accept_proposal(
                request.user, found.pk, messages=written.turns, use_case=use_case
            )
            messages.success(request, _("Accepted: it is a prompt of “%s” now.") % found.pool)
        elif action == "reject":
            reason = request.POST.get("reason", "").strip()
            services.reject_proposal(request.user, found.pk, reason=reason)
            messages.success(request, _("Rejected. The author reads your reason."))
        else:
            written.change(action)
            return _page(request, found, written, use_case=use_case, editing=True)
    except LabelingError as error:
        found.refresh_from_db()
        if _said_twice(request, found, action):
            return _onward(request)
        status = 422 if error.data.get("field") else 409
        return _page(request, found, written, use_case=use_case, error=error, status=status)
    return _onward(request)


def _said_twice(request: LabelerRequest, found: Proposal, action: str) -> bool:
    """A double click: the first one has done what the second one asks for."""
    done = {"accept": Proposal.State.ACCEPTED, "reject": Proposal.State.REJECTED}
    return found.reviewer_id == request.user.pk and found.state == done.get(action)


def _onward(request: LabelerRequest) -> HttpResponse:
    """To the next prompt that this reviewer may decide on, else to the list."""
    waiting = selectors.proposals_in(Proposal.State.PROPOSED)
    if not request.user.is_admin:
        waiting = waiting.exclude(author=request.user)
    following = waiting.first()
    if following is None:
        return redirect("labeling:review")
    return redirect("labeling:review_one", following.pk)


def _page(
    request: LabelerRequest,
    found: Proposal,
    written: Conversation,
    *,
    use_case: str = "",
    editing: bool = False,
    error: LabelingError | None = None,
    status: int = 200,
) -> HttpResponse:
    edited = written.turns != found.messages or use_case not in ("", found.use_case)
    context: dict[str, Any] = {
        "proposal": found,
        "written": written,
        "use_cases": USE_CASES,
        "use_case": use_case or found.use_case,
        "editing": editing or edited,
        "error": error,
        "reject_form": RejectForm(
            initial={"reason": request.POST.get("reason", "")},
        ),
        "waits": found.state == Proposal.State.PROPOSED,
        "waiting": selectors.proposals_waiting(),
        "is_own": found.author_id == request.user.pk and not request.user.is_admin,
        **reading(request),
    }
    return render(request, "labeling/review_one.html", context, status=status)
