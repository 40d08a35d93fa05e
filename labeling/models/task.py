"""A task: a prompt with its K completions, and the slots on it."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from labeling.models.pool import Pool
from labeling.models.prompt import Prompt, Round
from labeling.models.user import User
from labeling.ordering import MAX_COMPLETIONS, MIN_COMPLETIONS


class Task(models.Model):
    """Made whole, in one transaction with its completions and its slots; never changed."""

    prompt = models.ForeignKey(Prompt, on_delete=models.CASCADE, related_name="tasks")
    round = models.ForeignKey(Round, on_delete=models.PROTECT, related_name="tasks")
    completion_count = models.PositiveSmallIntegerField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["prompt", "round"], name="task_once_per_round"),
            models.CheckConstraint(
                condition=Q(
                    completion_count__gte=MIN_COMPLETIONS, completion_count__lte=MAX_COMPLETIONS
                ),
                name="task_completions_4_to_9",
            ),
        ]

    def __str__(self) -> str:
        return f"Task {self.pk}"


class Completion(models.Model):
    """A model's answer, byte for byte, with all that is needed to make or to score it again."""

    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="completions")
    number = models.PositiveSmallIntegerField()
    text = models.TextField()
    model = models.CharField(
        max_length=200, blank=True, default="", help_text="Name of the model that wrote it."
    )
    token_ids = models.JSONField(null=True, blank=True)
    logprobs = models.JSONField(
        null=True, blank=True, help_text="Of each token, under the distribution it was drawn from."
    )
    finish_reason = models.CharField(max_length=16, blank=True, default="")
    seed = models.BigIntegerField(null=True, blank=True)
    temperature = models.FloatField(null=True, blank=True)
    top_p = models.FloatField(null=True, blank=True)
    max_new_tokens = models.PositiveIntegerField(null=True, blank=True)
    template_sha256 = models.CharField(max_length=64, blank=True, default="")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["task", "number"]
        constraints = [
            models.UniqueConstraint(fields=["task", "number"], name="completion_number_unique")
        ]

    def __str__(self) -> str:
        return f"Completion {self.number} of task {self.task_id}"


class Slot(models.Model):
    """One of the ``overlap`` places on a task. A task is never ranked more often than it has slots.

    ``lease_until`` is database time. A leased slot whose lease has ended counts as free. A control
    slot is made beyond the overlap for one labeler to whom the task is given as a control.
    """

    class State(models.TextChoices):
        FREE = "free"
        LEASED = "leased"
        DONE = "done"

    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="slots")
    pool = models.ForeignKey(Pool, on_delete=models.CASCADE, related_name="slots")
    number = models.PositiveSmallIntegerField()
    state = models.CharField(max_length=8, choices=State, default=State.FREE)
    labeler = models.ForeignKey(
        User, on_delete=models.PROTECT, null=True, blank=True, related_name="slots"
    )
    lease_token = models.UUIDField(null=True, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    is_control = models.BooleanField(default=False)

    class Meta:
        ordering = ["task", "number"]
        constraints = [
            models.UniqueConstraint(fields=["task", "number"], name="slot_number_unique"),
            models.UniqueConstraint(fields=["task", "labeler"], name="slot_one_per_labeler"),
            models.CheckConstraint(
                condition=Q(state="free", labeler=None, lease_token=None, lease_until=None)
                | Q(
                    state="leased",
                    labeler__isnull=False,
                    lease_token__isnull=False,
                    lease_until__isnull=False,
                )
                | Q(state="done", labeler__isnull=False),
                name="slot_lease_is_whole",
            ),
        ]
        indexes = [
            # The queue: the next candidate of a pool is the first row of a range of this index.
            models.Index(fields=["pool", "state", "number", "id"], name="slot_queue")
        ]

    def __str__(self) -> str:
        return f"Slot {self.number} of task {self.task_id}"
