"""What is fair to people: preferences, topics of prompts, and asking for quality figures."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from django.db import transaction
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from labeling.errors import InvalidInput
from labeling.models import Pool, Prompt, QualityReport, Topic, User

MAX_BREAK_MINUTES = 480
MAX_OWN_LIMIT = 1_000


@transaction.atomic
def save_preferences(
    labeler: User,
    *,
    avoided_topics: Collection[Topic],
    daily_sensitive_limit: int | None,
    break_minutes: int,
) -> None:
    """Raises InvalidInput. What is in the labeler's hands already stays there until skipped."""
    if not 0 <= break_minutes <= MAX_BREAK_MINUTES:
        raise InvalidInput(_("Choose 0 to %d minutes.") % MAX_BREAK_MINUTES, field="break_minutes")
    if daily_sensitive_limit is not None and not 0 <= daily_sensitive_limit <= MAX_OWN_LIMIT:
        raise InvalidInput(
            _("Choose 0 to %d prompts, or leave it empty.") % MAX_OWN_LIMIT,
            field="daily_sensitive_limit",
        )
    User.objects.filter(pk=labeler.pk).update(
        daily_sensitive_limit=daily_sensitive_limit, break_minutes=break_minutes
    )
    labeler.daily_sensitive_limit, labeler.break_minutes = daily_sensitive_limit, break_minutes
    labeler.avoided_topics.set(avoided_topics)


@transaction.atomic
def set_topics(prompts: Iterable[Prompt], topics: Collection[Topic]) -> None:
    """The prompts are on these topics and on no others."""
    for prompt in prompts:
        prompt.topics.set(topics)


def request_quality(pool: Pool) -> QualityReport:
    """Ask a worker for new figures; asking again while it is waited for changes nothing."""
    report, _created = QualityReport.objects.get_or_create(pool=pool)
    QualityReport.objects.filter(pk=report.pk, requested_at=None).update(requested_at=Now())
    report.refresh_from_db()
    return report
