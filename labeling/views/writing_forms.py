"""Plain HTML forms for writing. ``labeling.services`` still checks what they accept."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from labeling.forms import MAX_SKIP_DETAIL, SKIP_REASONS
from labeling.models import USE_CASES, Pool, Proposal
from labeling.services import MAX_REASON_CHARACTERS


class LinesField(forms.CharField):
    """A text as it was typed: a browser's line ends become plain ones, blanks stay."""

    def __init__(self, **options: Any) -> None:
        super().__init__(strip=False, required=False, widget=forms.Textarea, **options)

    def to_python(self, value: Any) -> Any:
        return plain_lines(str(super().to_python(value) or ""))


class DemonstrationForm(forms.Form):
    """A demonstration. The submission id is made here, so that a double click sends the same."""

    submission_id = forms.UUIDField(widget=forms.HiddenInput)
    text = LinesField()

    def __init__(self, data: Mapping[str, Any] | None = None, *, text: str = "") -> None:
        super().__init__(data, initial={"text": text, "submission_id": str(uuid.uuid4())})


class WritingSkipForm(forms.Form):
    """Why a prompt is given back."""

    reason = forms.ChoiceField(
        choices=[(reason, _(reason)) for reason in SKIP_REASONS], widget=forms.RadioSelect
    )
    detail = forms.CharField(
        required=False,
        max_length=MAX_SKIP_DETAIL,
        widget=forms.TextInput(attrs={"placeholder": _("In a few words, if you like")}),
    )

    def full_reason(self) -> str:
        """Call it on a valid form."""
        detail: str = self.cleaned_data["detail"]
        reason: str = self.cleaned_data["reason"]
        return f"{reason}: {detail}" if detail else reason


class ProposalForm(forms.Form):
    """The settings of a written prompt; its turns and examples are read by ``Conversation``."""

    submission_id = forms.UUIDField(widget=forms.HiddenInput)
    pool = forms.ModelChoiceField(
        Pool.objects.none(),
        empty_label=None,
        label=_("Pool"),
        error_messages={"invalid_choice": _("This pool takes no prompts at present.")},
    )
    kind = forms.ChoiceField(
        choices=Proposal.Kind.choices, widget=forms.RadioSelect, label=_("Kind of prompt")
    )
    use_case = forms.ChoiceField(
        choices=[("", _("Choose one")), *USE_CASES],
        label=_("Use case"),
        error_messages={"required": _("Choose a use case.")},
    )
    application = forms.UUIDField(required=False, widget=forms.HiddenInput)

    def __init__(
        self,
        pools: Iterable[Pool],
        data: Mapping[str, Any] | None = None,
        initial: Mapping[str, Any] | None = None,
    ) -> None:
        first = {"submission_id": str(uuid.uuid4()), "kind": Proposal.Kind.PLAIN}
        super().__init__(data, initial={**first, **(initial or {})})
        pool_field = self.fields["pool"]
        assert isinstance(pool_field, forms.ModelChoiceField)
        pool_field.queryset = Pool.objects.filter(pk__in=[pool.pk for pool in pools])


class RejectForm(forms.Form):
    reason = forms.CharField(
        max_length=MAX_REASON_CHARACTERS,
        label=_("Reason"),
        widget=forms.Textarea(attrs={"rows": 2}),
        error_messages={"required": _("Give a reason: the author reads it.")},
    )


def plain_lines(text: str) -> str:
    return text.replace("\r\n", "\n")
