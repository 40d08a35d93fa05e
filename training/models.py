"""Runs, what they said, the data they were given, and the models they made."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from labeling.models import Pool, Round
from training.jobs.spec import KINDS

GPU_QUEUE = "gpu"
STARTER = "starter"


class Snapshot(models.Model):
    """Frozen training data under its content address, as the trainer read it."""

    digest = models.CharField(max_length=64, unique=True)
    files = models.JSONField(help_text="{name: {path, sha256, rows}}")
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.digest[:12]


class ModelVersion(models.Model):
    """A policy or a reward model, and what it was made from.

    ``digest`` is its content address among the artifacts; a model brought from outside has a
    ``reference`` instead: a local folder, a Hugging Face id, or ``starter``.
    """

    class Kind(models.TextChoices):
        POLICY = "policy"
        REWARD = "reward"

    name = models.CharField(max_length=200, unique=True)
    kind = models.CharField(max_length=8, choices=Kind)
    digest = models.CharField(max_length=64, blank=True, default="")
    reference = models.CharField(max_length=1000, blank=True, default="")
    parent = models.ForeignKey(
        "self", on_delete=models.PROTECT, null=True, blank=True, related_name="children"
    )
    reward_model = models.ForeignKey(
        "self", on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    round = models.ForeignKey(Round, on_delete=models.PROTECT, related_name="model_versions")
    metrics = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(digest="", reference__gt="") | Q(digest__gt="", reference=""),
                name="model_has_one_place",
            )
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def location(self) -> str:
        """What the trainer loads: a folder or a Hugging Face id."""
        if self.digest:
            return str(artifact_folder(self.digest))
        # By word, not by path: the checkout may lie elsewhere tomorrow.
        return str(settings.STARTER_MODEL) if self.reference == STARTER else self.reference


class Promotion(models.Model):
    """Which policy is the sampler of a round."""

    round = models.OneToOneField(Round, on_delete=models.PROTECT, related_name="promotion")
    model = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="promotions")
    promoted_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["round"]

    def __str__(self) -> str:
        return f"{self.model} in {self.round}"


class Run(models.Model):
    """One job. The row is the queue: a worker claims it, and only the claim's token may write to
    it.
    """

    class Kind(models.TextChoices):
        SAMPLE = "sample"
        SFT = "sft", "SFT"
        REWARD = "reward"
        PPO = "ppo", "PPO"
        REJECTION = "rejection"
        DPO = "dpo", "DPO"
        RLOO = "rloo", "RLOO"
        GRPO = "grpo", "GRPO"

    class State(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        SUCCEEDED = "succeeded"
        FAILED = "failed"
        CANCELLED = "cancelled"

    class Labelers(models.TextChoices):
        PEOPLE = "people"
        SIMULATED = "simulated"
        ALL = "all"

    kind = models.CharField(max_length=16, choices=Kind)
    pool = models.ForeignKey(
        Pool, on_delete=models.PROTECT, null=True, blank=True, related_name="runs"
    )
    model = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="runs")
    reward_model = models.ForeignKey(
        ModelVersion, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    labelers = models.CharField(max_length=16, choices=Labelers, default=Labelers.PEOPLE)
    params = models.JSONField(default=dict, blank=True)
    seed = models.PositiveBigIntegerField(default=0)
    round = models.ForeignKey(Round, on_delete=models.PROTECT, related_name="runs")
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True
    )
    created_at = models.DateTimeField(auto_now_add=True)
    spec_digest = models.CharField(max_length=64, help_text="SHA-256 of all that defines the run.")

    queue = models.CharField(max_length=16, default=GPU_QUEUE)
    state = models.CharField(max_length=16, choices=State, default=State.QUEUED)
    attempt = models.PositiveSmallIntegerField(default=0)
    not_before = models.DateTimeField(db_default=Now())
    lease_token = models.UUIDField(null=True, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    cancel_requested = models.BooleanField(default=False)

    phase = models.CharField(max_length=64, blank=True, default="")
    progress = models.FloatField(default=0.0, help_text="0 to 1 within the phase.")
    metrics = models.JSONField(default=dict, blank=True)
    error = models.TextField(blank=True, default="")
    snapshot = models.ForeignKey(
        Snapshot, on_delete=models.PROTECT, null=True, blank=True, related_name="runs"
    )
    made = models.OneToOneField(
        ModelVersion, on_delete=models.PROTECT, null=True, blank=True, related_name="made_by"
    )
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["spec_digest"],
                condition=Q(state__in=["queued", "running"]),
                name="run_once_at_a_time",
            ),
            models.CheckConstraint(condition=Q(kind__in=KINDS), name="run_kind_known"),
            models.CheckConstraint(
                condition=~Q(state="running")
                | Q(lease_token__isnull=False, lease_until__isnull=False),
                name="run_running_has_lease",
            ),
        ]
        indexes = [models.Index(fields=["queue", "state", "not_before"], name="run_queue")]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} run {self.pk}"

    @property
    def folder(self) -> Path:
        return Path(settings.JOBS_DIR) / str(self.pk)

    @property
    def has_ended(self) -> bool:
        return self.state not in (self.State.QUEUED, self.State.RUNNING)


class RunEvent(models.Model):
    """A line of the trainer's ``events.jsonl``."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="events")
    number = models.PositiveIntegerField()
    phase = models.CharField(max_length=64)
    step = models.PositiveIntegerField(default=0)
    total = models.PositiveIntegerField(default=0)
    metrics = models.JSONField(default=dict)
    happened_at = models.DateTimeField()

    class Meta:
        ordering = ["run", "number"]
        constraints = [
            models.UniqueConstraint(fields=["run", "number"], name="event_number_unique")
        ]

    def __str__(self) -> str:
        return f"{self.phase} {self.step}/{self.total}"


def artifact_folder(digest: str) -> Path:
    return Path(settings.ARTIFACTS_DIR) / "models" / digest


def snapshot_folder(digest: str) -> Path:
    return Path(settings.ARTIFACTS_DIR) / "snapshots" / digest
