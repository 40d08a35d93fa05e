"""Model versions, their lineage and promotion, and the rounds that promotion opens."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from unfold.enums import ActionVariant

from labeling.admin.base import (
    RecordAdmin,
    acting_admin,
    action,
    acts_as_admin,
    changelist_address,
    counted,
    display,
    link,
)
from labeling.errors import LabelingError
from labeling.models import Round, Task
from training import selectors, services
from training.admin.figures import key_metrics, metric_rows
from training.admin.forms import ReferenceForm
from training.models import ModelVersion, Promotion, Run


@admin.register(ModelVersion)
class ModelVersionAdmin(RecordAdmin):
    """Every model with what it was made from. The promoted policy writes the completions."""

    list_display = (
        "name",
        "kind_label",
        "sampler",
        "round",
        "made_from",
        "run_link",
        "result",
        "created_at",
    )
    list_filter = ("kind", "round")
    list_select_related = ("parent", "made_by", "round")
    search_fields = ("name", "reference", "digest")
    ordering = ("-id",)
    fields = (
        "name",
        "kind",
        "round",
        "run_link",
        "reward_model",
        "snapshot",
        "digest",
        "reference",
        "created_at",
    )
    readonly_fields = ("run_link", "snapshot")
    change_form_template = "admin/training/modelversion/change_form.html"
    actions_detail = ("promote", "start_run")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return acts_as_admin(request)

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        """Only what may be promoted has the button; ``services.promote_model`` decides."""
        model = self.get_object(request, object_id)
        fit = model is not None and model.kind == ModelVersion.Kind.POLICY and not model.is_sampler
        actions = super().get_actions_detail(request, object_id)
        return [action for action in actions if fit or action.path != "promote"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[ModelVersion]:
        latest = Promotion.objects.order_by("-round").values("pk")[:1]
        current = Promotion.objects.filter(pk__in=latest, model=OuterRef("pk"))
        return super().get_queryset(request).annotate(is_sampler=Exists(current))

    @display(description="kind", ordering="kind", label={"policy": "primary", "reward": "info"})
    def kind_label(self, model: ModelVersion) -> tuple[str, str]:
        return model.kind, model.get_kind_display()

    @display(description="promoted", label={"promoted": "success"})
    def sampler(self, model: Any) -> str:
        return "promoted" if model.is_sampler else ""

    @display(description="made from", ordering="parent")
    def made_from(self, model: ModelVersion) -> str:
        return link(model.parent)

    @display(description="run")
    def run_link(self, model: ModelVersion) -> str:
        return link(_run_of(model))

    @display(description="result")
    def result(self, model: ModelVersion) -> str:
        return key_metrics(model.metrics)

    @display(description="trained on snapshot")
    def snapshot(self, model: ModelVersion) -> str:
        run = _run_of(model)
        return run.snapshot.digest if run and run.snapshot else "–"

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        model = context["original"]
        context |= {
            "lineage": selectors.lineage(model),
            "children": list(model.children.all()),
            "metrics": metric_rows(model.metrics),
        }
        return super().render_change_form(request, context, *args, **kwargs)

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """A model from outside, by its reference."""
        form = ReferenceForm(request.POST if request.method == "POST" else None)
        if form.is_valid():
            try:
                model = services.register_model(form.cleaned_data["reference"].strip())
            except LabelingError as refusal:
                form.add_error("reference", refusal.message)
            else:
                messages.success(
                    request,
                    _("%(model)s is in the registry. Promote it to sample from it.")
                    % {"model": model},
                )
                return redirect(self.address(model))
        back = changelist_address(ModelVersion)
        return self.ask(request, form, title="Register a model", button="Register", back=back)

    @action(description="Promote", icon="workspace_premium", variant=ActionVariant.PRIMARY)
    def promote(self, request: HttpRequest, object_id: str) -> HttpResponse:
        model = self.record(request, object_id)
        form = forms.Form(request.POST if request.method == "POST" else None)
        if form.is_valid():
            try:
                promotion = services.promote_model(acting_admin(request), model)
            except LabelingError as refusal:
                form.add_error(None, refusal.message)
            else:
                told = _("%(model)s is the sampler of %(round)s.")
                messages.success(request, told % {"model": model, "round": promotion.round})
                return redirect(self.address(model))
        current = selectors.current_promotion()
        text = _(
            "It opens the next round and writes the completions of all pools that name no model of "
            "their own."
        )
        if current:
            now = _("Now it is %(model)s, in %(round)s.")
            text = f"{text} {now % {'model': current.model, 'round': current.round}}"
        return self.ask(
            request,
            form,
            title=_("Promote %(model)s?") % {"model": model},
            text=text,
            button="Promote",
            back=self.address(model),
            original=model,
        )

    @action(description="Start run", icon="play_arrow")
    def start_run(self, request: HttpRequest, object_id: str) -> HttpResponse:
        model = self.record(request, object_id)
        field = "model" if model.kind == ModelVersion.Kind.POLICY else "reward_model"
        kind = Run.Kind.SAMPLE if field == "model" else Run.Kind.PPO
        return redirect(f"{changelist_address(Run)}add/?{field}={model.pk}&kind={kind}")


@admin.register(Round)
class RoundAdmin(RecordAdmin):
    """The turns of the loop, each with the policy that writes its completions."""

    list_display = ("title", "sampler", "tasks", "started_at")
    list_select_related = ("promotion__model",)
    ordering = ("-number",)
    fields = ("number", "sampler", "promoted_by", "started_at")
    readonly_fields = ("sampler", "promoted_by")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Round]:
        tasks = counted(Task.objects.all(), "round")
        return super().get_queryset(request).annotate(task_count=tasks)

    @display(description="round", ordering="number")
    def title(self, round_: Round) -> str:
        return str(round_)

    @display(description="sampler")
    def sampler(self, round_: Round) -> str:
        promotion = _promotion_of(round_)
        return link(promotion.model if promotion else None)

    @display(description="promoted by")
    def promoted_by(self, round_: Round) -> str:
        promotion = _promotion_of(round_)
        return str(promotion.promoted_by or _("the first start")) if promotion else "–"

    @display(description="tasks", ordering="task_count")
    def tasks(self, round_: Any) -> str:
        return f"{round_.task_count:,}"


def _run_of(model: ModelVersion) -> Run | None:
    return getattr(model, "made_by", None)


def _promotion_of(round_: Round) -> Promotion | None:
    return getattr(round_, "promotion", None)
