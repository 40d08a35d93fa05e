"""Pools: settings, guidelines, progress, import and export."""

from __future__ import annotations

import io
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from labeling import selectors, services
from labeling.admin.base import (
    AnsweredForm,
    CarefulDeletion,
    acting_admin,
    action,
    counted,
    display,
)
from labeling.admin.forms import ImportForm, PoolForm
from labeling.admin.qualification import QualifiedPool
from labeling.admin.versions import VersionedPool
from labeling.execution import read_lines
from labeling.models import (
    Assignment,
    Demonstration,
    Pool,
    Prompt,
    Qualification,
    Ranking,
    Slot,
    Task,
    Writing,
)

EXPORTS = {
    "comparisons": ("jsonl", "trl", "parquet", "csv"),
    "rankings": ("jsonl", "parquet", "csv"),
    "demonstrations": ("jsonl", "trl", "parquet", "csv"),
    "adjudications": ("jsonl", "parquet", "csv"),
}


# The counts of ``selectors.pool_progress``, as they are read.
COUNTS = {
    "prompts": _("prompts"),
    "tasks": _("tasks"),
    "open": _("open"),
    "leased": _("leased"),
    "done": _("done"),
    "rankings": _("rankings"),
    "comparisons": _("comparisons"),
    "late": _("late"),
}


@admin.register(Pool)
class PoolAdmin(VersionedPool, QualifiedPool, AnsweredForm, CarefulDeletion):
    """Pools with their progress; everything about one on its own page."""

    form = PoolForm
    list_display = (
        "name",
        "is_open",
        "shape",
        "prompts",
        "tasks",
        "progress",
        "rankings",
        "late",
    )
    list_filter = ("is_open",)
    search_fields = ("name",)
    change_form_template = "admin/labeling/pool/change_form.html"
    fieldsets: Any = (
        (None, {"fields": ("name", "is_open")}),
        (
            _("Ranking"),
            {"fields": ("completions_per_prompt", "overlap", "lease_seconds", "edit_minutes")},
        ),
        (_("Sampling"), {"fields": ("sampler", "temperature", "top_p", "max_new_tokens")}),
        (_("Writing"), {"fields": ("takes_demonstrations", "takes_prompts")}),
        (
            _("Qualification"),
            {
                "fields": (
                    "qualification_threshold",
                    "qualification_attempts",
                    "qualification_test_size",
                )
            },
        ),
        (
            _("Control tasks"),
            {"fields": ("control_share", "control_threshold", "control_pauses")},
        ),
    )
    add_fieldsets: Any = ((_("Guidelines"), {"fields": ("guidelines",)}),)
    actions_detail: Any = ("import_prompts", "guidelines", "rubric", "qualification")
    work_paths = (
        (Ranking, "task__prompt__pool"),
        (Assignment, "task__prompt__pool"),
        (Writing, "prompt__pool"),
        (Demonstration, "prompt__pool"),
        (Qualification, "pool"),
    )

    def get_fieldsets(self, request: HttpRequest, obj: Pool | None = None) -> Any:
        # Later the guidelines have a page of their own, with preview and history.
        return self.fieldsets if obj else (*self.fieldsets, *self.add_fieldsets)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Pool]:
        rankings, slots = Ranking.objects.all(), Slot.objects.filter(is_control=False)
        return (
            super()
            .get_queryset(request)
            .annotate(
                prompt_count=counted(Prompt.objects.all(), "pool"),
                task_count=counted(Task.objects.all(), "prompt__pool"),
                slot_count=counted(slots, "pool"),
                done_count=counted(slots.filter(state=Slot.State.DONE), "pool"),
                ranking_count=counted(
                    rankings.filter(status=Ranking.Status.COUNTED), "task__prompt__pool"
                ),
                late_count=counted(
                    rankings.filter(status=Ranking.Status.LATE), "task__prompt__pool"
                ),
            )
        )

    @display(description="K × overlap")
    def shape(self, pool: Pool) -> str:
        return f"{pool.completions_per_prompt} × {pool.overlap}"

    @display(description="prompts", ordering="prompt_count")
    def prompts(self, pool: Any) -> str:
        return f"{pool.prompt_count:,}"

    @display(description="tasks", ordering="task_count")
    def tasks(self, pool: Any) -> str:
        return f"{pool.task_count:,}"

    @display(description="done")
    def progress(self, pool: Any) -> str:
        """Slots done of all slots."""
        return format_html(
            '<progress class="podium-bar" max="{}" value="{}"></progress> {} / {}',
            pool.slot_count or 1,
            pool.done_count,
            f"{pool.done_count:,}",
            f"{pool.slot_count:,}",
        )

    @display(description="rankings", ordering="ranking_count")
    def rankings(self, pool: Any) -> str:
        return f"{pool.ranking_count:,}"

    @display(description="late", ordering="late_count")
    def late(self, pool: Any) -> str:
        return f"{pool.late_count:,}"

    def save_model(self, request: HttpRequest, obj: Pool, form: Any, change: bool) -> None:
        if change:
            services.change_pool(obj, **form.settings())
            return
        author = acting_admin(request)
        guidelines = form.cleaned_data["guidelines"]
        created = services.create_pool(guidelines=guidelines, author=author, **form.settings())
        obj.__dict__.update(created.__dict__)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        pool = context.get("original")
        if pool is not None:
            context |= {
                "progress": [
                    (COUNTS.get(name, name), count)
                    for name, count in selectors.pool_progress(pool).items()
                ],
                "exports": _export_links(pool),
                "versions": _versions(pool),
                "figures": selectors.control_figures(pool=pool),
            }
        return super().render_change_form(request, context, *args, **kwargs)

    @action(description="Import prompts", icon="upload")
    def import_prompts(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Upload or paste JSON Lines; bad lines are listed, good ones land."""
        pool = self.record(request, object_id)
        if request.method != "POST":
            return self._import_page(request, pool, ImportForm(), None)
        form = ImportForm(request.POST, request.FILES)
        if not form.is_valid():
            return self._import_page(request, pool, form, None)
        given = form.cleaned_data
        stream = given["file"] or io.BytesIO(given["text"].encode("utf-8", "surrogatepass"))
        report = services.import_prompts(pool, read_lines(stream))
        # Where lines were refused the text stays to be mended: good ones do no harm twice.
        again = form if report.rejected and given["text"] else ImportForm()
        return self._import_page(request, pool, again, report)

    def _import_page(
        self,
        request: HttpRequest,
        pool: Pool,
        form: ImportForm,
        report: services.ImportReport | None,
    ) -> TemplateResponse:
        return self.ask(
            request,
            form,
            title=_("Import prompts into %(pool)s") % {"pool": pool},
            button="Import",
            back=self.address(pool),
            original=pool,
            template="admin/labeling/import.html",
            report=report,
        )


def _versions(pool: Pool) -> list[dict[str, Any]]:
    """What labelers are told and asked by now, since when, and by whom."""
    found = []
    for name, action_, versions in (
        (_("Guidelines"), "guidelines", pool.guideline_versions),
        (_("Rubric"), "rubric", pool.rubric_versions),
    ):
        latest = versions.select_related("author").order_by("-number").first()
        address = reverse(f"admin:labeling_pool_{action_}", args=[pool.pk])
        found.append({"name": name, "address": address, "latest": latest})
    return found


def _export_links(pool: Pool) -> list[dict[str, Any]]:
    address = reverse("labeling-api:pool-export", args=[pool.pk])
    return [
        {
            "kind": kind,
            "formats": [(name, f"{address}?kind={kind}&format={name}") for name in formats],
        }
        for kind, formats in EXPORTS.items()
    ]
