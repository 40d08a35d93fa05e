"""The pool's page with what only training knows: its sampler, and the runs on it."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext as _
from unfold.enums import ActionVariant

from labeling.admin.base import acting_admin, action, admin_address
from labeling.admin.pools import PoolAdmin
from labeling.errors import LabelingError
from labeling.models import Pool
from training import services
from training.admin.forms import SampledPoolForm
from training.models import Run

admin.site.unregister(Pool)


@admin.register(Pool)
class TrainedPoolAdmin(PoolAdmin):
    """Labeling's page, with buttons that start runs."""

    form = SampledPoolForm
    change_form_template = "admin/training/pool_change_form.html"
    actions_detail = (*PoolAdmin.actions_detail, "sample", "start_run")

    @action(description="Sample completions", icon="auto_awesome", variant=ActionVariant.PRIMARY)
    def sample(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """A sample run with the pool's own settings."""
        pool = self.record(request, object_id)
        form = forms.Form(request.POST if request.method == "POST" else None)
        if form.is_valid():
            try:
                run = services.start_run(acting_admin(request), kind=Run.Kind.SAMPLE, pool=pool)
            except LabelingError as refusal:
                form.add_error(None, refusal.message)
            else:
                messages.success(request, _("%(run)s is queued.") % {"run": run})
                return redirect(admin_address(run))
        return self.ask(
            request,
            form,
            title=_("Sample completions for %(pool)s?") % {"pool": pool},
            text=_(
                "%(model)s writes %(count)s completions for each prompt that lacks them in this "
                "round. Labelers can rank a prompt as soon as it has them all."
            )
            % {
                "model": pool.sampler or _("The promoted policy"),
                "count": pool.completions_per_prompt,
            },
            button="Sample completions",
            back=self.address(pool),
            original=pool,
        )

    @action(description="Start run", icon="play_arrow")
    def start_run(self, request: HttpRequest, object_id: str) -> HttpResponse:
        pool = self.record(request, object_id)
        return redirect(
            f"{reverse('admin:training_run_add')}?pool={pool.pk}&kind={Run.Kind.REWARD}"
        )

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        pool = context.get("original")
        if pool is not None:
            context["runs"] = pool.runs.select_related("made")[:5]
        return super().render_change_form(request, context, *args, **kwargs)
