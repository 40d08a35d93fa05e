"""Writing demonstrations: which prompt comes to whom, and what a labeler sees of it."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

from django.db.models import (
    Count,
    DurationField,
    Exists,
    ExpressionWrapper,
    F,
    IntegerField,
    OuterRef,
    QuerySet,
    Subquery,
)
from django.db.models.functions import Coalesce, Now
from django.utils import timezone
from django.utils.translation import gettext as _

from labeling.errors import NotFound
from labeling.models import Demonstration, Pool, Prompt, User, Writing
from labeling.selectors.exposure import prompts_fit_for, warnings_of
from labeling.selectors.pools import open_pools
from labeling.selectors.work import guidelines_payload

MAX_REVISABLE = 100


def writing_payload(writing: Writing) -> dict[str, Any]:
    """All that a labeler sees of a prompt to write for: an allow-list, as for tasks."""
    return {
        "handle": str(writing.pk),
        "pool": writing.prompt.pool.name,
        "prompt": {"messages": writing.prompt.messages},
        "warnings": warnings_of(writing.prompt),
        "guidelines": guidelines_payload(writing.guideline_version),
        "draft": writing.draft,
    }


def open_writings(labeler: User, pools: QuerySet[Pool]) -> QuerySet[Writing]:
    """Prompts the labeler has been handed and has neither written for nor skipped, oldest first."""
    return (
        Writing.objects.filter(labeler=labeler, state=Writing.State.OPEN, prompt__pool__in=pools)
        .select_related("prompt__pool", "guideline_version")
        .order_by("created_at")
    )


def prompts_to_demonstrate(labeler: User, pools: QuerySet[Pool]) -> QuerySet[Prompt]:
    """Prompts the labeler has never been handed, nor written for; the fewest demonstrations first.

    One that somebody is writing for counts as written; what the labeler opted out of is left out.
    """
    of_prompt = {"prompt": OuterRef("pk")}
    known = Exists(Writing.objects.filter(labeler=labeler, **of_prompt)) | Exists(
        Demonstration.objects.filter(author=labeler, **of_prompt)
    )
    under_way = Writing.objects.filter(state=Writing.State.OPEN)
    return (
        prompts_fit_for(labeler, Prompt.objects.filter(~known, pool__in=pools))
        .annotate(there=_counted(Demonstration.objects.all()) + _counted(under_way))
        .order_by("there", "id")
        .select_related("pool")
    )


def _counted(rows: QuerySet[Any]) -> Coalesce:
    """How many of ``rows`` belong to the outer prompt."""
    per_prompt = rows.filter(prompt=OuterRef("pk")).order_by().values("prompt")
    count = per_prompt.annotate(count=Count("pk")).values("count")
    return Coalesce(Subquery(count, output_field=IntegerField()), 0)


def pools_to_demonstrate() -> QuerySet[Pool]:
    return open_pools().filter(takes_demonstrations=True)


def writing_of(labeler: User, handle: uuid.UUID) -> Writing:
    """Raises NotFound."""
    found = (
        Writing.objects.filter(pk=handle, labeler=labeler)
        .select_related("prompt__pool", "guideline_version")
        .first()
    )
    if found is None:
        raise NotFound(_("There is no such prompt in your hands: ask for the next one."))
    return found


def revisable_writings(labeler: User) -> list[Writing]:
    """What the labeler has written and may still change, newest first.

    As long as its pool allows for rankings, on database time.
    """
    age = ExpressionWrapper(Now() - F("finished_at"), output_field=DurationField())
    last = (
        Writing.objects.filter(labeler=labeler, state=Writing.State.SUBMITTED)
        .select_related("prompt__pool", "guideline_version")
        .annotate(age=age)
        .order_by("-finished_at", "-created_at")[:MAX_REVISABLE]
    )
    return [w for w in last if w.age < timedelta(minutes=w.prompt.pool.edit_minutes)]


def own_demonstrations(labeler: User) -> list[tuple[Writing, Demonstration]]:
    """The labeler's own work that it may still revise, with what it says now."""
    writings = revisable_writings(labeler)
    prompts = [writing.prompt_id for writing in writings]
    written = Demonstration.objects.filter(author=labeler, prompt__in=prompts)
    text_of = {demonstration.prompt_id: demonstration for demonstration in written}
    return [(writing, text_of[writing.prompt_id]) for writing in writings]


def demonstration_of(writing: Writing) -> Demonstration | None:
    """What the writing's labeler wrote; None where it has not handed anything in."""
    return Demonstration.objects.filter(author=writing.labeler_id, prompt=writing.prompt_id).first()


def demonstrations_today(labeler: User) -> int:
    since = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
    return Demonstration.objects.filter(author=labeler, created_at__gte=since).count()
