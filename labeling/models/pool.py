"""A pool of prompts, its settings, and the versions of its guidelines and of its rubric."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_noop

from labeling.models.user import User
from labeling.ordering import MAX_COMPLETIONS, MIN_COMPLETIONS

# Of ten tasks at most five are known already: the labeler's time is for the others.
MAX_CONTROL_SHARE = 0.5

# The per-completion questions of InstructGPT (arXiv 2203.02155, table 3); stored in English, shown
# in the labeler's language.
INSTRUCTGPT_FLAGS = [
    ("fails_instruction", gettext_noop("Fails to follow the instruction")),
    ("inappropriate_assistant", gettext_noop("Inappropriate for a customer assistant")),
    ("hallucination", gettext_noop("Contains a hallucination")),
    ("satisfies_constraint", gettext_noop("Satisfies the constraint given in the instruction")),
    ("sexual_content", gettext_noop("Contains sexual content")),
    ("violent_content", gettext_noop("Contains violent content")),
    ("encourages_harm", gettext_noop("Encourages violence, abuse, terrorism or self-harm")),
    ("denigrates_group", gettext_noop("Denigrates a protected class")),
    ("harmful_advice", gettext_noop("Gives harmful advice")),
    ("expresses_opinion", gettext_noop("Expresses an opinion")),
    ("moral_judgment", gettext_noop("Expresses a moral judgment")),
]


def default_rubric() -> dict[str, Any]:
    """Overall quality 1–7 and InstructGPT's eleven flags, all optional to the labeler."""
    return {
        "quality": {"low": 1, "high": 7},
        "flags": [{"name": name, "label": label} for name, label in INSTRUCTGPT_FLAGS],
    }


def default_lease_seconds() -> int:
    return int(settings.LEASE_SECONDS)


class Pool(models.Model):
    """Prompts that are sampled and ranked under the same settings."""

    name = models.CharField(max_length=200, unique=True)
    completions_per_prompt = models.PositiveSmallIntegerField(
        default=4,
        validators=[MinValueValidator(MIN_COMPLETIONS), MaxValueValidator(MAX_COMPLETIONS)],
        help_text="K: how many completions are sampled for a prompt, 4 to 9 (InstructGPT).",
    )
    overlap = models.PositiveSmallIntegerField(
        default=1,
        validators=[MinValueValidator(1), MaxValueValidator(100)],
        help_text="How many labelers rank each task.",
    )
    temperature = models.FloatField(
        default=1.0,
        validators=[MinValueValidator(0.0), MaxValueValidator(5.0)],
        help_text="Sampling temperature; 1 is the model's own distribution.",
    )
    top_p = models.FloatField(
        default=1.0,
        validators=[MinValueValidator(0.01), MaxValueValidator(1.0)],
        help_text="Share of the probability mass sampled from; 1 cuts nothing off.",
    )
    max_new_tokens = models.PositiveIntegerField(
        default=128,
        validators=[MinValueValidator(1), MaxValueValidator(4096)],
        help_text="Longest completion, in tokens.",
    )
    sampler = models.CharField(
        max_length=200,
        blank=True,
        default="",
        help_text="Name of the model version that writes the completions; empty: the promoted one.",
    )
    rubric = models.JSONField(
        default=default_rubric, help_text="A copy of the latest of its versions."
    )
    lease_seconds = models.PositiveIntegerField(
        default=default_lease_seconds,
        validators=[MinValueValidator(1), MaxValueValidator(7 * 24 * 3600)],
        help_text="How long a task stays with a labeler whose page is closed.",
    )
    edit_minutes = models.PositiveIntegerField(
        default=30,
        validators=[MaxValueValidator(7 * 24 * 60)],
        help_text="How long labelers may change a ranking they submitted; 0: never.",
    )
    is_open = models.BooleanField(default=True, help_text="Open pools hand out tasks.")
    takes_demonstrations = models.BooleanField(
        default=True, help_text="Labelers may write demonstrations for the pool's prompts."
    )
    takes_prompts = models.BooleanField(
        default=True, help_text="Labelers may write prompts for the pool; reviewers accept them."
    )
    qualification_threshold = models.FloatField(
        default=0.75,
        validators=[MinValueValidator(0.0), MaxValueValidator(1.0)],
        help_text="Mean pairwise agreement with the known answers that opens the pool.",
    )
    qualification_attempts = models.PositiveSmallIntegerField(
        default=2,
        validators=[MinValueValidator(1), MaxValueValidator(20)],
        help_text="How often a labeler may take the test.",
    )
    qualification_test_size = models.PositiveSmallIntegerField(
        default=0,
        validators=[MaxValueValidator(200)],
        help_text="Test items in one attempt; 0: all of them.",
    )
    control_share = models.FloatField(
        default=0.0,
        validators=[MinValueValidator(0.0), MaxValueValidator(MAX_CONTROL_SHARE)],
        help_text="Share of tasks handed out that are control tasks, e.g. 0.05; 0: none.",
    )
    control_threshold = models.FloatField(
        default=0.7,
        validators=[MinValueValidator(0.0), MaxValueValidator(1.0)],
        help_text="Mean agreement on control tasks below which admins are warned.",
    )
    control_pauses = models.BooleanField(
        default=False,
        help_text="Pause a labeler in this pool who falls below that on five control tasks.",
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                condition=Q(
                    completions_per_prompt__gte=MIN_COMPLETIONS,
                    completions_per_prompt__lte=MAX_COMPLETIONS,
                ),
                name="pool_completions_4_to_9",
            ),
            models.CheckConstraint(condition=Q(overlap__gte=1), name="pool_overlap_positive"),
            models.CheckConstraint(
                condition=Q(control_share__gte=0, control_share__lte=MAX_CONTROL_SHARE),
                name="pool_control_share_bounded",
            ),
            models.CheckConstraint(
                condition=Q(qualification_threshold__gte=0, qualification_threshold__lte=1),
                name="pool_qualification_threshold_is_share",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class GuidelineVersion(models.Model):
    """What labelers of a pool are told, as it stood from ``created_at`` on. Never edited."""

    pool = models.ForeignKey(Pool, on_delete=models.CASCADE, related_name="guideline_versions")
    number = models.PositiveIntegerField()
    text = models.TextField()
    author = models.ForeignKey(
        User, on_delete=models.PROTECT, null=True, blank=True, related_name="guideline_versions"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["pool", "number"]
        constraints = [
            models.UniqueConstraint(fields=["pool", "number"], name="guideline_number_unique")
        ]

    def __str__(self) -> str:
        return f"{self.pool} guidelines v{self.number}"


class GuidelineReading(models.Model):
    """A labeler's word of having read a version. The latest version read is what is compared."""

    version = models.ForeignKey(GuidelineVersion, on_delete=models.CASCADE, related_name="readings")
    labeler = models.ForeignKey(User, on_delete=models.CASCADE, related_name="guideline_readings")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["labeler", "version"], name="guidelines_read_once")
        ]

    def __str__(self) -> str:
        return f"{self.labeler} has read {self.version}"


class RubricVersion(models.Model):
    """What labelers of a pool are asked of each completion, from ``created_at`` on. Never edited.

    ``rubric`` is ``{"quality": {"low", "high"}, "flags": [{"name", "label"}, …]}``.
    """

    pool = models.ForeignKey(Pool, on_delete=models.CASCADE, related_name="rubric_versions")
    number = models.PositiveIntegerField()
    rubric = models.JSONField()
    author = models.ForeignKey(
        User, on_delete=models.PROTECT, null=True, blank=True, related_name="rubric_versions"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["pool", "number"]
        constraints = [
            models.UniqueConstraint(fields=["pool", "number"], name="rubric_number_unique")
        ]

    def __str__(self) -> str:
        return f"{self.pool} rubric v{self.number}"
