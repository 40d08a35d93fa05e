"""The training application."""

from django.apps import AppConfig


class TrainingConfig(AppConfig):
    name = "training"
    verbose_name = "Training"

    def ready(self) -> None:
        # The registry of models can only be imported once all applications are loaded.
        from training.api.exceptions import register  # noqa: PLC0415

        register()
