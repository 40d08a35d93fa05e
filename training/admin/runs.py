"""Runs: start, watch, cancel."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.html import format_html
from django.utils.translation import gettext as _
from unfold.enums import ActionVariant

from labeling.admin.base import (
    RecordAdmin,
    acting_admin,
    action,
    acts_as_admin,
    changelist_address,
    display,
    link,
)
from labeling.errors import LabelingError
from training import services
from training.admin.curves import curves_of
from training.admin.figures import duration, figure, key_metrics, metric_rows
from training.admin.forms import RunForm, parameter_tables
from training.models import Run, RunEvent

SHOWN_EVENTS = 100
REFRESH_SECONDS = 3
STATE_COLOURS = {
    Run.State.QUEUED: "info",
    Run.State.RUNNING: "primary",
    Run.State.SUCCEEDED: "success",
    Run.State.FAILED: "danger",
    Run.State.CANCELLED: "warning",
}


@admin.register(Run)
class RunAdmin(RecordAdmin):
    """The runs there were, are and will be. Their state is the worker's to write."""

    list_display = (
        "run",
        "state_label",
        "progress_bar",
        "pool_name",
        "result",
        "made_link",
        "created_at",
        "took",
    )
    list_filter = ("state", "kind", "pool", "round")
    list_select_related = ("pool", "made")
    ordering = ("-id",)
    search_fields = ("model__name", "pool__name", "error")
    change_form_template = "admin/training/run/change_form.html"
    fields = ()
    actions_detail = ("cancel", "again")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return acts_as_admin(request)

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        """An ended run has no button to cancel it; ``services.cancel_run`` decides."""
        run = self.get_object(request, object_id)
        ended = run is not None and run.has_ended
        actions = super().get_actions_detail(request, object_id)
        return [action for action in actions if not (ended and action.path == "cancel")]

    @display(description="run", ordering="pk")
    def run(self, run: Run) -> str:
        return str(run)

    @display(description="state", ordering="state", label=STATE_COLOURS)
    def state_label(self, run: Run) -> tuple[str, str]:
        stopping = run.cancel_requested and run.state == Run.State.RUNNING
        return run.state, "stopping" if stopping else run.get_state_display()

    @display(description="progress", ordering="progress")
    def progress_bar(self, run: Run) -> str:
        return format_html(
            '<progress class="podium-bar" max="1" value="{}"></progress> {}',
            run.progress,
            run.phase if run.state == Run.State.RUNNING else "",
        )

    @display(description="pool", ordering="pool")
    def pool_name(self, run: Run) -> str:
        return run.pool.name if run.pool else "all"

    @display(description="result")
    def result(self, run: Run) -> str:
        return key_metrics(run.metrics)

    @display(description="made", ordering="made")
    def made_link(self, run: Run) -> str:
        return link(run.made)

    @display(description="took")
    def took(self, run: Run) -> str:
        return duration(run)

    # --- start --------------------------------------------------------------------------------

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        if request.method != "POST":
            return self._start_page(request, RunForm(initial=_prefilled(request)))
        form = RunForm(request.POST)
        if not form.is_valid():
            return self._start_page(request, form)
        try:
            run = services.start_run(acting_admin(request), **form.asked())
        except LabelingError as refusal:
            form.refuse(refusal)
            return self._start_page(request, form)
        messages.success(request, _("%(run)s is queued.") % {"run": run})
        return redirect(self.address(run))

    def _start_page(self, request: HttpRequest, form: RunForm) -> HttpResponse:
        return self.ask(
            request,
            form,
            title="Start a run",
            button="Start run",
            back=changelist_address(Run),
            template="admin/training/run/start.html",
            tables=parameter_tables(),
        )

    @action(description="Run again", icon="replay", url_path="again")
    def again(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The start page with the settings of this run."""
        run = self.record(request, object_id)
        initial = {
            "kind": run.kind,
            "pool": run.pool_id,
            "model": run.model_id,
            "reward_model": run.reward_model_id,
            "labelers": run.labelers,
            "seed": run.seed,
            "params": run.params,
        }
        if request.method == "POST":
            return self.add_view(request)
        return self._start_page(request, RunForm(initial=initial))

    # --- watch --------------------------------------------------------------------------------

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> Any:
        response = super().change_view(request, object_id, *args, **kwargs)
        run = getattr(response, "context_data", {}).get("original")
        if request.headers.get("HX-Request") and run is not None and run.has_ended:
            # The panel asked once more after the end: now the buttons change as well.
            response["HX-Refresh"] = "true"
        return response

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        run = context["original"]
        events = RunEvent.objects.filter(run=run).order_by("-number")[:SHOWN_EVENTS]
        context |= {
            "run": run,
            "refresh_seconds": REFRESH_SECONDS,
            "state_colour": STATE_COLOURS[Run.State(run.state)],
            "took": duration(run),
            "percent": round(100 * run.progress),
            "curves": curves_of(run),
            "metrics": metric_rows(run.metrics),
            "params": metric_rows(run.params),
            "events": [(event, _told(event)) for event in events],
        }
        return super().render_change_form(request, context, *args, **kwargs)

    # --- cancel -------------------------------------------------------------------------------

    @action(description="Cancel", icon="cancel", variant=ActionVariant.DANGER)
    def cancel(self, request: HttpRequest, object_id: str) -> HttpResponse:
        run = self.record(request, object_id)
        if request.method != "POST" and not run.has_ended:
            return self.ask(
                request,
                forms.Form(),
                title=_("Cancel %(run)s?") % {"run": run},
                text="A run that waits ends at once; one that works is stopped at its next step. "
                "What it has not published is lost.",
                button="Cancel the run",
                danger=True,
                back=self.address(run),
                original=run,
            )
        try:
            services.cancel_run(run)
        except LabelingError as refusal:
            messages.error(request, refusal.message)
        else:
            messages.success(request, _("%(run)s is being cancelled.") % {"run": run})
        return redirect(self.address(run))


def _prefilled(request: HttpRequest) -> dict[str, Any]:
    """Fields that the address names, as the pages that lead here do."""
    return {name: request.GET[name] for name in RunForm.base_fields if name in request.GET}


def _told(event: RunEvent) -> str:
    return ", ".join(f"{name} {figure(value)}" for name, value in event.metrics.items())
