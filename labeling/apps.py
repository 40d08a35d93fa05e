"""The labeling application."""

from django.apps import AppConfig
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy


class LabelingConfig(AppConfig):
    name = "labeling"
    verbose_name = gettext_lazy("Labeling")

    def ready(self) -> None:
        translate_names(self)


def translate_names(app: AppConfig) -> None:
    """Models, fields and choices in the reader's language; migrations keep what the models say."""
    for model in app.get_models():
        meta = model._meta
        for named in (meta, *meta.local_fields, *meta.local_many_to_many):
            for attribute in ("verbose_name", "verbose_name_plural", "help_text"):
                if text := getattr(named, attribute, ""):
                    setattr(named, attribute, translated(text))
        for field in meta.local_fields:
            if field.choices:
                field.choices = [(value, translated(label)) for value, label in field.flatchoices]


def translated(label: str | Promise) -> str | Promise:
    return label if isinstance(label, Promise) else gettext_lazy(label)
