"""Prompts, and the rounds of the loop."""

from __future__ import annotations

from django.db import models

from labeling.models.pool import Pool


class Round(models.Model):
    """One turn of the loop: the tasks made while one policy was the sampler."""

    number = models.PositiveIntegerField(primary_key=True)
    started_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["number"]

    def __str__(self) -> str:
        return f"Round {self.number}"


class Prompt(models.Model):
    """A conversation that ends with a user's turn. Its content is unique within the pool."""

    pool = models.ForeignKey(Pool, on_delete=models.CASCADE, related_name="prompts")
    messages = models.JSONField(help_text="[{role: system | user | assistant, content}, …]")
    digest = models.CharField(max_length=64, help_text="SHA-256 of the messages.")
    use_case = models.CharField(max_length=100, blank=True, default="")
    source = models.CharField(max_length=200, blank=True, default="")
    author = models.CharField(
        max_length=200, blank=True, default="", help_text="Who wrote it; training splits by author."
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["pool", "digest"], name="prompt_unique_in_pool")
        ]

    def __str__(self) -> str:
        text = " ".join(str(self.messages[-1]["content"]).split())
        return text if len(text) <= 80 else f"{text[:79]}…"
