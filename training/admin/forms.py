"""Forms of the training admin. Whether a run can work is decided by ``training.services``."""

from __future__ import annotations

import dataclasses
from typing import Any

from django import forms
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from labeling.admin.base import add_refusal
from labeling.admin.forms import PoolForm
from labeling.errors import LabelingError
from labeling.models import Pool
from training import selectors
from training.admin.figures import figure
from training.errors import ModelNotFound, NothingToSample, NoTrainingData
from training.jobs.params import PARAMS_OF_KIND, choices_of, fields_of
from training.jobs.spec import KINDS_WITH_REWARD_MODEL
from training.models import ModelVersion, Run

LABELERS = [
    (Run.Labelers.PEOPLE, _("People only")),
    (Run.Labelers.SIMULATED, _("Simulated labelers only")),
    (Run.Labelers.ALL, _("Both together")),
]
KIND_TEXTS = {
    Run.Kind.SAMPLE: _("Sample: completions for the prompts that lack them"),
    Run.Kind.SFT: _("SFT: fine-tune on demonstrations"),
    Run.Kind.REWARD: _("Reward: a reward model from the comparisons"),
    Run.Kind.PPO: _("PPO: a policy against the reward model, with a KL penalty"),
    Run.Kind.REJECTION: _("Rejection: fine-tune on the best of n"),
    Run.Kind.DPO: _("DPO: a policy from the comparisons, without a reward model"),
    Run.Kind.RLOO: _("RLOO: as PPO, without a value model"),
    Run.Kind.GRPO: _("GRPO: as RLOO, in units of the spread within a prompt"),
}
MAX_SEED = 2**62


def parameter_tables() -> list[dict[str, Any]]:
    """Per kind: the fields that ``params`` may set, with default and bounds."""
    return [
        {
            "kind": kind,
            "label": Run.Kind(kind).label,
            "fields": [
                {"name": field.name, "default": _default(field), "allowed": _allowed(field, hint)}
                for field, hint in fields_of(params)
            ],
        }
        for kind, params in PARAMS_OF_KIND.items()
    ]


def _allowed(field: dataclasses.Field[Any], hint: object) -> str:
    """What may be given, in words."""
    if hint is bool:
        return "true, false"
    if choices := choices_of(hint):
        return ", ".join(choices)
    low, high = figure(field.metadata["low"]), figure(field.metadata["high"])
    return gettext("%(low)s to %(high)s") % {"low": low, "high": high}


def _default(field: dataclasses.Field[Any]) -> str:
    if isinstance(field.default, bool | str):
        return str(field.default).lower()
    if field.default is not None:
        return figure(field.default)
    return gettext("by model size") if field.name.endswith("learning_rate") else gettext("none")


class RunForm(forms.Form):
    """What a run is to do; everything but the kind has a default."""

    kind = forms.ChoiceField(choices=list(KIND_TEXTS.items()), widget=UnfoldAdminSelectWidget)
    pool = forms.ModelChoiceField(
        queryset=Pool.objects.all(),
        required=False,
        empty_label=_("All pools"),
        widget=UnfoldAdminSelectWidget,
        help_text=_("Whose prompts, demonstrations or comparisons. A sample run needs one."),
    )
    model = forms.ModelChoiceField(
        queryset=ModelVersion.objects.filter(kind=ModelVersion.Kind.POLICY),
        required=False,
        empty_label=_("The pool's sampler, else the promoted policy"),
        widget=UnfoldAdminSelectWidget,
        help_text=_("The model that samples, or that training starts from."),
    )
    reward_model = forms.ModelChoiceField(
        queryset=ModelVersion.objects.filter(kind=ModelVersion.Kind.REWARD),
        required=False,
        empty_label=_("The latest"),
        widget=UnfoldAdminSelectWidget,
        help_text=_("For PPO, RLOO, GRPO and rejection; for SFT that chooses its epoch by reward."),
    )
    labelers = forms.ChoiceField(
        choices=LABELERS,
        widget=UnfoldAdminSelectWidget,
        help_text=_("Whose rankings and demonstrations train. The held-out group's never do."),
    )
    seed = forms.IntegerField(
        initial=0,
        min_value=0,
        max_value=MAX_SEED,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text=_("The same run with the same seed gives the same result."),
    )
    params = forms.JSONField(
        required=False,
        initial=dict,
        widget=UnfoldAdminTextareaWidget(
            attrs={"rows": 5, "class": "podium-code", "spellcheck": "false"}
        ),
        help_text=_(
            "An object with what differs from the defaults below, such as "
            "{&quot;epochs&quot;: 2}; a pool's own sampling settings come before the defaults."
        ),
    )

    def asked(self) -> dict[str, Any]:
        """The keyword arguments of ``services.start_run``. Call it on a valid form."""
        given = self.cleaned_data
        return {
            **given,
            "model": given["model"].pk if given["model"] else None,
            "reward_model": given["reward_model"].pk if given["reward_model"] else None,
            "params": {} if given["params"] is None else given["params"],
        }

    def refuse(self, refusal: LabelingError) -> None:
        """Show what ``services.start_run`` refused beside the field that can mend it."""
        add_refusal(self, refusal, self._field_at_fault(refusal))

    def _field_at_fault(self, refusal: LabelingError) -> str:
        if isinstance(refusal, NothingToSample | NoTrainingData):
            return "pool"
        if isinstance(refusal, ModelNotFound):
            kind, pool = self.cleaned_data["kind"], self.cleaned_data["pool"]
            if kind in KINDS_WITH_REWARD_MODEL and selectors.latest_reward_model(pool) is None:
                return "reward_model"
            return "model"
        return ""


class ReferenceForm(forms.Form):
    """A model from outside."""

    reference = forms.CharField(
        max_length=1000,
        widget=UnfoldAdminTextInputWidget(attrs={"placeholder": _("org/name or /path/to/folder")}),
        help_text=_("A Hugging Face id, or a folder on the machine that trains."),
    )


class SampledPoolForm(PoolForm):
    """The pool's form with the models there are to choose its sampler from."""

    sampler = forms.ChoiceField(
        required=False,
        widget=UnfoldAdminSelectWidget,
        help_text=_("The model that writes the completions."),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        policies = ModelVersion.objects.filter(kind=ModelVersion.Kind.POLICY)
        names = [*policies.values_list("name", flat=True)]
        if self.instance.sampler and self.instance.sampler not in names:
            names.append(self.instance.sampler)
        self.fields["sampler"].choices = [  # type: ignore[attr-defined]
            ("", _("The promoted policy")),
            *((name, name) for name in names),
        ]
