"""Prompts that labelers wrote, and the use cases of the waiting list that they write for."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext, gettext_lazy
from unfold.widgets import UnfoldAdminTextareaWidget

from labeling import services
from labeling.admin.base import (
    AnsweredForm,
    CarefulDeletion,
    RecordAdmin,
    display,
    link,
    shortened,
    text_block,
)
from labeling.admin.records import conversation
from labeling.models import Application, Proposal


@admin.register(Proposal)
class ProposalAdmin(RecordAdmin):
    """What became of every written prompt. Decisions are made on the page for reviewers."""

    list_display = ("text", "pool", "kind", "use_case", "author", "state_label", "created_at")
    list_filter = ("state", "kind", "use_case", "pool", "author__is_simulated")
    list_select_related = ("pool", "author")
    search_fields = ("author__username", "reason", "messages")
    ordering = ("-created_at",)
    fields = (
        "review",
        "shown_messages",
        "pool",
        "kind",
        "use_case",
        "application",
        "author",
        "state",
        "reviewer",
        "reason",
        "prompt_link",
        "created_at",
        "reviewed_at",
    )
    readonly_fields = ("review", "shown_messages", "prompt_link")

    @display(description="prompt")
    def text(self, proposal: Proposal) -> str:
        return str(proposal)

    @display(description="review")
    def review(self, proposal: Proposal) -> str:
        address = reverse("labeling:review_one", args=[proposal.pk])
        said = gettext("Open the review page")
        return format_html('<a class="podium-link" href="{}">{}</a>', address, said)

    @display(description="conversation")
    def shown_messages(self, proposal: Proposal) -> str:
        return conversation(proposal.messages)

    @display(description="prompt")
    def prompt_link(self, proposal: Proposal) -> str:
        return link(proposal.prompt)

    @display(
        description="state",
        ordering="state",
        label={"proposed": "info", "accepted": "success", "rejected": "danger"},
    )
    def state_label(self, proposal: Proposal) -> tuple[str, str]:
        return proposal.state, proposal.get_state_display()


class ApplicationForm(forms.ModelForm):
    """New ones, one a line; of one that is there, whether it is still given to writers."""

    texts = forms.CharField(
        label=gettext_lazy("use cases"),
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 10}),
        help_text=gettext_lazy(
            "As people stated them when they asked for access, one a line. Those that the "
            "pool has are left out."
        ),
    )

    class Meta:
        model = Application
        fields = ("pool", "is_open")

    def lines(self) -> list[str]:
        """Call it on a valid form."""
        return [line.strip() for line in self.cleaned_data["texts"].splitlines() if line.strip()]


@admin.register(Application)
class ApplicationAdmin(AnsweredForm, CarefulDeletion):
    """Use cases that writers of user-based prompts are given."""

    form = ApplicationForm
    list_display = ("text_start", "pool", "is_open", "created_at")
    list_filter = ("pool", "is_open")
    search_fields = ("text",)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("shown_text", "pool", "is_open") if obj else ("pool", "texts")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("shown_text", "pool") if obj else ()

    def get_form(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, **kwargs)
        if obj is not None:
            form.base_fields.pop("texts", None)
        return form

    @display(description="use case")
    def text_start(self, application: Application) -> str:
        return shortened(application.text, 80)

    @display(description="use case")
    def shown_text(self, application: Application) -> str:
        return text_block(application.text)

    def save_model(self, request: HttpRequest, obj: Application, form: Any, change: bool) -> None:
        if change:
            obj.save(update_fields=["is_open"])
            return
        added = services.add_applications(form.cleaned_data["pool"], form.lines())
        first = added[0] if added else form.cleaned_data["pool"].applications.first()
        obj.__dict__.update(first.__dict__)
