"""What is written by people: demonstrations, and the prompts handed out to write them for."""

from __future__ import annotations

from django.contrib import admin
from django.utils.html import format_html_join

from labeling.admin.base import RecordAdmin, display, shortened, text_block
from labeling.models import Demonstration, Writing


@admin.register(Demonstration)
class DemonstrationAdmin(RecordAdmin):
    """Answers somebody would have wanted, for supervised fine-tuning."""

    list_display = ("text_start", "prompt_text", "pool", "author", "created_at")
    list_filter = ("prompt__pool", "author")
    list_select_related = ("prompt__pool", "author")
    search_fields = ("text", "author__username")
    ordering = ("-id",)
    fields = ("prompt", "shown_text", "author", "created_at", "revised_at", "former")
    readonly_fields = ("shown_text", "former")

    @display(description="demonstration", ordering="pk")
    def text_start(self, demonstration: Demonstration) -> str:
        return shortened(demonstration.text, 80)

    @display(description="prompt")
    def prompt_text(self, demonstration: Demonstration) -> str:
        return str(demonstration.prompt)

    @display(description="pool")
    def pool(self, demonstration: Demonstration) -> str:
        return demonstration.prompt.pool.name

    @display(description="text")
    def shown_text(self, demonstration: Demonstration) -> str:
        return text_block(demonstration.text)

    @display(description="earlier versions")
    def former(self, demonstration: Demonstration) -> str:
        rows = ((text_block(former.text),) for former in demonstration.former_texts.all())
        return format_html_join("", "{}<hr>", rows) or "–"


@admin.register(Writing)
class WritingAdmin(RecordAdmin):
    """Which prompt was handed to whom, and what became of it; skips with their reasons."""

    list_display = ("prompt_text", "pool", "labeler", "state_label", "skip_reason", "created_at")
    list_filter = ("state", "prompt__pool", "labeler__is_simulated")
    list_select_related = ("labeler", "prompt__pool")
    search_fields = ("labeler__username", "skip_reason")
    ordering = ("-created_at",)
    fields = (
        "prompt",
        "labeler",
        "state",
        "skip_reason",
        "draft",
        "guideline_version",
        "created_at",
        "finished_at",
    )

    @display(description="prompt")
    def prompt_text(self, writing: Writing) -> str:
        return str(writing.prompt)

    @display(description="pool")
    def pool(self, writing: Writing) -> str:
        return writing.prompt.pool.name

    @display(
        description="state",
        ordering="state",
        label={"open": "info", "submitted": "success", "skipped": "default"},
    )
    def state_label(self, writing: Writing) -> tuple[str, str]:
        return writing.state, writing.get_state_display()
