"""What is fair to people: topics that prompts may carry, and who would rather not meet them."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from labeling.models.prompt import Prompt
from labeling.models.user import User


class Topic(models.Model):
    """A subject that prompts carry. Texts on a sensitive one are covered until asked for."""

    name = models.SlugField(max_length=50, unique=True, allow_unicode=True, verbose_name=_("name"))
    label = models.CharField(
        max_length=100, verbose_name=_("label"), help_text=_("As labelers read it.")
    )
    is_sensitive = models.BooleanField(
        default=False,
        verbose_name=_("sensitive"),
        help_text=_("Covered until revealed, and counted by the daily limit."),
    )
    prompts = models.ManyToManyField(Prompt, blank=True, related_name="topics")
    avoided_by = models.ManyToManyField(User, blank=True, related_name="avoided_topics")

    class Meta:
        ordering = ["label"]
        verbose_name = _("topic")
        verbose_name_plural = _("topics")

    def __str__(self) -> str:
        """The label; a topic that Podium brought along, and nobody reworded, is translated."""
        return gettext(self.label)
