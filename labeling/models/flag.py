"""A labeler's word that something is wrong with a prompt itself."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from labeling.models.prompt import Prompt
from labeling.models.user import User


class PromptFlag(models.Model):
    """One reason of one labeler against one prompt. The prompt stays in its pool."""

    class Reason(models.TextChoices):
        HARMFUL = "harmful", _("It is harmful or upsetting")
        PERSONAL_DATA = "personal_data", _("It contains somebody's personal data")
        UNCLEAR = "unclear", _("It cannot be understood")
        DUPLICATE = "duplicate", _("I have seen the same prompt before")
        OTHER = "other", _("Another reason")

    prompt = models.ForeignKey(Prompt, on_delete=models.CASCADE, related_name="flags")
    labeler = models.ForeignKey(User, on_delete=models.PROTECT, related_name="prompt_flags")
    reason = models.CharField(max_length=16, choices=Reason)
    detail = models.CharField(max_length=500, blank=True, default="")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["prompt", "labeler", "reason"], name="flag_once_per_reason"
            )
        ]

    def __str__(self) -> str:
        return f"{self.get_reason_display()}: prompt {self.prompt_id}"
