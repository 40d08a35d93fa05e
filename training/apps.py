"""The training application."""

from django.apps import AppConfig
from django.utils.translation import pgettext_lazy

from labeling.apps import translate_names


class TrainingConfig(AppConfig):
    name = "training"
    verbose_name = pgettext_lazy("application", "Training")

    def ready(self) -> None:
        # The registry of models can only be imported once all applications are loaded.
        from training.api.exceptions import register  # noqa: PLC0415

        register()
        translate_names(self)
