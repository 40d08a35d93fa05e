"""People, simulated people, and their tokens."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.auth.models import AbstractUser, UserManager
from django.core.validators import MaxValueValidator
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy


class PodiumUserManager(UserManager["User"]):
    def create_superuser(
        self,
        username: str,
        email: str | None = None,
        password: str | None = None,
        **extra: object,
    ) -> User:
        """Django's own command for the first account makes an admin of Podium."""
        extra.setdefault("role", User.Role.ADMIN)
        return super().create_superuser(username, email, password, **extra)


class User(AbstractUser):
    """An account. The role decides what it may do; Django's staff flags follow from it."""

    class Role(models.TextChoices):
        LABELER = "labeler", pgettext_lazy("role", "Labeler")
        REVIEWER = "reviewer", pgettext_lazy("role", "Reviewer")
        ADMIN = "admin", pgettext_lazy("role", "Admin")

    class LabelerGroup(models.TextChoices):
        TRAINING = "training", pgettext_lazy("labeler group", "Training")
        HELD_OUT = "held-out", pgettext_lazy("labeler group", "Held Out")

    role = models.CharField(max_length=16, choices=Role, default=Role.LABELER)
    labeler_group = models.CharField(
        max_length=16,
        choices=LabelerGroup,
        default=LabelerGroup.TRAINING,
        help_text="What the held-out group ranks and writes never trains a model.",
    )
    is_simulated = models.BooleanField(
        default=False, help_text="A program, not a person: kept apart from people in training data."
    )

    daily_sensitive_limit = models.PositiveSmallIntegerField(
        null=True,
        blank=True,
        help_text="At most so many prompts on sensitive topics a day; empty: as for everybody.",
    )
    break_minutes = models.PositiveSmallIntegerField(
        default=60,
        validators=[MaxValueValidator(480)],
        help_text="Minutes of work until a break is proposed; 0: never.",
    )

    language = models.CharField(
        max_length=16,
        blank=True,
        default="",
        help_text=_("Of pages and messages; empty: as the browser asks."),
    )

    objects: ClassVar[PodiumUserManager] = PodiumUserManager()

    class Meta(AbstractUser.Meta):
        constraints = [
            models.CheckConstraint(
                condition=Q(role="admin", is_superuser=True, is_staff=True)
                | (~Q(role="admin") & Q(is_superuser=False, is_staff=False)),
                name="staff_flags_follow_role",
            ),
        ]

    @property
    def is_reviewer(self) -> bool:
        """May see what labelers did: reviewers and admins."""
        return self.role in (self.Role.REVIEWER, self.Role.ADMIN)

    @property
    def is_admin(self) -> bool:
        return self.role == self.Role.ADMIN


class ApiToken(models.Model):
    """A bearer token. Only its SHA-256 is kept: a copy of the database opens nothing."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=100)
    digest = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField(auto_now_add=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.name} of {self.user}"
