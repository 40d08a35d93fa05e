"""Forms of the labeling admin. What they accept is still checked by ``labeling.services``."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _
from unfold.forms import UserCreationForm
from unfold.widgets import (
    UnfoldAdminFileFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from labeling.models import Pool, User

POOL_SETTINGS = (
    "name",
    "is_open",
    "completions_per_prompt",
    "overlap",
    "lease_seconds",
    "edit_minutes",
    "sampler",
    "temperature",
    "top_p",
    "max_new_tokens",
    "takes_demonstrations",
    "takes_prompts",
    "qualification_threshold",
    "qualification_attempts",
    "qualification_test_size",
    "control_share",
    "control_threshold",
    "control_pauses",
)


class AccountForm(UserCreationForm):
    """A new account."""

    class Meta:
        model = User
        fields = ("username", "role", "labeler_group", "is_simulated")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["usable_password"].label = _("Password login")
        self.fields["usable_password"].help_text = _(
            "Disabled: the account can only be used through API tokens, as programs do."
        )


class TokenForm(forms.Form):
    """Whose token, and what for."""

    user = forms.ModelChoiceField(
        queryset=User.objects.filter(is_active=True).order_by("username"),
        widget=UnfoldAdminSelectWidget,
        help_text=_("The token may do all that this account may do."),
    )
    name = forms.CharField(
        max_length=100,
        widget=UnfoldAdminTextInputWidget,
        help_text=_("Where it is used, so that you know later what you revoke."),
    )


class PoolForm(forms.ModelForm):
    """A pool's settings; a new one's guidelines too."""

    guidelines = forms.CharField(
        required=False,
        strip=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 12}),
        help_text=_("Shown to labelers beside each task, as Markdown; later versions are kept."),
    )

    class Meta:
        model = Pool
        fields = POOL_SETTINGS
        widgets = dict.fromkeys(
            ("is_open", "takes_demonstrations", "takes_prompts", "control_pauses"),
            UnfoldBooleanSwitchWidget,
        )

    def clean_guidelines(self) -> str:
        # Browsers send line ends as CRLF: the text must compare equal to the one that is shown.
        text: str = self.cleaned_data["guidelines"].replace("\r\n", "\n")
        return text

    def settings(self) -> dict[str, Any]:
        """The settings without the guidelines. Call it on a valid form."""
        return {name: self.cleaned_data[name] for name in POOL_SETTINGS}


class ImportForm(forms.Form):
    """JSON Lines as a file or as pasted text."""

    file = forms.FileField(
        required=False,
        widget=UnfoldAdminFileFieldWidget,
        help_text=_("UTF-8, one JSON object a line; of any size, it is read line by line."),
    )
    text = forms.CharField(
        required=False,
        strip=False,
        label=_("or pasted text"),
        widget=UnfoldAdminTextareaWidget(
            attrs={
                "rows": 10,
                "class": "podium-code",
                "spellcheck": "false",
                "placeholder": '{"prompt": "Write a thank-you note.", "use_case": "generation"}',
            }
        ),
    )

    def clean(self) -> dict[str, Any]:
        given = self.cleaned_data
        if given.get("file") and given.get("text", "").strip():
            self.add_error("text", _("Give a file or a text, not both."))
        elif not given.get("file") and not given.get("text", "").strip() and not self.errors:
            self.add_error("file", _("Choose a file, or paste some lines below."))
        return given
