"""Forms of preferences and adjudication. ``labeling.services`` still checks what they accept."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from labeling import selectors, services
from labeling.models import Topic, User
from labeling.selectors import Case

THEMES = [("", _("As the system")), ("light", _("Light")), ("dark", _("Dark"))]
VIEWS = [("text", _("Text")), ("markdown", _("Markdown"))]


def _minutes(count: int) -> tuple[int, Any]:
    return count, format_lazy(_("{count} minutes"), count=count)


BREAKS = [(0, _("Never")), *map(_minutes, (30, 45, 60, 90, 120))]


class PreferencesForm(forms.Form):
    """What a labeler chose. Theme and view belong to the browser; the rest to the account."""

    theme = forms.ChoiceField(
        label=_("Colours"), choices=THEMES, required=False, widget=forms.RadioSelect
    )
    view = forms.ChoiceField(label=_("Show texts as"), choices=VIEWS, widget=forms.RadioSelect)
    break_minutes = forms.TypedChoiceField(
        label=_("Propose a break after"), choices=BREAKS, coerce=int
    )
    avoided_topics = forms.ModelMultipleChoiceField(
        label=_("Topics you would rather not meet"),
        queryset=Topic.objects.none(),
        required=False,
        widget=forms.CheckboxSelectMultiple,
    )
    daily_sensitive_limit = forms.IntegerField(
        label=_("Prompts on sensitive topics a day, at most"),
        required=False,
        min_value=0,
        max_value=services.MAX_OWN_LIMIT,
    )

    def __init__(self, user: User, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["avoided_topics"].queryset = selectors.topics()  # type: ignore[attr-defined]
        minutes = user.break_minutes
        if minutes not in dict(BREAKS):
            # Set over the API: what was chosen is never changed by looking at it.
            choices = sorted([*BREAKS, _minutes(minutes)], key=lambda choice: choice[0])
            self.fields["break_minutes"].choices = choices  # type: ignore[attr-defined]

    @property
    def reading_fields(self) -> list[forms.BoundField]:
        return [self["theme"], self["view"]]

    def account_part(self) -> dict[str, Any]:
        """The keyword arguments of ``services.save_preferences``. Call it on a valid form."""
        names = ("break_minutes", "avoided_topics", "daily_sensitive_limit")
        return {name: self.cleaned_data[name] for name in names}


class AdjudicationForm(forms.Form):
    """A rank for each completion of a case, and why."""

    reason = forms.CharField(
        label=_("Why this order"),
        max_length=services.MAX_ADJUDICATION_REASON,
        widget=forms.Textarea(attrs={"rows": 3}),
    )

    def __init__(self, case: Case, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        last = len(case.aliases)
        words = {1: _("1 · best"), last: format_lazy(_("{last} · worst"), last=last)}
        ranks = [("", "—"), *((str(n), words.get(n, str(n))) for n in range(1, last + 1))]
        for alias in case.aliases:
            self.fields[f"rank_{alias}"] = forms.TypedChoiceField(
                choices=ranks,
                coerce=int,
                empty_value=None,
                error_messages={"required": _("This answer still needs a rank.")},
            )

    def ranks(self) -> dict[str, int]:
        """By alias. Call it on a valid form."""
        return {
            name.removeprefix("rank_"): rank
            for name, rank in self.cleaned_data.items()
            if name.startswith("rank_")
        }
