"""The records underneath: prompts, tasks, assignments, rankings and comparisons."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import admin
from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy

from labeling.admin.base import (
    CarefulDeletion,
    RecordAdmin,
    counted,
    display,
    link,
    shortened,
    text_block,
)
from labeling.admin.care import WithTopics
from labeling.admin.flags import flags_of
from labeling.admin.known_answers import KnownAnswers
from labeling.models import (
    Assignment,
    Comparison,
    Demonstration,
    Prompt,
    PromptFlag,
    RankedItem,
    Ranking,
    Slot,
    Task,
    Writing,
)
from labeling.ordering import ALIASES


def conversation(messages: list[dict[str, str]]) -> str:
    return render_to_string("admin/labeling/conversation.html", {"messages": messages})


@admin.register(Prompt)
class PromptAdmin(WithTopics, CarefulDeletion):
    """Prompts as they were imported. One that is in use stays."""

    list_display = (
        "text",
        "pool",
        "use_case",
        "source",
        "author",
        "tasks",
        "flag_counts",
        "created_at",
    )
    list_filter = ("pool", "topics", "use_case", "source")
    list_select_related = ("pool",)
    search_fields = ("messages", "use_case", "source", "author")
    search_help_text = gettext_lazy("text, use case, source, author")
    ordering = ("-id",)
    fields = (
        "shown_messages",
        "pool",
        "use_case",
        "source",
        "author",
        "topic_names",
        "flags",
        "task_links",
        "demonstration_links",
        "created_at",
    )
    readonly_fields = (
        "shown_messages",
        "topic_names",
        "flags",
        "task_links",
        "demonstration_links",
    )
    actions_detail = ("choose_topics",)
    work_paths = (
        (Ranking, "task__prompt"),
        (Assignment, "task__prompt"),
        (Writing, "prompt"),
        (Demonstration, "prompt"),
    )

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # prompts come in through a pool's import

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Prompt]:
        tasks = counted(Task.objects.all(), "prompt")
        return (
            super()
            .get_queryset(request)
            .annotate(task_count=tasks, flag_count=counted(PromptFlag.objects.all(), "prompt"))
        )

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Prompt], search_term: str
    ) -> tuple[QuerySet[Prompt], bool]:
        found, may_repeat = super().get_search_results(request, queryset, search_term)
        # SQLite keeps JSON as ASCII: a letter beyond it is found under its escaped form.
        escaped = json.dumps(search_term)[1:-1]
        if escaped != search_term:
            found |= super().get_search_results(request, queryset, escaped)[0]
        return found, may_repeat

    @display(description="prompt")
    def text(self, prompt: Prompt) -> str:
        return str(prompt)

    @display(description="tasks", ordering="task_count")
    def tasks(self, prompt: Any) -> str:
        return f"{prompt.task_count:,}"

    @display(description="conversation")
    def shown_messages(self, prompt: Prompt) -> str:
        return conversation(prompt.messages)

    @display(description="flags")
    def flags(self, prompt: Prompt) -> str:
        return flags_of(prompt)

    @display(description="flags", ordering="flag_count")
    def flag_counts(self, prompt: Any) -> str:
        return f"{prompt.flag_count:,}"

    @display(description="tasks")
    def task_links(self, prompt: Prompt) -> str:
        return _links(prompt.tasks.all())

    @display(description="demonstrations")
    def demonstration_links(self, prompt: Prompt) -> str:
        return _links(prompt.demonstrations.select_related("prompt"))


@admin.register(Task)
class TaskAdmin(KnownAnswers, RecordAdmin):
    """A prompt with its K completions, who wrote them, and how they were ranked."""

    list_display = ("task", "prompt_text", "pool", "round", "completion_count", "slots", "rankings")
    list_filter = ("prompt__pool", "round")
    list_select_related = ("prompt__pool", "round")
    search_fields = ("prompt__messages",)
    ordering = ("-id",)
    fields = (
        "prompt_link",
        "pool",
        "round",
        "shown_messages",
        "completions",
        "ranked_by",
        "created_at",
    )
    readonly_fields = ("prompt_link", "pool", "shown_messages", "completions", "ranked_by")
    actions_detail = ("known_answer",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Task]:
        slots = Slot.objects.filter(is_control=False)
        return (
            super()
            .get_queryset(request)
            .annotate(
                slot_count=counted(slots, "task"),
                done_count=counted(slots.filter(state=Slot.State.DONE), "task"),
                ranking_count=counted(Ranking.objects.all(), "task"),
            )
        )

    @display(description="task", ordering="pk")
    def task(self, task: Task) -> str:
        return str(task)

    @display(description="prompt")
    def prompt_text(self, task: Task) -> str:
        return str(task.prompt)

    @display(description="prompt")
    def prompt_link(self, task: Task) -> str:
        return link(task.prompt)

    @display(description="pool", ordering="prompt__pool")
    def pool(self, task: Task) -> str:
        return link(task.prompt.pool)

    @display(description="slots done")
    def slots(self, task: Any) -> str:
        return f"{task.done_count} of {task.slot_count}"

    @display(description="rankings", ordering="ranking_count")
    def rankings(self, task: Any) -> str:
        return str(task.ranking_count)

    @display(description="conversation")
    def shown_messages(self, task: Task) -> str:
        return conversation(task.prompt.messages)

    @display(description="completions")
    def completions(self, task: Task) -> str:
        context = {"completions": task.completions.order_by("number")}
        return render_to_string("admin/labeling/completions.html", context)

    @display(description="rankings")
    def ranked_by(self, task: Task) -> str:
        items = RankedItem.objects.select_related("completion").order_by("completion__number")
        rankings = task.rankings.select_related("labeler").prefetch_related(
            Prefetch("items", queryset=items)
        )
        context = {"rankings": rankings, "numbers": range(task.completion_count)}
        return render_to_string("admin/labeling/task_rankings.html", context)


@admin.register(Assignment)
class AssignmentAdmin(RecordAdmin):
    """Who was given what, and what became of it; skips with their reasons."""

    list_display = (
        "assignment",
        "labeler",
        "pool",
        "state_label",
        "skip_reason",
        "created_at",
        "finished_at",
    )
    list_filter = ("state", "task__prompt__pool", "labeler__is_simulated")
    list_select_related = (
        "labeler",
        "task__prompt__pool",
        "guideline_version__pool",
        "rubric_version__pool",
    )
    search_fields = ("labeler__username", "skip_reason")
    ordering = ("-created_at",)
    # The lease token stays out: it would let an admin's screen submit for a labeler.
    fields = (
        "task",
        "labeler",
        "state",
        "skip_reason",
        "order",
        "guideline_version",
        "rubric_version",
        "draft",
        "created_at",
        "finished_at",
    )
    readonly_fields = ("order",)

    @display(description="assignment", ordering="task")
    def assignment(self, assignment: Assignment) -> str:
        return f"Task {assignment.task_id}"

    @display(description="pool")
    def pool(self, assignment: Assignment) -> str:
        return assignment.task.prompt.pool.name

    @display(
        description="state",
        ordering="state",
        label={"open": "info", "submitted": "success", "late": "warning", "skipped": "default"},
    )
    def state_label(self, assignment: Assignment) -> tuple[str, str]:
        return assignment.state, assignment.get_state_display()

    @display(description="shown order")
    def order(self, assignment: Assignment) -> str:
        pairs = assignment.number_of_alias.items()
        return ", ".join(f"{alias} = completion {number}" for alias, number in pairs)


@admin.register(Ranking)
class RankingAdmin(RecordAdmin):
    """Rankings as they were handed in, the late ones among them."""

    list_display = (
        "ranking",
        "labeler",
        "status_label",
        "pool",
        "round",
        "note_start",
        "created_at",
    )
    list_filter = (
        "status",
        "task__prompt__pool",
        "labeler__labeler_group",
        "labeler__is_simulated",
        "task__round",
    )
    list_select_related = ("labeler", "task__prompt__pool", "task__round")
    search_fields = ("labeler__username", "note")
    search_help_text = "labeler, note"
    ordering = ("-id",)
    fields = (
        "task",
        "labeler",
        "status",
        "shown_messages",
        "items",
        "comparison_link",
        "note",
        "versions",
        "submission_id",
        "created_at",
        "revised_at",
    )
    readonly_fields = ("shown_messages", "items", "comparison_link", "versions")

    @display(description="ranking", ordering="pk")
    def ranking(self, ranking: Ranking) -> str:
        return f"Ranking {ranking.pk}"

    @display(
        description="status",
        ordering="status",
        label={"counted": "success", "late": "warning", "control": "info"},
    )
    def status_label(self, ranking: Ranking) -> tuple[str, str]:
        return ranking.status, ranking.get_status_display()

    @display(description="pool", ordering="task__prompt__pool")
    def pool(self, ranking: Ranking) -> str:
        return ranking.task.prompt.pool.name

    @display(description="round", ordering="task__round")
    def round(self, ranking: Ranking) -> str:
        return str(ranking.task.round_id)

    @display(description="note")
    def note_start(self, ranking: Ranking) -> str:
        return shortened(ranking.note, 60)

    @display(description="conversation")
    def shown_messages(self, ranking: Ranking) -> str:
        return conversation(ranking.task.prompt.messages)

    @display(description="completions, best first")
    def items(self, ranking: Ranking) -> str:
        alias_of = dict(zip(ranking.assignment.shown_order, ALIASES, strict=False))
        items = ranking.items.select_related("completion").order_by("rank", "completion__number")
        rows = [(alias_of[item.completion.number], item) for item in items]
        return render_to_string("admin/labeling/ranked_items.html", {"rows": rows})

    @display(description="earlier versions")
    def versions(self, ranking: Ranking) -> str:
        alias_of = ranking.assignment.alias_of_completion()
        versions = [
            (revision, [{"alias": alias_of[row["completion"]], **row} for row in revision.replaced])
            for revision in ranking.revisions.all()
        ]
        return render_to_string("admin/labeling/revisions.html", {"versions": versions})

    @display(description="comparisons")
    def comparison_link(self, ranking: Ranking) -> str:
        address = reverse("admin:labeling_comparison_changelist")
        return format_html(
            '<a class="podium-link" href="{}?ranking__id__exact={}">{} comparisons</a>',
            address,
            ranking.pk,
            ranking.comparisons.count(),
        )


@admin.register(Comparison)
class ComparisonAdmin(RecordAdmin):
    """The pairs that a ranking holds; ties stay ties."""

    list_display = ("pair", "chosen", "rejected", "rank_gap", "labeler", "status")
    list_filter = ("preferred", "ranking__status", "ranking__task__prompt__pool")
    list_select_related = ("ranking__labeler", "a", "b")
    search_fields = ("ranking__labeler__username",)
    ordering = ("-id",)
    fields = ("ranking", "a_text", "b_text", "preferred", "rank_gap")
    readonly_fields = ("a_text", "b_text")

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        # A ranking's page links to its comparisons.
        return lookup == "ranking__id__exact" or super().lookup_allowed(lookup, value, request)

    @display(description="comparison", ordering="pk")
    def pair(self, comparison: Comparison) -> str:
        return f"Ranking {comparison.ranking_id}: {comparison.a.number} – {comparison.b.number}"

    @display(description="preferred")
    def chosen(self, comparison: Comparison) -> str:
        if comparison.preferred == Comparison.Preferred.TIE:
            return "tie"
        first = comparison.preferred == Comparison.Preferred.A
        return shortened((comparison.a if first else comparison.b).text, 60)

    @display(description="over")
    def rejected(self, comparison: Comparison) -> str:
        first = comparison.preferred == Comparison.Preferred.A
        return shortened((comparison.b if first else comparison.a).text, 60)

    @display(description="labeler", ordering="ranking__labeler")
    def labeler(self, comparison: Comparison) -> str:
        return str(comparison.ranking.labeler)

    @display(
        description="status", label={"counted": "success", "late": "warning", "control": "info"}
    )
    def status(self, comparison: Comparison) -> tuple[str, str]:
        return comparison.ranking.status, comparison.ranking.get_status_display()

    @display(description="a")
    def a_text(self, comparison: Comparison) -> str:
        return text_block(comparison.a.text)

    @display(description="b")
    def b_text(self, comparison: Comparison) -> str:
        return text_block(comparison.b.text)


def _links(records: Any) -> str:
    return render_to_string("admin/labeling/links.html", {"links": [link(r) for r in records[:50]]})
