"""Plain HTML forms of the ranking page. ``labeling.services`` still checks what they accept."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, gettext_noop

from labeling.models import PromptFlag
from labeling.services import MAX_FLAG_DETAIL, MAX_NOTE_CHARACTERS

# Stored in English, shown in the labeler's language.
SKIP_REASONS = [
    gettext_noop("I do not know enough about the subject"),
    gettext_noop("The prompt is unclear or broken"),
    gettext_noop("It is upsetting or harmful"),
    gettext_noop("It contains somebody's personal data"),
    gettext_noop("Another reason"),
]
MAX_SKIP_DETAIL = 400


@dataclass(frozen=True)
class Card:
    """One completion as the page shows it, with its three questions."""

    alias: str
    text: str
    rank: forms.BoundField
    quality: forms.BoundField
    flags: forms.BoundField


class RankingForm(forms.Form):
    """Ranks, ratings, flags and note for one task, as ``selectors.task_payload`` describes it.

    A draft fills the fields at first; what was posted fills them ever after. The submission id is
    made here, so that a double click or a reload of the posted page sends the same one.
    """

    lease_token = forms.UUIDField(widget=forms.HiddenInput)
    submission_id = forms.UUIDField(widget=forms.HiddenInput)
    note = forms.CharField(
        required=False,
        strip=False,
        max_length=MAX_NOTE_CHARACTERS,
        widget=forms.Textarea(
            attrs={"rows": 1, "placeholder": gettext_lazy("Anything a reviewer should know")}
        ),
    )

    def __init__(self, task: Mapping[str, Any], data: Mapping[str, Any] | None = None) -> None:
        self.completions: list[dict[str, str]] = task["completions"]
        self.aliases = [completion["alias"] for completion in self.completions]
        super().__init__(data, initial=self._initial(task))
        choices, rubric = rank_choices(len(self.aliases)), task["rubric"]
        for alias in self.aliases:
            self.fields[f"rank_{alias}"] = _rank_field(choices)
            self.fields[f"quality_{alias}"] = _quality_field(rubric["quality"])
            self.fields[f"flags_{alias}"] = _flags_field(rubric["flags"])

    @property
    def cards(self) -> list[Card]:
        return [
            Card(
                alias=completion["alias"],
                text=completion["text"],
                rank=self[f"rank_{completion['alias']}"],
                quality=self[f"quality_{completion['alias']}"],
                flags=self[f"flags_{completion['alias']}"],
            )
            for completion in self.completions
        ]

    def answer(self) -> dict[str, Any]:
        """The keyword arguments of ``services.submit_ranking``. Call it on a valid form."""
        given = self.cleaned_data
        return {
            "lease_token": given["lease_token"],
            "submission_id": given["submission_id"],
            "ranks": {alias: given[f"rank_{alias}"] for alias in self.aliases},
            "ratings": self._answered("quality"),
            "flags": self._answered("flags"),
            "note": given["note"],
        }

    def unfinished(self) -> dict[str, Any]:
        """The keyword arguments of ``services.save_draft``: whatever is sound so far."""
        self.is_valid()
        given = self.cleaned_data
        ranks = {alias: given.get(f"rank_{alias}") for alias in self.aliases}
        draft = {
            "ranks": {alias: rank for alias, rank in ranks.items() if rank},
            "ratings": self._answered("quality"),
            "flags": self._answered("flags"),
            "note": given.get("note", ""),
        }
        return {"lease_token": given.get("lease_token"), "draft": draft}

    def _answered(self, question: str) -> dict[str, Any]:
        answers = {alias: self.cleaned_data.get(f"{question}_{alias}") for alias in self.aliases}
        return {alias: answer for alias, answer in answers.items() if answer}

    def _initial(self, task: Mapping[str, Any]) -> dict[str, Any]:
        draft = task["draft"] if isinstance(task["draft"], dict) else {}
        initial = {
            "lease_token": task["lease_token"],
            "submission_id": str(uuid.uuid4()),
            "note": draft.get("note", ""),
        }
        for question, key in [("rank", "ranks"), ("quality", "ratings"), ("flags", "flags")]:
            answers = draft.get(key)
            for alias, answer in answers.items() if isinstance(answers, dict) else ():
                initial[f"{question}_{alias}"] = answer
        return initial


class SkipForm(forms.Form):
    """Why a task is given back."""

    lease_token = forms.UUIDField(widget=forms.HiddenInput)
    reason = forms.ChoiceField(
        choices=[(reason, gettext_lazy(reason)) for reason in SKIP_REASONS],
        widget=forms.RadioSelect,
    )
    detail = forms.CharField(
        required=False,
        max_length=MAX_SKIP_DETAIL,
        widget=forms.TextInput(attrs={"placeholder": gettext_lazy("In a few words, if you like")}),
    )

    def full_reason(self) -> str:
        """Call it on a valid form."""
        detail: str = self.cleaned_data["detail"]
        reason: str = self.cleaned_data["reason"]
        return f"{reason}: {detail}" if detail else reason


class FlagForm(forms.Form):
    """What is wrong with a prompt. Its fields stand in the ranking form: their names are apart."""

    flag_reason = forms.ChoiceField(
        choices=PromptFlag.Reason.choices,
        widget=forms.RadioSelect(attrs={"form": "ranking"}),
    )
    flag_detail = forms.CharField(
        required=False,
        max_length=MAX_FLAG_DETAIL,
        widget=forms.TextInput(
            attrs={"form": "ranking", "placeholder": gettext_lazy("In a few words, if you like")}
        ),
    )

    def answer(self) -> dict[str, str]:
        """The keyword arguments of ``services.flag_prompt``. Call it on a valid form."""
        given = self.cleaned_data
        return {"reason": given["flag_reason"], "detail": given["flag_detail"]}


@dataclass(frozen=True)
class TrialCard:
    """One completion of a qualification item, with its one question."""

    alias: str
    text: str
    rank: forms.BoundField


class TrialForm(forms.Form):
    """The ranks of one item, as ``selectors.trial_payload`` describes it."""

    submission_id = forms.UUIDField(widget=forms.HiddenInput)

    def __init__(self, task: Mapping[str, Any], data: Mapping[str, Any] | None = None) -> None:
        self.completions: list[dict[str, str]] = task["completions"]
        super().__init__(data, initial={"submission_id": str(uuid.uuid4())})
        choices = rank_choices(len(self.completions))
        for completion in self.completions:
            self.fields[f"rank_{completion['alias']}"] = _rank_field(choices)

    @property
    def cards(self) -> list[TrialCard]:
        return [
            TrialCard(c["alias"], c["text"], self[f"rank_{c['alias']}"]) for c in self.completions
        ]

    def answer(self) -> dict[str, Any]:
        """The keyword arguments of ``services.submit_trial``. Call it on a valid form."""
        given = self.cleaned_data
        ranks = {c["alias"]: given[f"rank_{c['alias']}"] for c in self.completions}
        return {"submission_id": given["submission_id"], "ranks": ranks}


def rank_choices(last: int) -> list[tuple[str, str]]:
    words = {1: _("1 · best"), last: _("%(rank)s · worst") % {"rank": last}}
    return [("", "—"), *((str(n), words.get(n, str(n))) for n in range(1, last + 1))]


def _rank_field(choices: list[tuple[str, str]]) -> forms.TypedChoiceField:
    return forms.TypedChoiceField(
        choices=choices,
        coerce=int,
        empty_value=None,
        error_messages={"required": _("This answer still needs a rank.")},
    )


def _quality_field(scale: Mapping[str, int]) -> forms.TypedChoiceField:
    return forms.TypedChoiceField(
        choices=[(str(n), str(n)) for n in range(scale["low"], scale["high"] + 1)],
        coerce=int,
        empty_value=None,
        required=False,
        widget=forms.RadioSelect,
    )


def _flags_field(flags: list[dict[str, str]]) -> forms.MultipleChoiceField:
    return forms.MultipleChoiceField(
        choices=[(flag["name"], _(flag["label"])) for flag in flags],
        required=False,
        widget=forms.CheckboxSelectMultiple,
    )
