"""Forms of the labeling admin. What they accept is still checked by ``labeling.services``."""

from __future__ import annotations

from typing import Any

from django import forms
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
    "sampler",
    "temperature",
    "top_p",
    "max_new_tokens",
    "rubric",
)
LOWEST_QUALITY, HIGHEST_QUALITY = 1, 7


class AccountForm(UserCreationForm):
    """A new account."""

    class Meta:
        model = User
        fields = ("username", "role", "labeler_group", "is_simulated")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["usable_password"].label = "Password login"
        self.fields[
            "usable_password"
        ].help_text = "Disabled: the account can only be used through API tokens, as programs do."


class TokenForm(forms.Form):
    """Whose token, and what for."""

    user = forms.ModelChoiceField(
        queryset=User.objects.filter(is_active=True).order_by("username"),
        widget=UnfoldAdminSelectWidget,
        help_text="The token may do all that this account may do.",
    )
    name = forms.CharField(
        max_length=100,
        widget=UnfoldAdminTextInputWidget,
        help_text="Where it is used, so that you know later what you revoke.",
    )


class PoolForm(forms.ModelForm):
    """A pool's settings and its guidelines; a changed text becomes a new version."""

    guidelines = forms.CharField(
        required=False,
        strip=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 12}),
        help_text="Shown to labelers beside each task, as Markdown. A changed text becomes a new "
        "version; rankings keep the version they were made under.",
    )

    class Meta:
        model = Pool
        fields = POOL_SETTINGS
        widgets = {"is_open": UnfoldBooleanSwitchWidget}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        latest = self._latest_guidelines()
        self.fields["guidelines"].initial = latest.text if latest else ""

    def clean_guidelines(self) -> str:
        # Browsers send line ends as CRLF: the text must compare equal to the one that was shown.
        text: str = self.cleaned_data["guidelines"].replace("\r\n", "\n")
        return text

    def clean_rubric(self) -> dict[str, Any]:
        rubric = self.cleaned_data["rubric"]
        fault = _rubric_fault(rubric)
        if fault:
            raise forms.ValidationError(fault)
        return dict(rubric)

    def settings(self) -> dict[str, Any]:
        """The settings without the guidelines. Call it on a valid form."""
        return {name: self.cleaned_data[name] for name in POOL_SETTINGS}

    def new_guidelines(self) -> str | None:
        """The text, where it differs from what was shown."""
        text: str = self.cleaned_data["guidelines"]
        return None if text == self.fields["guidelines"].initial else text

    def _latest_guidelines(self) -> Any:
        if self.instance.pk is None:
            return None
        return self.instance.guideline_versions.order_by("-number").first()


class ImportForm(forms.Form):
    """JSON Lines as a file or as pasted text."""

    file = forms.FileField(
        required=False,
        widget=UnfoldAdminFileFieldWidget,
        help_text="UTF-8, one JSON object a line; of any size, it is read line by line.",
    )
    text = forms.CharField(
        required=False,
        strip=False,
        label="or pasted text",
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
            self.add_error("text", "Give a file or a text, not both.")
        elif not given.get("file") and not given.get("text", "").strip() and not self.errors:
            self.add_error("file", "Choose a file, or paste some lines below.")
        return given


def _rubric_fault(rubric: object) -> str:
    """What keeps the ranking page from asking this rubric's questions; empty when nothing does."""
    if not isinstance(rubric, dict) or set(rubric) != {"quality", "flags"}:
        return "A rubric is an object with “quality” and “flags”."
    quality, flags = rubric["quality"], rubric["flags"]
    low, high = (quality.get("low"), quality.get("high")) if isinstance(quality, dict) else (0, 0)
    # type(), because true and false are whole numbers to isinstance().
    if type(low) is not int or type(high) is not int:
        return "“quality” needs whole numbers “low” and “high”."
    if not LOWEST_QUALITY <= low < high <= HIGHEST_QUALITY:
        return f"The scale must lie in {LOWEST_QUALITY}..{HIGHEST_QUALITY}, “low” below “high”."
    if not isinstance(flags, list) or not all(_is_flag(flag) for flag in flags):
        return "“flags” is a list of objects with the texts “name” and “label”."
    names = [flag["name"] for flag in flags]
    return "Two flags have the same name." if len(set(names)) < len(names) else ""


def _is_flag(flag: object) -> bool:
    return (
        isinstance(flag, dict)
        and set(flag) == {"name", "label"}
        and all(isinstance(text, str) and text.strip() for text in flag.values())
    )
