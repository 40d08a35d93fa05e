"""What the admin pages share: records that only show, forms that services answer, deletion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError
from django.db.models import PROTECT, Count, IntegerField, Model, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext, gettext_lazy
from unfold import decorators
from unfold.admin import ModelAdmin

from labeling.errors import LabelingError
from labeling.models import User

Method = TypeVar("Method", bound=Callable[..., Any])


def display(**options: Any) -> Callable[[Method], Method]:
    """Unfold's decorator of columns, translated, with the type that it does not tell."""
    return cast("Callable[[Method], Method]", decorators.display(**_translated(options)))


def action(**options: Any) -> Callable[[Method], Method]:
    """Unfold's decorator of buttons, translated, with the type that it does not tell."""
    return cast("Callable[[Method], Method]", decorators.action(**_translated(options)))


def _translated(options: dict[str, Any]) -> dict[str, Any]:
    named = options.get("description")
    return options | {"description": gettext_lazy(named)} if named else options


class Admin(ModelAdmin):
    """Podium's defaults for a page of records."""

    list_per_page = 50
    list_filter_submit = False
    compressed_fields = True

    def record(self, request: HttpRequest, object_id: str) -> Any:
        """The record that an action was called on. Raises Http404, PermissionDenied."""
        found = self.get_object(request, object_id)
        if found is None:
            raise Http404(f"There is no {self.opts.verbose_name} {object_id}.")
        if not self.has_view_permission(request, found):
            raise PermissionDenied
        return found

    def address(self, record: Model) -> str:
        return admin_address(record)

    def ask(
        self,
        request: HttpRequest,
        form: forms.Form,
        *,
        title: str,
        button: str,
        back: str,
        original: Model | None = None,
        template: str = "admin/ask.html",
        **more: Any,
    ) -> TemplateResponse:
        """A page with one question to the admin, translated; ``more`` goes to its template."""
        request.current_app = self.admin_site.name
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "original": original,
            "form": form,
            "title": title and gettext(title),
            "button": button and gettext(button),
            "back": back,
            **more,
        }
        if more.get("text"):
            context["text"] = gettext(more["text"])
        status = 422 if form.errors else 200
        return TemplateResponse(request, template, context, status=status)


class RecordAdmin(Admin):
    """Records that nobody may add, change or delete here: they are evidence."""

    actions = None

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class AnsweredForm(Admin):
    """Shows a service's refusal beside the field at fault, with all that was typed still there."""

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return cast(HttpResponse, super().changeform_view(request, *args, **kwargs))
        except LabelingError as refusal:
            # The form is built once more, and get_form makes it say what was refused.
            request.refusal = refusal  # type: ignore[attr-defined]
            return cast(HttpResponse, super().changeform_view(request, *args, **kwargs))

    def get_form(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, **kwargs)
        refusal: LabelingError | None = getattr(request, "refusal", None)
        if refusal is None:
            return form

        class Refused(form):  # type: ignore[misc, valid-type]
            def clean(self) -> Any:
                cleaned = super().clean()
                add_refusal(self, refusal)  # type: ignore[arg-type]
                return cleaned

        return Refused


class CarefulDeletion(Admin):
    """Deletes what nobody has worked on; what is in use is refused, with counts of what uses it."""

    # One page at a time: Django's confirmation names every row in a field of its own.
    list_disable_select_all = True
    # Relations by which labelers' work hangs on the record though the database would cascade.
    work_paths: tuple[tuple[type[Model], str], ...] = ()

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Counts in place of Django's tree of all rows, too long for a large pool."""
        keys = [record.pk for record in objs]
        uses = [self._use(model, path, keys) for model, path in self._uses()]
        counts = {str(self.opts.verbose_name_plural): len(keys)}
        return [str(record) for record in objs], counts, set(), [use for use in uses if use]

    def _uses(self) -> list[tuple[type[Model], str]]:
        relations = [
            (relation.related_model, relation.field.name)
            for relation in self.opts.related_objects
            if relation.on_delete is PROTECT
        ]
        return [*relations, *self.work_paths]

    def _use(self, model: type[Model], path: str, keys: list[Any]) -> str:
        count = model._default_manager.filter(**{f"{path}__in": keys}).count()
        meta = model._meta
        name = meta.verbose_name if count == 1 else meta.verbose_name_plural
        return f"{count:,} {name}" if count else ""

    def delete_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().delete_view(request, object_id, *args, **kwargs)
        except IntegrityError:
            return self._refuse(request)

    def changelist_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().changelist_view(request, *args, **kwargs)
        except IntegrityError:
            return self._refuse(request)

    def _refuse(self, request: HttpRequest) -> HttpResponseRedirect:
        # Somebody began to work on it after the counts were read. ProtectedError is one of these.
        text = gettext("Nothing was deleted: work was handed in on it meanwhile.")
        messages.error(request, text)
        return HttpResponseRedirect(changelist_address(self.model))


def add_refusal(form: forms.Form, refusal: LabelingError, field: str = "") -> None:
    """Put a service's refusal beside the field at fault, or above the form where it names none."""
    named = refusal.data.get("field") or next(iter(refusal.data.get("fields", ())), "") or field
    known = str(named).partition(".")[0]
    form.add_error(known if known in form.fields else None, refusal.message)


def acting_admin(request: HttpRequest) -> User:
    return cast(User, request.user)


def acts_as_admin(request: HttpRequest) -> bool:
    return isinstance(request.user, User) and request.user.is_admin


def admin_address(record: Model) -> str:
    meta = record._meta
    return reverse(f"admin:{meta.app_label}_{meta.model_name}_change", args=[record.pk])


def changelist_address(model: type[Model]) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")


def link(record: Model | None) -> str:
    """A link to the record's own page; a dash for none."""
    if record is None:
        return "–"
    return format_html('<a class="podium-link" href="{}">{}</a>', admin_address(record), record)


def shortened(text: str, length: int = 100) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= length else f"{flat[: length - 1]}…"


def text_block(text: str) -> str:
    """Text of people or models as it is, line breaks and all."""
    return format_html('<div class="podium-text">{}</div>', text)


def counted(rows: QuerySet[Any], path: str) -> Coalesce:
    """How many of ``rows`` lead by ``path`` to the outer row: no query of its own for each row."""
    per_row = rows.filter(**{path: OuterRef("pk")}).order_by().values(path)
    count = per_row.annotate(count=Count("pk")).values("count")
    return Coalesce(Subquery(count, output_field=IntegerField()), 0)
