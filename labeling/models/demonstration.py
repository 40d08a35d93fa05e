"""Demonstrations with their earlier versions, and the prompts handed out to write them for."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import Q

from labeling.models.pool import GuidelineVersion
from labeling.models.prompt import Prompt
from labeling.models.user import User


class Writing(models.Model):
    """A prompt handed to a labeler to write a demonstration for, and what became of it.

    It has no lease: a prompt takes as many demonstrations as labelers write, one from each.
    """

    class State(models.TextChoices):
        OPEN = "open"
        SUBMITTED = "submitted"
        SKIPPED = "skipped"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    prompt = models.ForeignKey(Prompt, on_delete=models.CASCADE, related_name="writings")
    labeler = models.ForeignKey(User, on_delete=models.PROTECT, related_name="writings")
    state = models.CharField(max_length=16, choices=State, default=State.OPEN)
    guideline_version = models.ForeignKey(
        GuidelineVersion, on_delete=models.PROTECT, null=True, blank=True
    )
    draft = models.TextField(blank=True, default="", help_text="Not handed in yet.")
    skip_reason = models.CharField(max_length=500, blank=True, default="")
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["created_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["prompt", "labeler"], name="writing_once_per_prompt_and_labeler"
            )
        ]
        indexes = [models.Index(fields=["labeler", "state"], name="writing_of_labeler")]

    def __str__(self) -> str:
        return f"{self.labeler} writing for “{self.prompt}”"


class Demonstration(models.Model):
    """An answer that somebody would have wanted, for supervised fine-tuning.

    Imported ones have no author; a labeler writes at most one for a prompt.
    """

    prompt = models.ForeignKey(Prompt, on_delete=models.CASCADE, related_name="demonstrations")
    text = models.TextField()
    digest = models.CharField(max_length=64, help_text="SHA-256 of the text.")
    author = models.ForeignKey(
        User, on_delete=models.PROTECT, null=True, blank=True, related_name="demonstrations"
    )
    submission_id = models.UUIDField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    revised_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["prompt", "digest"],
                condition=Q(author=None),
                name="demonstration_imported_once",
            ),
            models.UniqueConstraint(
                fields=["prompt", "author"], name="demonstration_one_per_labeler"
            ),
            models.UniqueConstraint(
                fields=["author", "submission_id"], name="demonstration_submitted_once"
            ),
        ]

    def __str__(self) -> str:
        return f"Demonstration for “{self.prompt}”"


class FormerText(models.Model):
    """What a demonstration said before its author revised it. Never changed."""

    demonstration = models.ForeignKey(
        Demonstration, on_delete=models.CASCADE, related_name="former_texts"
    )
    number = models.PositiveIntegerField()
    text = models.TextField()
    submission_id = models.UUIDField(null=True, blank=True)
    replaced_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["demonstration", "number"]
        constraints = [
            models.UniqueConstraint(
                fields=["demonstration", "number"], name="former_text_number_unique"
            )
        ]

    def __str__(self) -> str:
        return f"Version {self.number} of {self.demonstration}"
