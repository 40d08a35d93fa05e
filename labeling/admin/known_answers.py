"""Known answers: a task as a control or as an item of a qualification, and all there are."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget

from labeling import services
from labeling.admin.base import (
    Admin,
    RecordAdmin,
    acting_admin,
    action,
    add_refusal,
    counted,
    display,
    link,
    shortened,
    text_block,
)
from labeling.errors import LabelingError
from labeling.models import (
    Completion,
    ControlTask,
    QualificationItem,
    RankedItem,
    Ranking,
    Task,
    Trial,
    User,
)

CONTROL = "control"
USES = [
    (CONTROL, gettext_lazy("control task, mixed in silently")),
    *QualificationItem.Kind.choices,
]


class KnownAnswerForm(forms.Form):
    """What the task is used for, and the expected rank of each completion."""

    use = forms.ChoiceField(choices=USES, widget=UnfoldAdminSelectWidget, label=gettext_lazy("Use"))
    explanation = forms.CharField(
        required=False,
        strip=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 4}),
        label=gettext_lazy("Explanation"),
        help_text=gettext_lazy(
            "Shown after the item in training, as Markdown. Not used by tests and controls."
        ),
    )

    def __init__(
        self, completions: list[Completion], ranks: dict[int, int], data: Any = None
    ) -> None:
        super().__init__(data)
        self.completions = completions
        places = [("", "—"), *((n, str(n)) for n in range(1, len(completions) + 1))]
        for completion in completions:
            number = completion.number
            self.fields[f"rank_{number}"] = forms.TypedChoiceField(
                choices=places,
                coerce=int,
                initial=ranks.get(number, ""),
                widget=UnfoldAdminSelectWidget(
                    attrs={"aria-label": _("Expected rank of completion %(n)s") % {"n": number}}
                ),
            )

    @property
    def rows(self) -> list[tuple[Completion, forms.BoundField]]:
        return [(c, self[f"rank_{c.number}"]) for c in self.completions]

    def ranks(self) -> list[int]:
        """By number. Call it on a valid form."""
        return [self.cleaned_data[f"rank_{c.number}"] for c in self.completions]


class KnownAnswers(Admin):
    """The page that makes a task a known answer, for the admin of tasks."""

    @action(description=gettext_lazy("Use as known answer"), icon="school")
    def known_answer(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Typed ranks, or those of a reviewer's ranking to start from."""
        task: Task = self.record(request, object_id)
        by_reviewers = _reviewers_rankings(task)
        ranks = _start(task, by_reviewers, request.GET.get("ranking", ""))
        completions = list(task.completions.order_by("number"))
        form = KnownAnswerForm(completions, ranks, request.POST or None)
        if form.is_valid():
            try:
                told = _use(acting_admin(request), task, form)
            except LabelingError as refusal:
                add_refusal(form, refusal)
            else:
                messages.success(request, told)
                return redirect(self.address(task))
        return self.ask(
            request,
            form,
            title=_("Known answer of %(task)s") % {"task": task},
            button=_("Use it"),
            back=self.address(task),
            original=task,
            template="admin/labeling/known_answer.html",
            rankings=by_reviewers,
            prompt=task.prompt.messages[-1]["content"],
            control=ControlTask.objects.filter(task=task, is_active=True).first(),
        )


def _reviewers_rankings(task: Task) -> QuerySet[Ranking]:
    roles = (User.Role.REVIEWER, User.Role.ADMIN)
    return task.rankings.filter(labeler__role__in=roles).select_related("labeler").order_by("-id")


def _start(task: Task, rankings: QuerySet[Ranking], chosen: str) -> dict[int, int]:
    """The ranks to begin with: of the ranking chosen, else those expected of it as a control."""
    if chosen.isascii() and chosen.isdecimal() and len(chosen) < 19:
        items = RankedItem.objects.filter(ranking__in=rankings.filter(pk=int(chosen)))
        return dict(items.values_list("completion__number", "rank"))
    control = ControlTask.objects.filter(task=task).first()
    return control.rank_of_number if control else {}


def _use(admin_: User, task: Task, form: KnownAnswerForm) -> str:
    use, ranks = form.cleaned_data["use"], form.ranks()
    if use == CONTROL:
        services.make_control(admin_, task, ranks=ranks)
        return _("%(task)s is a control task now.") % {"task": task}
    item = services.item_from_task(
        admin_, task, kind=use, ranks=ranks, explanation=form.cleaned_data["explanation"]
    )
    return _("Made: %(item)s.") % {"item": item}


class Retired(RecordAdmin):
    """Known answers, which are never edited or deleted: one that is wrong is retired."""

    actions_detail = ("retire",)
    actions_row = ("retire",)

    @display(description=gettext_lazy("in use"), boolean=True, ordering="is_active")
    def in_use(self, known: Any) -> bool:
        return bool(known.is_active)

    @action(description=gettext_lazy("Retire"), icon="block")
    def retire(self, request: HttpRequest, object_id: str) -> HttpResponse:
        known = self.record(request, object_id)
        if request.method == "POST":
            self.stop(known)
            messages.success(request, _("%(known)s is retired.") % {"known": known})
            return redirect(self.address(known))
        return self.ask(
            request,
            forms.Form(),
            title=_("Retire %(known)s?") % {"known": known},
            text=_("It is handed out no more. What labelers did on it is kept."),
            button=_("Retire"),
            back=self.address(known),
            original=known,
        )

    def stop(self, known: Any) -> None:
        raise NotImplementedError


@admin.register(QualificationItem)
class QualificationItemAdmin(Retired):
    """Items of the training and of the test, with how labelers did on them."""

    list_display = ("item", "pool", "kind", "in_use", "met", "author", "created_at")
    list_filter = ("kind", "is_active", "pool")
    list_select_related = ("pool", "author")
    ordering = ("-id",)
    fields = ("pool", "kind", "prompt", "expected", "shown_explanation", "author", "created_at")
    readonly_fields = ("prompt", "expected", "shown_explanation")

    def get_queryset(self, request: HttpRequest) -> QuerySet[QualificationItem]:
        done = Trial.objects.filter(state=Trial.State.SUBMITTED)
        return super().get_queryset(request).annotate(met_count=counted(done, "item"))

    @display(description=gettext_lazy("item"), ordering="pk")
    def item(self, item: QualificationItem) -> str:
        return shortened(item.messages[-1]["content"], 60)

    @display(description=gettext_lazy("ranked"), ordering="met_count")
    def met(self, item: Any) -> str:
        return f"{item.met_count:,}"

    @display(description=gettext_lazy("prompt"))
    def prompt(self, item: QualificationItem) -> str:
        return text_block("\n\n".join(f"{m['role']}: {m['content']}" for m in item.messages))

    @display(description=gettext_lazy("expected"))
    def expected(self, item: QualificationItem) -> str:
        rows = sorted(item.completions, key=lambda row: int(row["rank"]))
        return text_block("\n\n".join(f"{row['rank']}. {row['text']}" for row in rows))

    @display(description=gettext_lazy("explanation"))
    def shown_explanation(self, item: QualificationItem) -> str:
        return text_block(item.explanation) if item.explanation else "–"

    def stop(self, known: QualificationItem) -> None:
        services.retire_item(known)


@admin.register(ControlTask)
class ControlTaskAdmin(Retired):
    """Tasks whose ranking is known, mixed in silently at the share that their pool sets."""

    list_display = ("control", "pool", "in_use", "given", "author", "created_at")
    list_filter = ("is_active", "task__prompt__pool")
    list_select_related = ("task__prompt__pool", "author")
    ordering = ("-id",)
    fields = ("task_link", "expected", "is_active", "author", "created_at")
    readonly_fields = ("task_link", "expected")

    def get_queryset(self, request: HttpRequest) -> QuerySet[ControlTask]:
        done = Ranking.objects.filter(status=Ranking.Status.CONTROL)
        return super().get_queryset(request).annotate(done_count=counted(done, "task__control"))

    @display(description=gettext_lazy("control"), ordering="task")
    def control(self, control: ControlTask) -> str:
        return shortened(str(control.task.prompt), 60)

    @display(description=gettext_lazy("pool"))
    def pool(self, control: ControlTask) -> str:
        return control.task.prompt.pool.name

    @display(description=gettext_lazy("ranked as control"), ordering="done_count")
    def given(self, control: Any) -> str:
        return f"{control.done_count:,}"

    @display(description=gettext_lazy("task"))
    def task_link(self, control: ControlTask) -> str:
        return link(control.task)

    @display(description=gettext_lazy("expected"))
    def expected(self, control: ControlTask) -> str:
        of_number = control.rank_of_number
        rows = sorted(control.task.completions.all(), key=lambda c: of_number[c.number])
        return text_block("\n\n".join(f"{of_number[c.number]}. {c.text}" for c in rows))

    def stop(self, known: ControlTask) -> None:
        services.retire_control(known)
