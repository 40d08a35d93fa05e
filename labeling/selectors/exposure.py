"""Topics of prompts: what a labeler would rather not meet, and how much of the rest in a day."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.conf import settings
from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone

from labeling.models import Assignment, Prompt, Slot, Topic, User, Writing

ABOUT = Topic.prompts.through.objects


def topics() -> QuerySet[Topic]:
    return Topic.objects.order_by("-is_sensitive", "label")


def warnings_of(prompt: Prompt) -> list[str]:
    """What a reader is told before the text is shown: the sensitive topics, by their labels."""
    return [str(topic) for topic in prompt.topics.filter(is_sensitive=True)]


def fit_for(labeler: User, slots: QuerySet[Slot]) -> QuerySet[Slot]:
    """The slots whose prompts the labeler did not opt out of, and has not had enough of today."""
    unwanted = topics_to_keep_from(labeler)
    if not unwanted:
        return slots
    about = ABOUT.filter(prompt=OuterRef("task__prompt"), topic__in=unwanted)
    return slots.exclude(Exists(about))


def prompts_fit_for(labeler: User, prompts: QuerySet[Prompt]) -> QuerySet[Prompt]:
    """``fit_for`` for prompts to write demonstrations for."""
    unwanted = topics_to_keep_from(labeler)
    if not unwanted:
        return prompts
    return prompts.exclude(Exists(ABOUT.filter(prompt=OuterRef("pk"), topic__in=unwanted)))


def topics_to_keep_from(labeler: User) -> list[int]:
    """Those opted out of; and the sensitive ones when the day's limit is reached."""
    unwanted = set(labeler.avoided_topics.values_list("pk", flat=True))
    sensitive = Topic.objects.filter(is_sensitive=True).exclude(pk__in=unwanted)
    of_use = list(sensitive.filter(prompts__isnull=False).distinct().values_list("pk", flat=True))
    if of_use and sensitive_today(labeler) >= sensitive_limit(labeler):
        unwanted.update(of_use)
    return sorted(unwanted)


def sensitive_limit(labeler: User) -> int:
    """A day's prompts on sensitive topics: everybody's limit, or the labeler's own lower one."""
    common, own = int(settings.DAILY_SENSITIVE_LIMIT), labeler.daily_sensitive_limit
    return common if own is None else min(common, own)


def sensitive_today(labeler: User) -> int:
    """Prompts on sensitive topics that the labeler was given today, to rank or to write for."""
    given: dict[str, Any] = {"labeler": labeler, "created_at__gte": start_of_day()}
    topics_of = ABOUT.filter(topic__is_sensitive=True)
    ranked = Assignment.objects.filter(
        Exists(topics_of.filter(prompt=OuterRef("task__prompt"))), **given
    )
    written = Writing.objects.filter(Exists(topics_of.filter(prompt=OuterRef("prompt"))), **given)
    return ranked.count() + written.count()


def start_of_day() -> datetime:
    return timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
