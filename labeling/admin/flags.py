"""What labelers say is wrong with prompts."""

from __future__ import annotations

from django.contrib import admin
from django.template.loader import render_to_string
from django.utils.translation import gettext_lazy

from labeling.admin.base import RecordAdmin, display, link
from labeling.models import Prompt, PromptFlag


@admin.register(PromptFlag)
class PromptFlagAdmin(RecordAdmin):
    """Flags on prompts, the latest first."""

    list_display = ("flag", "reason_label", "prompt_text", "pool", "labeler", "created_at")
    list_filter = ("reason", "prompt__pool", "labeler__is_simulated")
    list_select_related = ("prompt__pool", "labeler")
    search_fields = ("detail", "labeler__username", "prompt__messages")
    search_help_text = gettext_lazy("words of the flag, labeler, prompt")
    ordering = ("-created_at",)
    fields = ("prompt_link", "reason", "detail", "labeler", "created_at")
    readonly_fields = ("prompt_link",)

    @display(description="flag", ordering="pk")
    def flag(self, flag: PromptFlag) -> str:
        return flag.detail or f"Flag {flag.pk}"

    @display(description="reason", ordering="reason")
    def reason_label(self, flag: PromptFlag) -> str:
        return flag.get_reason_display()

    @display(description="prompt")
    def prompt_text(self, flag: PromptFlag) -> str:
        return str(flag.prompt)

    @display(description="prompt")
    def prompt_link(self, flag: PromptFlag) -> str:
        return link(flag.prompt)

    @display(description="pool", ordering="prompt__pool")
    def pool(self, flag: PromptFlag) -> str:
        return flag.prompt.pool.name


def flags_of(prompt: Prompt) -> str:
    """The prompt's flags, for its own page."""
    flags = prompt.flags.select_related("labeler")
    return render_to_string("admin/labeling/prompt_flags.html", {"flags": flags})
