"""What labelers of a pool are told and asked: guidelines with their history, rubric by rows."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.widgets import (
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from labeling import selectors, services
from labeling.admin.base import Admin, acting_admin, action, add_refusal
from labeling.changes import changed_lines
from labeling.errors import LabelingError
from labeling.models import Pool
from labeling.rendering.document import Renderer
from labeling.rubric import (
    HIGHEST_QUALITY,
    LOWEST_QUALITY,
    MAX_LABEL_CHARACTERS,
    MAX_NAME_CHARACTERS,
)
from labeling.similarity import TooLong

SPARE_ROWS = 3


class GuidelinesForm(forms.Form):
    """The text, and the version that it was made from."""

    based_on = forms.IntegerField(widget=forms.HiddenInput, min_value=0)
    text = forms.CharField(
        required=False,
        strip=False,
        label=gettext_lazy("Guidelines"),
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 20}),
        help_text=gettext_lazy(
            "Markdown. A changed text becomes a new version: every labeler is shown the change, "
            "and rankings keep the version they were made under."
        ),
    )

    def clean_text(self) -> str:
        # Browsers send line ends as CRLF: the text must compare equal to the one that was shown.
        text: str = self.cleaned_data["text"].replace("\r\n", "\n")
        return text


class RubricForm(forms.Form):
    """The scale's ends, and a row for each flag. A row without a name is no flag."""

    based_on = forms.IntegerField(widget=forms.HiddenInput, min_value=0)
    rows = forms.IntegerField(widget=forms.HiddenInput, min_value=0, max_value=200)
    low = forms.TypedChoiceField(
        label=gettext_lazy("Worst quality"), coerce=int, widget=UnfoldAdminSelectWidget
    )
    high = forms.TypedChoiceField(
        label=gettext_lazy("Best quality"), coerce=int, widget=UnfoldAdminSelectWidget
    )

    def __init__(self, rubric: dict[str, Any], number: int, data: Any = None) -> None:
        flags = rubric["flags"]
        initial = {"based_on": number, "rows": len(flags) + SPARE_ROWS, **rubric["quality"]}
        super().__init__(data, initial=initial)
        for name in ("low", "high"):
            ends = range(LOWEST_QUALITY, HIGHEST_QUALITY + 1)
            self.fields[name].choices = [(n, str(n)) for n in ends]  # type: ignore[attr-defined]
        self.known = {flag["name"] for flag in flags}
        self.row_count = _row_count(data, len(flags) + SPARE_ROWS)
        for row in range(self.row_count):
            self._add_row(row, flags[row] if row < len(flags) else {})

    def _add_row(self, row: int, flag: dict[str, str]) -> None:
        where = {"row": row + 1}
        self.fields[f"place_{row}"] = forms.IntegerField(
            required=False,
            min_value=1,
            initial=row + 1 if flag else None,
            widget=_input(_("Place of flag %(row)s") % where, inputmode="numeric", size=3),
        )
        self.fields[f"name_{row}"] = forms.CharField(
            required=False,
            max_length=MAX_NAME_CHARACTERS,
            initial=flag.get("name", ""),
            widget=_input(_("Name of flag %(row)s") % where, placeholder="off_topic"),
        )
        self.fields[f"label_{row}"] = forms.CharField(
            required=False,
            max_length=MAX_LABEL_CHARACTERS,
            initial=flag.get("label", ""),
            widget=_input(_("Wording of flag %(row)s") % where, placeholder=_("Is off the topic")),
        )

    @property
    def flag_rows(self) -> list[dict[str, Any]]:
        return [
            {key: self[f"{key}_{row}"] for key in ("place", "name", "label")}
            for row in range(self.row_count)
        ]

    def rubric(self) -> dict[str, Any]:
        """Call it on a valid form."""
        given = self.cleaned_data
        rows = []
        for row in range(self.row_count):
            name, label = given[f"name_{row}"].strip(), given[f"label_{row}"].strip()
            if name or label:
                rows.append((given[f"place_{row}"] or self.row_count + row, name, label))
        flags = [{"name": name, "label": label} for _place, name, label in sorted(rows, key=_place)]
        return {"quality": {"low": given["low"], "high": given["high"]}, "flags": flags}


def _place(row: tuple[int, str, str]) -> int:
    return row[0]


def _row_count(data: Any, default: int) -> int:
    given = data.get("rows", "") if data else ""
    return min(int(given), 200) if given.isascii() and given.isdecimal() else default


def _input(label: str, **attributes: Any) -> forms.Widget:
    return UnfoldAdminTextInputWidget(attrs={"aria-label": label, **attributes})


class VersionedPool(Admin):
    """The pages of a pool's guidelines and rubric, for its admin."""

    @action(description=gettext_lazy("Guidelines"), icon="menu_book")
    def guidelines(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Edit with a preview; publish as a new version. All versions stand below."""
        pool = self.record(request, object_id)
        versions = list(pool.guideline_versions.select_related("author").order_by("-number"))
        number, text = (versions[0].number, versions[0].text) if versions else (0, "")
        initial = {"based_on": number, "text": text}
        form = GuidelinesForm(request.POST or None, initial=initial)
        preview = None
        if form.is_valid():
            if "preview" not in request.POST:
                answer = self._publish(request, pool, form)
                if answer is not None:
                    return answer
            preview = form.cleaned_data["text"]
        return self.ask(
            request,
            form,
            title=_("Guidelines of %(pool)s") % {"pool": pool},
            button=_("Publish version %(number)s") % {"number": number + 1},
            back=self.address(pool),
            original=pool,
            template="admin/labeling/pool/guidelines.html",
            preview=preview,
            lines=_lines(text, preview),
            history=_history(versions),
            renderer=Renderer(),
            view="markdown",
        )

    def _publish(
        self, request: HttpRequest, pool: Pool, form: GuidelinesForm
    ) -> HttpResponse | None:
        given = form.cleaned_data
        try:
            version = services.revise_guidelines(
                pool, given["text"], author=acting_admin(request), based_on=given["based_on"]
            )
        except LabelingError as refusal:
            add_refusal(form, refusal)
            return None
        messages.success(
            request, _("Version %(number)s is what labelers see now.") % {"number": version.number}
        )
        return redirect(request.path)

    @action(description=gettext_lazy("Rubric"), icon="rule")
    def rubric(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The scale and the flags, in rows; each change is a new version."""
        pool = self.record(request, object_id)
        number = selectors.rubric_number(pool)
        form = RubricForm(pool.rubric, number, request.POST or None)
        if form.is_valid():
            try:
                version = services.revise_rubric(
                    pool,
                    form.rubric(),
                    author=acting_admin(request),
                    based_on=form.cleaned_data["based_on"],
                )
            except LabelingError as refusal:
                add_refusal(form, refusal)
            else:
                told = _("Version %(number)s is what labelers are asked now.")
                messages.success(request, told % {"number": version.number})
                return redirect(request.path)
        return self.ask(
            request,
            form,
            title=_("Rubric of %(pool)s") % {"pool": pool},
            button=_("Publish version %(number)s") % {"number": number + 1},
            back=self.address(pool),
            original=pool,
            template="admin/labeling/pool/rubric.html",
            history=list(pool.rubric_versions.select_related("author").order_by("-number")),
        )


def _lines(before: str, after: str | None) -> Any:
    if after is None or before == after:
        return None
    try:
        return changed_lines(before, after)
    except TooLong:
        return None


def _history(versions: list[Any]) -> list[dict[str, Any]]:
    """Each version with what it changed, the newest first."""
    pairs = zip(versions, [*versions[1:], None], strict=True)
    return [
        {"version": version, "lines": _lines(before.text, version.text) if before else None}
        for version, before in pairs
    ]
