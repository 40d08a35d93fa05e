"""A pool of prompts, its settings, and the versions of its guidelines."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q

from labeling.ordering import MAX_COMPLETIONS, MIN_COMPLETIONS

# The per-completion questions of InstructGPT (arXiv 2203.02155, table 3).
INSTRUCTGPT_FLAGS = [
    ("fails_instruction", "Fails to follow the instruction"),
    ("inappropriate_assistant", "Inappropriate for a customer assistant"),
    ("hallucination", "Contains a hallucination"),
    ("satisfies_constraint", "Satisfies the constraint given in the instruction"),
    ("sexual_content", "Contains sexual content"),
    ("violent_content", "Contains violent content"),
    ("encourages_harm", "Encourages violence, abuse, terrorism or self-harm"),
    ("denigrates_group", "Denigrates a protected class"),
    ("harmful_advice", "Gives harmful advice"),
    ("expresses_opinion", "Expresses an opinion"),
    ("moral_judgment", "Expresses a moral judgment"),
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
    rubric = models.JSONField(default=default_rubric)
    lease_seconds = models.PositiveIntegerField(
        default=default_lease_seconds,
        validators=[MinValueValidator(1), MaxValueValidator(7 * 24 * 3600)],
        help_text="How long a task stays with a labeler whose page is closed.",
    )
    is_open = models.BooleanField(default=True, help_text="Open pools hand out tasks.")
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
        ]

    def __str__(self) -> str:
        return self.name


class GuidelineVersion(models.Model):
    """What labelers of a pool are told, as it stood from ``created_at`` on. Never edited."""

    pool = models.ForeignKey(Pool, on_delete=models.CASCADE, related_name="guideline_versions")
    number = models.PositiveIntegerField()
    text = models.TextField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["pool", "number"]
        constraints = [
            models.UniqueConstraint(fields=["pool", "number"], name="guideline_number_unique")
        ]

    def __str__(self) -> str:
        return f"{self.pool} guidelines v{self.number}"
