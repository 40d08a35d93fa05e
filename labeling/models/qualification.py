"""Known answers: what labelers are trained and tested on, and controls mixed into their work."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from labeling.models.pool import Pool
from labeling.models.task import Task
from labeling.models.user import User
from labeling.ordering import ALIASES


class QualificationItem(models.Model):
    """A prompt with completions and their expected ranking. Never edited: it is retired instead.

    ``completions`` is ``[{"text", "rank"}, …]``, rank 1 the best, equal ranks tie.
    """

    class Kind(models.TextChoices):
        TRAINING = "training", _("training, with feedback")
        TEST = "test", _("test, without feedback")

    pool = models.ForeignKey(Pool, on_delete=models.CASCADE, related_name="qualification_items")
    kind = models.CharField(max_length=8, choices=Kind)
    messages = models.JSONField()
    completions = models.JSONField()
    explanation = models.TextField(blank=True, default="")
    is_active = models.BooleanField(default=True)
    digest = models.CharField(max_length=64, help_text="SHA-256 of messages and completions.")
    author = models.ForeignKey(
        User, on_delete=models.PROTECT, null=True, blank=True, related_name="qualification_items"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["pool", "digest"],
                condition=Q(is_active=True),
                name="qualification_item_once_in_pool",
            )
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} item {self.pk} of {self.pool}"

    @property
    def rank_of_number(self) -> dict[int, int]:
        """Number of the completion → expected rank."""
        return {number: row["rank"] for number, row in enumerate(self.completions)}


class Qualification(models.Model):
    """How a labeler stands in a pool: on the way to it, let in, or kept out.

    ``attempt`` counts the tests begun; ``extra_attempts`` are those an admin added.
    """

    class State(models.TextChoices):
        TRAINING = "training", _("in training")
        TESTING = "testing", _("taking the test")
        PASSED = "passed", _("passed")
        FAILED = "failed", _("not passed")
        GRANTED = "granted", _("let in by hand")
        PAUSED = "paused", _("paused")
        REVOKED = "revoked", _("taken out by hand")

    pool = models.ForeignKey(Pool, on_delete=models.CASCADE, related_name="qualifications")
    labeler = models.ForeignKey(User, on_delete=models.PROTECT, related_name="qualifications")
    state = models.CharField(max_length=8, choices=State, default=State.TRAINING)
    attempt = models.PositiveSmallIntegerField(default=0)
    extra_attempts = models.PositiveSmallIntegerField(default=0)
    score = models.FloatField(null=True, blank=True, help_text="Of the last test finished.")
    decided_by = models.ForeignKey(
        User, on_delete=models.PROTECT, null=True, blank=True, related_name="qualifications_decided"
    )
    decided_at = models.DateTimeField(null=True, blank=True)
    note = models.CharField(max_length=500, blank=True, default="")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["pool", "labeler"], name="qualification_once_per_pool_and_labeler"
            ),
            models.CheckConstraint(
                condition=Q(score=None) | Q(score__gte=0, score__lte=1),
                name="qualification_score_is_share",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.labeler} in {self.pool}: {self.get_state_display()}"


class Trial(models.Model):
    """An item as one labeler meets it once: in training (``attempt`` 0) or in the n-th test.

    ``shown_order`` works as an assignment's does. ``ranks`` maps aliases to ranks once submitted.
    """

    class State(models.TextChoices):
        OPEN = "open"
        SUBMITTED = "submitted"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    qualification = models.ForeignKey(
        Qualification, on_delete=models.CASCADE, related_name="trials"
    )
    item = models.ForeignKey(QualificationItem, on_delete=models.PROTECT, related_name="trials")
    attempt = models.PositiveSmallIntegerField()
    position = models.PositiveSmallIntegerField()
    state = models.CharField(max_length=16, choices=State, default=State.OPEN)
    shown_order = models.JSONField()
    ranks = models.JSONField(null=True, blank=True)
    agreement = models.FloatField(null=True, blank=True)
    submission_id = models.UUIDField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["qualification", "attempt", "position"]
        constraints = [
            models.UniqueConstraint(
                fields=["qualification", "attempt", "item"], name="trial_once_per_attempt"
            ),
            models.UniqueConstraint(
                fields=["qualification", "submission_id"], name="trial_submitted_once"
            ),
            models.CheckConstraint(
                condition=Q(state="open", ranks__isnull=True, agreement=None)
                | Q(state="submitted", ranks__isnull=False, agreement__gte=0, agreement__lte=1),
                name="trial_is_whole",
            ),
        ]

    def __str__(self) -> str:
        return f"Trial of item {self.item_id}"

    @property
    def number_of_alias(self) -> dict[str, int]:
        """Alias shown → number of the completion within the item."""
        return dict(zip(ALIASES, self.shown_order, strict=False))


class ControlTask(models.Model):
    """A task whose ranking is known. Labelers get it among their work and cannot tell.

    ``ranks`` lists the expected rank of each completion, by number.
    """

    task = models.OneToOneField(Task, on_delete=models.CASCADE, related_name="control")
    ranks = models.JSONField()
    is_active = models.BooleanField(default=True)
    author = models.ForeignKey(
        User, on_delete=models.PROTECT, null=True, blank=True, related_name="control_tasks"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return f"Control: {self.task}"

    @property
    def rank_of_number(self) -> dict[int, int]:
        return dict(enumerate(self.ranks))
