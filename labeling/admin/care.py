"""Topics of prompts, quality figures and adjudications in the admin."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from labeling import selectors, services
from labeling.admin.base import (
    Admin,
    RecordAdmin,
    action,
    admin_address,
    counted,
    display,
    link,
    shortened,
)
from labeling.models import AdjudicatedItem, Adjudication, Prompt, QualityReport, Topic


@admin.register(Topic)
class TopicAdmin(Admin):
    """What prompts may be about. Labelers opt out of topics; sensitive ones are covered."""

    list_display = ("label", "name", "is_sensitive", "prompt_count")
    list_filter = ("is_sensitive",)
    search_fields = ("name", "label")
    fields = ("label", "name", "is_sensitive")
    prepopulated_fields = {"name": ("label",)}
    actions = None

    def get_queryset(self, request: HttpRequest) -> QuerySet[Topic]:
        prompts = counted(Topic.prompts.through.objects.all(), "topic")
        return super().get_queryset(request).annotate(prompts_there=prompts)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # Who opted out of it opted out for good, be there prompts on it today or not.
        return False

    @display(description=gettext_lazy("prompts"), ordering="prompts_there")
    def prompt_count(self, topic: Any) -> str:
        return f"{topic.prompts_there:,}"


class TopicsForm(forms.Form):
    topics = forms.ModelMultipleChoiceField(
        label=gettext_lazy("Topics"),
        queryset=Topic.objects.all(),
        required=False,
        widget=forms.CheckboxSelectMultiple,
    )


class WithTopics(Admin):
    """The button on a prompt's page that says what the prompt is about."""

    @action(description=gettext_lazy("Topics"), icon="sell", url_path="topics")
    def choose_topics(self, request: HttpRequest, object_id: str) -> HttpResponse:
        prompt: Prompt = self.record(request, object_id)
        posted = request.POST if request.method == "POST" else None
        form = TopicsForm(posted, initial={"topics": prompt.topics.all()})
        back = admin_address(prompt)
        if form.is_valid():
            services.set_topics([prompt], form.cleaned_data["topics"])
            messages.success(request, _("The prompt's topics are stored."))
            return redirect(back)
        title = _("What is this prompt about?")
        return self.ask(request, form, title=title, button=_("Store"), back=back, original=prompt)

    @display(description=gettext_lazy("topics"))
    def topic_names(self, prompt: Prompt) -> str:
        return ", ".join(str(topic) for topic in prompt.topics.all()) or "–"


@admin.register(QualityReport)
class QualityReportAdmin(RecordAdmin):
    """The figures of each pool, as a worker last computed them."""

    list_display = ("pool", "rankings", "computed_at", "asked_for")
    list_select_related = ("pool",)
    fields = ("pool", "computed_at", "rankings", "used_rankings", "figures")
    readonly_fields = ("figures",)
    actions_detail = ("compute",)

    @display(description=gettext_lazy("asked for"), boolean=True)
    def asked_for(self, report: QualityReport) -> bool:
        return report.requested_at is not None

    @display(description=gettext_lazy("figures"))
    def figures(self, report: QualityReport) -> str:
        context = {
            "sections": selectors.quality_sections(report),
            "of_pool": selectors.OF_POOL,
            "of_labeler": selectors.OF_LABELER,
            "page": reverse("labeling:quality", args=[report.pool_id]),
        }
        return render_to_string("admin/labeling/quality.html", context)

    @action(description=gettext_lazy("Compute anew"), icon="refresh")
    def compute(self, request: HttpRequest, object_id: str) -> HttpResponse:
        report: QualityReport = self.record(request, object_id)
        services.request_quality(report.pool)
        messages.info(request, _("A worker computes them anew; look again in a moment."))
        return redirect(admin_address(report))


class ItemInline(admin.TabularInline):
    model = AdjudicatedItem
    extra = 0
    can_delete = False
    fields = readonly_fields = ("completion", "rank")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Adjudication)
class AdjudicationAdmin(RecordAdmin):
    """What reviewers decided where labelers disagreed; it is decided on the reviewers' page."""

    list_display = ("prompt_text", "reviewer", "created_at")
    list_filter = ("task__prompt__pool", "reviewer")
    list_select_related = ("task__prompt", "reviewer")
    fields = ("task_link", "reviewer", "reason", "created_at")
    readonly_fields = ("task_link",)
    inlines = (ItemInline,)

    @display(description=gettext_lazy("prompt"))
    def prompt_text(self, adjudication: Adjudication) -> str:
        return shortened(str(adjudication.task.prompt))

    @display(description=gettext_lazy("task"))
    def task_link(self, adjudication: Adjudication) -> str:
        page = reverse("labeling:adjudicate", args=[adjudication.task_id])
        side_by_side = _("side by side")
        return format_html(
            '{} · <a class="podium-link" href="{}">{}</a>',
            link(adjudication.task),
            page,
            side_by_side,
        )
