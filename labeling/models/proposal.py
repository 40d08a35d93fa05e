"""Prompts that labelers write, from the proposal to the reviewer's word on it."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from labeling.models.pool import Pool
from labeling.models.prompt import Prompt
from labeling.models.user import User

# InstructGPT's categories of use cases (arXiv 2203.02155, table 1), as the starter pool names them.
USE_CASES = [
    ("generation", _("Generation")),
    ("open qa", _("Open question answering")),
    ("brainstorming", _("Brainstorming")),
    ("chat", _("Chat")),
    ("rewrite", _("Rewriting")),
    ("summarization", _("Summarization")),
    ("classification", _("Classification")),
    ("closed qa", _("Closed question answering")),
    ("extraction", _("Extraction")),
    ("other", _("Other")),
]


class Application(models.Model):
    """A use case as somebody stated it on a waiting list; writers of user-based prompts get it."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    pool = models.ForeignKey(Pool, on_delete=models.CASCADE, related_name="applications")
    text = models.TextField()
    digest = models.CharField(max_length=64, help_text="SHA-256 of the text.")
    is_open = models.BooleanField(default=True, help_text="Open ones are given to writers.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = "waiting-list application"
        ordering = ["created_at", "id"]
        constraints = [
            models.UniqueConstraint(fields=["pool", "digest"], name="application_unique_in_pool")
        ]

    def __str__(self) -> str:
        text = " ".join(self.text.split())
        return text if len(text) <= 80 else f"{text[:79]}…"


class Proposal(models.Model):
    """A prompt as its author wrote it. Accepted, it stands in the pool as ``prompt``.

    ``messages`` stay what the author wrote, also where the reviewer accepted an edited form.
    ``parts`` hold the fields of a few-shot prompt: {instruction, examples: [{query, response}, …],
    query}.
    """

    class Kind(models.TextChoices):
        """The three kinds that InstructGPT's labelers wrote (arXiv 2203.02155, appendix A.1)."""

        PLAIN = "plain", _("Plain")
        FEW_SHOT = "few-shot", _("Few-shot")
        USER_BASED = "user-based", _("User-based")

    class State(models.TextChoices):
        PROPOSED = "proposed", _("Waiting for review")
        ACCEPTED = "accepted", _("Accepted")
        REJECTED = "rejected", _("Rejected")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    pool = models.ForeignKey(Pool, on_delete=models.PROTECT, related_name="proposals")
    author = models.ForeignKey(User, on_delete=models.PROTECT, related_name="proposals")
    kind = models.CharField(max_length=16, choices=Kind)
    use_case = models.CharField(max_length=100, choices=USE_CASES)
    application = models.ForeignKey(
        Application, on_delete=models.PROTECT, null=True, blank=True, related_name="proposals"
    )
    messages = models.JSONField(help_text="[{role: system | user | assistant, content}, …]")
    parts = models.JSONField(null=True, blank=True)
    digest = models.CharField(max_length=64, help_text="SHA-256 of the messages.")
    submission_id = models.UUIDField()
    state = models.CharField(max_length=16, choices=State, default=State.PROPOSED)
    reviewer = models.ForeignKey(
        User, on_delete=models.PROTECT, null=True, blank=True, related_name="reviewed_proposals"
    )
    reason = models.CharField(max_length=1000, blank=True, default="")
    prompt = models.ForeignKey(
        Prompt, on_delete=models.PROTECT, null=True, blank=True, related_name="proposals"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    reviewed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["created_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["author", "submission_id"], name="proposal_submitted_once"
            ),
            models.UniqueConstraint(
                fields=["pool", "author", "digest"], name="proposal_once_per_author"
            ),
            models.UniqueConstraint(
                fields=["pool", "digest"],
                condition=Q(state="proposed"),
                name="proposal_waits_once",
            ),
            models.UniqueConstraint(fields=["prompt"], name="proposal_one_per_prompt"),
            models.CheckConstraint(
                condition=Q(state="proposed", reviewer=None, reviewed_at=None, prompt=None)
                | Q(state="accepted", reviewer__isnull=False, prompt__isnull=False)
                | (Q(state="rejected", reviewer__isnull=False, prompt=None) & ~Q(reason="")),
                name="proposal_review_is_whole",
            ),
            models.CheckConstraint(
                condition=Q(kind="user-based", application__isnull=False)
                | (~Q(kind="user-based") & Q(application=None)),
                name="proposal_user_based_has_application",
            ),
        ]
        indexes = [models.Index(fields=["state", "created_at"], name="proposal_queue")]

    def __str__(self) -> str:
        text = " ".join(str(self.messages[-1]["content"]).split())
        return text if len(text) <= 80 else f"{text[:79]}…"

    @property
    def was_edited(self) -> bool:
        """True where the reviewer accepted it in another form."""
        return self.prompt is not None and (
            self.prompt.messages != self.messages or self.prompt.use_case != self.use_case
        )
