"""Who is let into which pool: items, labelers' standings, and the word of an admin on them."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.html import format_html_join
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.enums import ActionVariant
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from labeling import selectors, services
from labeling.admin.base import (
    Admin,
    RecordAdmin,
    acting_admin,
    action,
    add_refusal,
    changelist_address,
    display,
    text_block,
)
from labeling.admin.forms import ImportForm
from labeling.errors import LabelingError
from labeling.execution import read_lines
from labeling.models import Pool, Qualification, QualificationItem, Trial, User
from labeling.templatetags.podium import percent

State = Qualification.State
ITEM_LINE = '{"prompt": "Sort 3 1.", "completions": [{"text": "1 3", "rank": 1}, …]}'


class ItemImportForm(ImportForm):
    """JSON Lines, and what its lines are for."""

    kind = forms.ChoiceField(
        choices=QualificationItem.Kind.choices,
        widget=UnfoldAdminSelectWidget,
        label=gettext_lazy("Use"),
    )
    field_order = ("kind", "file", "text")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["text"].widget.attrs["placeholder"] = ITEM_LINE


class NoteForm(forms.Form):
    note = forms.CharField(
        required=False,
        max_length=500,
        label=gettext_lazy("Note"),
        help_text=gettext_lazy("The labeler reads it."),
        widget=UnfoldAdminTextInputWidget,
    )


class GrantForm(NoteForm):
    """Whom to let in where."""

    labeler = forms.ModelChoiceField(
        queryset=User.objects.filter(is_active=True).order_by("username"),
        label=gettext_lazy("Labeler"),
        widget=UnfoldAdminSelectWidget,
    )
    pool = forms.ModelChoiceField(
        queryset=Pool.objects.order_by("name"),
        label=gettext_lazy("Pool"),
        widget=UnfoldAdminSelectWidget,
    )
    field_order = ("labeler", "pool", "note")


class QualifiedPool(Admin):
    """The import of a pool's items, for its admin."""

    @action(description=gettext_lazy("Qualification"), icon="school")
    def qualification(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Upload or paste items; bad lines are listed, good ones land."""
        pool = self.record(request, object_id)
        form = ItemImportForm(request.POST or None, request.FILES or None)
        report = None
        if form.is_valid():
            given = form.cleaned_data
            stream = given["file"] or io.BytesIO(given["text"].encode("utf-8", "surrogatepass"))
            report = services.import_items(
                pool, read_lines(stream), kind=given["kind"], author=acting_admin(request)
            )
            # Where lines were refused the text stays to be mended: good ones do no harm twice.
            if not (report.rejected and given["text"]):
                form = ItemImportForm(initial={"kind": given["kind"]})
        return self.ask(
            request,
            form,
            title=_("Qualification for %(pool)s") % {"pool": pool},
            button=_("Import"),
            back=self.address(pool),
            original=pool,
            template="admin/labeling/pool/qualification.html",
            report=report,
            counts={
                kind.label: selectors.items_of(pool, kind).count()
                for kind in QualificationItem.Kind
            },
            standings=pool.qualifications.select_related("labeler").order_by("labeler__username"),
            items_address=f"{changelist_address(QualificationItem)}?pool__id__exact={pool.pk}",
            grant_address=f"{reverse('admin:labeling_qualification_add')}?pool={pool.pk}",
        )


@admin.register(Qualification)
class QualificationAdmin(RecordAdmin):
    """Where labelers stand in pools. Letting in, taking out and another attempt are buttons."""

    list_display = ("labeler", "pool", "state_label", "attempt", "shown_score", "decided_by")
    list_filter = ("state", "pool")
    list_select_related = ("labeler", "pool", "decided_by")
    search_fields = ("labeler__username",)
    ordering = ("-id",)
    fields = (
        "labeler",
        "pool",
        "state",
        "attempt",
        "extra_attempts",
        "shown_score",
        "decided_by",
        "decided_at",
        "note",
        "items",
    )
    readonly_fields = ("shown_score", "items")
    actions_detail = ("grant", "another_attempt", "revoke")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return acting_admin(request).is_admin

    @display(
        description=gettext_lazy("stands"),
        ordering="state",
        label={
            State.TRAINING: "info",
            State.TESTING: "info",
            State.PASSED: "success",
            State.GRANTED: "success",
            State.FAILED: "warning",
            State.PAUSED: "danger",
            State.REVOKED: "danger",
        },
    )
    def state_label(self, one: Qualification) -> tuple[str, str]:
        return one.state, one.get_state_display()

    @display(description=gettext_lazy("last test"), ordering="score")
    def shown_score(self, one: Qualification) -> str:
        return "–" if one.score is None else percent(one.score)

    @display(description=gettext_lazy("items ranked"))
    def items(self, one: Qualification) -> str:
        trials = one.trials.filter(state=Trial.State.SUBMITTED).select_related("item__pool")
        rows = (
            (_("training") if t.attempt == 0 else _("test %(n)s") % {"n": t.attempt}, t.item, share)
            for t in trials
            if (share := percent(t.agreement or 0.0))
        )
        return format_html_join("", "<p>{}: {}, {}</p>", rows) or text_block("–")

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Let somebody in by hand who has not come here yet."""
        initial = {name: request.GET.get(name) for name in ("labeler", "pool")}
        form = GrantForm(request.POST or None, initial=initial)
        back = changelist_address(Qualification)
        if form.is_valid():
            services.grant_qualification(acting_admin(request), **form.cleaned_data)
            messages.success(request, _("Let in."))
            return redirect(back)
        return self.ask(request, form, title=_("Let a labeler in"), button=_("Let in"), back=back)

    @action(description=gettext_lazy("Let in"), icon="check")
    def grant(self, request: HttpRequest, object_id: str) -> HttpResponse:
        title = _("Let %(labeler)s into %(pool)s?")
        return self._decide(request, object_id, services.grant_qualification, title, _("Let in"))

    @action(description=gettext_lazy("Another attempt"), icon="replay")
    def another_attempt(self, request: HttpRequest, object_id: str) -> HttpResponse:
        title = _("Let %(labeler)s take the test of %(pool)s once more?")
        decide = services.allow_another_attempt
        return self._decide(request, object_id, decide, title, _("Allow it"))

    @action(description=gettext_lazy("Take out"), icon="block", variant=ActionVariant.DANGER)
    def revoke(self, request: HttpRequest, object_id: str) -> HttpResponse:
        title = _("Take %(labeler)s out of %(pool)s?")
        return self._decide(request, object_id, services.revoke_qualification, title, _("Take out"))

    def _decide(
        self,
        request: HttpRequest,
        object_id: str,
        decide: Callable[..., None],
        title: str,
        button: str,
    ) -> HttpResponse:
        one: Qualification = self.record(request, object_id)
        posted = request.POST if request.method == "POST" else None
        form = NoteForm(posted)
        if form.is_valid():
            try:
                decide(acting_admin(request), one.labeler, one.pool, **form.cleaned_data)
            except LabelingError as refusal:
                add_refusal(form, refusal)
            else:
                one.refresh_from_db()
                messages.success(request, str(one))
                return redirect(self.address(one))
        return self.ask(
            request,
            form,
            title=title % {"labeler": one.labeler, "pool": one.pool},
            button=button,
            back=self.address(one),
            original=one,
        )
