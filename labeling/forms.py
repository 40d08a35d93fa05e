"""Plain HTML forms of the ranking page. ``labeling.services`` still checks what they accept."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django import forms

from labeling.services import MAX_NOTE_CHARACTERS

SKIP_REASONS = [
    "I do not know enough about the subject",
    "The prompt is unclear or broken",
    "It is upsetting or harmful",
    "It contains somebody's personal data",
    "Another reason",
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
        widget=forms.Textarea(attrs={"rows": 1, "placeholder": "Anything a reviewer should know"}),
    )

    def __init__(self, task: Mapping[str, Any], data: Mapping[str, Any] | None = None) -> None:
        self.completions: list[dict[str, str]] = task["completions"]
        self.aliases = [completion["alias"] for completion in self.completions]
        super().__init__(data, initial=self._initial(task))
        rank_choices, rubric = self._rank_choices(), task["rubric"]
        for alias in self.aliases:
            self.fields[f"rank_{alias}"] = _rank_field(rank_choices)
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

    def _answered(self, question: str) -> dict[str, Any]:
        answers = {alias: self.cleaned_data[f"{question}_{alias}"] for alias in self.aliases}
        return {alias: answer for alias, answer in answers.items() if answer}

    def _rank_choices(self) -> list[tuple[str, str]]:
        last = len(self.aliases)
        words = {1: "1 · best", last: f"{last} · worst"}
        return [("", "—"), *((str(n), words.get(n, str(n))) for n in range(1, last + 1))]

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
        choices=[(reason, reason) for reason in SKIP_REASONS], widget=forms.RadioSelect
    )
    detail = forms.CharField(
        required=False,
        max_length=MAX_SKIP_DETAIL,
        widget=forms.TextInput(attrs={"placeholder": "In a few words, if you like"}),
    )

    def full_reason(self) -> str:
        """Call it on a valid form."""
        detail: str = self.cleaned_data["detail"]
        reason: str = self.cleaned_data["reason"]
        return f"{reason}: {detail}" if detail else reason


def _rank_field(choices: list[tuple[str, str]]) -> forms.TypedChoiceField:
    return forms.TypedChoiceField(
        choices=choices,
        coerce=int,
        empty_value=None,
        error_messages={"required": "This answer still needs a rank."},
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
        choices=[(flag["name"], flag["label"]) for flag in flags],
        required=False,
        widget=forms.CheckboxSelectMultiple,
    )
