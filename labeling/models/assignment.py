"""A slot leased to a labeler, and what the labeler made of it."""

from __future__ import annotations

import uuid
from typing import Any

from django.db import models
from django.db.models import Q

from labeling.models.pool import GuidelineVersion, RubricVersion
from labeling.models.task import Slot, Task
from labeling.models.user import User
from labeling.ordering import ALIASES


class Assignment(models.Model):
    """What one labeler sees of one task: aliases in a random order that stays the same for good.

    ``shown_order`` lists completion numbers; position i is shown as the i-th alias. The assignment
    and its draft outlive the lease.
    """

    class State(models.TextChoices):
        OPEN = "open"
        SUBMITTED = "submitted"
        LATE = "late"
        SKIPPED = "skipped"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="assignments")
    labeler = models.ForeignKey(User, on_delete=models.PROTECT, related_name="assignments")
    slot = models.ForeignKey(Slot, on_delete=models.CASCADE, related_name="assignments")
    state = models.CharField(max_length=16, choices=State, default=State.OPEN)
    lease_token = models.UUIDField()
    shown_order = models.JSONField()
    guideline_version = models.ForeignKey(
        GuidelineVersion, on_delete=models.PROTECT, null=True, blank=True
    )
    rubric_version = models.ForeignKey(
        RubricVersion, on_delete=models.PROTECT, null=True, blank=True
    )
    draft = models.JSONField(null=True, blank=True)
    skip_reason = models.CharField(max_length=500, blank=True, default="")
    created_at = models.DateTimeField(auto_now_add=True)
    shown_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text="When the labeler first saw it; empty while it is held ahead.",
    )
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["created_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["task", "labeler"], name="assignment_once_per_task_and_labeler"
            )
        ]
        indexes = [
            models.Index(fields=["labeler", "state"], name="assignment_of_labeler"),
        ]

    def __str__(self) -> str:
        return f"{self.labeler} on task {self.task_id}"

    @property
    def number_of_alias(self) -> dict[str, int]:
        """Alias shown → number of the completion within the task."""
        return dict(zip(ALIASES, self.shown_order, strict=False))

    def alias_of_completion(self) -> dict[int, str]:
        """Primary key of a completion → the alias it was shown under; for admins alone."""
        number_of = dict(self.task.completions.values_list("id", "number"))
        alias_of = {number: alias for alias, number in self.number_of_alias.items()}
        return {pk: alias_of[number] for pk, number in number_of.items()}

    @property
    def rubric(self) -> dict[str, Any]:
        """What this labeler was asked, whatever the pool asks by now."""
        version = self.rubric_version
        rubric: dict[str, Any] = version.rubric if version else self.task.prompt.pool.rubric
        return rubric


class Ranking(models.Model):
    """A submitted ranking, whole. ``late`` ones are kept and shown, but not counted.

    ``control`` ones, of tasks whose answer is known, tell about the labeler and train no model.
    Their labeler is told that they count, as of any other: ``told_status``.
    """

    class Status(models.TextChoices):
        COUNTED = "counted"
        LATE = "late"
        CONTROL = "control"

    assignment = models.OneToOneField(Assignment, on_delete=models.PROTECT, related_name="ranking")
    task = models.ForeignKey(Task, on_delete=models.PROTECT, related_name="rankings")
    labeler = models.ForeignKey(User, on_delete=models.PROTECT, related_name="rankings")
    status = models.CharField(max_length=16, choices=Status)
    submission_id = models.UUIDField()
    body_digest = models.CharField(max_length=64, help_text="SHA-256 of what was submitted.")
    note = models.TextField(blank=True, default="")
    created_at = models.DateTimeField(auto_now_add=True)
    revised_at = models.DateTimeField(
        null=True, blank=True, help_text="When the labeler last changed it; empty: never."
    )

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["labeler", "submission_id"], name="submission_once_per_labeler"
            ),
            models.UniqueConstraint(
                fields=["task", "labeler"],
                condition=Q(status="counted"),
                name="ranking_counted_once_per_labeler",
            ),
        ]

    def __str__(self) -> str:
        return f"Ranking of task {self.task_id} by {self.labeler}"

    @property
    def told_status(self) -> str:
        late = self.Status.LATE
        return str(late if self.status == late else self.Status.COUNTED)


class Revision(models.Model):
    """One change of a ranking by its labeler: what stood there before, and what replaced it.

    The ranking's items and comparisons are always the newest; ``replaced`` holds the items that
    went, as ``{"completion", "rank", "quality", "flags"}``, and ``replaced_note`` their note.
    """

    ranking = models.ForeignKey(Ranking, on_delete=models.PROTECT, related_name="revisions")
    number = models.PositiveSmallIntegerField()
    submission_id = models.UUIDField()
    body_digest = models.CharField(max_length=64, help_text="SHA-256 of what was submitted.")
    replaced = models.JSONField()
    replaced_note = models.TextField(blank=True, default="")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["ranking", "number"]
        constraints = [
            models.UniqueConstraint(fields=["ranking", "number"], name="revision_number_unique"),
            models.UniqueConstraint(
                fields=["ranking", "submission_id"], name="revision_submission_once"
            ),
            models.CheckConstraint(condition=Q(number__gte=1), name="revision_number_from_1"),
        ]

    def __str__(self) -> str:
        return f"Revision {self.number} of ranking {self.ranking_id}"


class RankedItem(models.Model):
    """One completion's place in a ranking, with its rating and flags."""

    ranking = models.ForeignKey(Ranking, on_delete=models.CASCADE, related_name="items")
    completion = models.ForeignKey("Completion", on_delete=models.PROTECT, related_name="ranked")
    rank = models.PositiveSmallIntegerField()
    quality = models.PositiveSmallIntegerField(null=True, blank=True)
    flags = models.JSONField(default=list, blank=True)

    class Meta:
        ordering = ["ranking", "rank", "completion"]
        constraints = [
            models.UniqueConstraint(fields=["ranking", "completion"], name="item_once_per_ranking"),
            models.CheckConstraint(condition=Q(rank__gte=1, rank__lte=9), name="item_rank_1_to_9"),
            models.CheckConstraint(
                condition=Q(quality=None) | Q(quality__gte=1, quality__lte=7),
                name="item_quality_1_to_7",
            ),
        ]

    def __str__(self) -> str:
        return f"Rank {self.rank} in ranking {self.ranking_id}"


class Comparison(models.Model):
    """A pair of a ranking, as ``labeling.ordering.comparisons`` derives it; ties stay ties."""

    class Preferred(models.TextChoices):
        A = "a"
        B = "b"
        TIE = "tie"

    ranking = models.ForeignKey(Ranking, on_delete=models.CASCADE, related_name="comparisons")
    a = models.ForeignKey("Completion", on_delete=models.PROTECT, related_name="+")
    b = models.ForeignKey("Completion", on_delete=models.PROTECT, related_name="+")
    preferred = models.CharField(max_length=3, choices=Preferred)
    rank_gap = models.PositiveSmallIntegerField()

    class Meta:
        ordering = ["ranking", "a", "b"]
        constraints = [
            models.UniqueConstraint(fields=["ranking", "a", "b"], name="comparison_once"),
            models.CheckConstraint(condition=Q(a__lt=models.F("b")), name="comparison_a_before_b"),
            models.CheckConstraint(
                condition=Q(preferred="tie", rank_gap=0)
                | (~Q(preferred="tie") & Q(rank_gap__gte=1, rank_gap__lte=8)),
                name="comparison_gap_fits",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.a_id} against {self.b_id}: {self.preferred}"
