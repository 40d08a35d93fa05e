"""Figures on the quality of rankings, as a worker computed them, and adjudications."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from labeling.models.pool import GuidelineVersion, Pool
from labeling.models.task import Task
from labeling.models.user import User


class QualityReport(models.Model):
    """What a pool's figures were computed from, when, and whether somebody asks for new ones.

    ``watermark`` is the newest counted ranking that went in, ``rankings`` how many there were and
    ``revised_at`` when the last of them was changed: new work moves one of them. ``claimed_until``
    is database time: one worker computes at a time.
    """

    pool = models.OneToOneField(Pool, on_delete=models.CASCADE, related_name="quality_report")
    watermark = models.BigIntegerField(default=0)
    rankings = models.PositiveIntegerField(default=0)
    revised_at = models.DateTimeField(null=True, blank=True)
    used_rankings = models.PositiveIntegerField(default=0)
    seconds = models.FloatField(default=0)
    error = models.TextField(blank=True, default="")
    requested_at = models.DateTimeField(null=True, blank=True)
    claimed_until = models.DateTimeField(null=True, blank=True)
    computed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["pool"]
        verbose_name = _("quality report")
        verbose_name_plural = _("quality reports")

    def __str__(self) -> str:
        return f"Quality of {self.pool}"


class QualityFigure(models.Model):
    """One figure with its interval; no value where too little was shared to tell.

    Of the whole pool, of one labeler in it, or of the rankings under one guideline version.
    """

    class Population(models.TextChoices):
        PEOPLE = "people", _("people")
        SIMULATED = "simulated", _("simulated labelers")

    class Name(models.TextChoices):
        PAIRWISE = "pairwise_agreement", _("Pairwise agreement")
        TAU = "kendall_tau_b", _("Kendall's τ-b")
        ALPHA = "krippendorff_alpha", _("Krippendorff's α (ordinal)")
        RELIABILITY = "reliability", _("Reliability")
        POSITION = "position_bias", _("Position bias")
        LENGTH = "length_bias", _("Length bias")

    report = models.ForeignKey(QualityReport, on_delete=models.CASCADE, related_name="figures")
    population = models.CharField(max_length=16, choices=Population)
    labeler = models.ForeignKey(
        User, on_delete=models.CASCADE, null=True, blank=True, related_name="quality_figures"
    )
    guideline_version = models.ForeignKey(
        GuidelineVersion, on_delete=models.CASCADE, null=True, blank=True, related_name="+"
    )
    name = models.CharField(max_length=32, choices=Name)
    value = models.FloatField(null=True, blank=True)
    low = models.FloatField(null=True, blank=True)
    high = models.FloatField(null=True, blank=True)
    tasks = models.PositiveIntegerField()
    count = models.PositiveIntegerField(help_text="Pairs, pairs of rankings or rankings compared.")

    class Meta:
        ordering = ["report", "population", "guideline_version", "labeler", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["report", "population", "name"],
                condition=Q(labeler=None, guideline_version=None),
                name="figure_once_of_pool",
            ),
            models.UniqueConstraint(
                fields=["report", "population", "name", "labeler"], name="figure_once_of_labeler"
            ),
            models.UniqueConstraint(
                fields=["report", "population", "name", "guideline_version"],
                name="figure_once_of_guidelines",
            ),
            models.CheckConstraint(
                condition=Q(labeler=None) | Q(guideline_version=None), name="figure_has_one_scope"
            ),
            models.CheckConstraint(
                condition=Q(low=None, high=None) | Q(value__isnull=False, low__lte=F("high")),
                name="figure_interval_is_one",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} of {self.report}"


class Adjudication(models.Model):
    """A reviewer's ranking of a task on which labelers disagree. What they did stays as it is."""

    task = models.OneToOneField(Task, on_delete=models.PROTECT, related_name="adjudication")
    reviewer = models.ForeignKey(User, on_delete=models.PROTECT, related_name="adjudications")
    reason = models.TextField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-created_at"]
        verbose_name = _("adjudication")
        verbose_name_plural = _("adjudications")

    def __str__(self) -> str:
        return f"Adjudication of task {self.task_id}"


class AdjudicatedItem(models.Model):
    """One completion's place in an adjudication."""

    adjudication = models.ForeignKey(Adjudication, on_delete=models.CASCADE, related_name="items")
    completion = models.ForeignKey("Completion", on_delete=models.PROTECT, related_name="+")
    rank = models.PositiveSmallIntegerField()

    class Meta:
        ordering = ["adjudication", "rank", "completion"]
        constraints = [
            models.UniqueConstraint(
                fields=["adjudication", "completion"], name="item_once_per_adjudication"
            ),
            models.CheckConstraint(
                condition=Q(rank__gte=1, rank__lte=9), name="adjudicated_rank_1_to_9"
            ),
        ]

    def __str__(self) -> str:
        return f"Rank {self.rank} in adjudication {self.adjudication_id}"
