"""A labeler's own rankings, and for how long each may still be changed."""

from __future__ import annotations

from typing import Any

from django.db.models import DurationField, ExpressionWrapper, F, QuerySet
from django.db.models.functions import Now

from labeling.errors import NotFound
from labeling.models import Assignment, Ranking, User
from labeling.selectors.work import task_payload

RECENT = 50


def recent_rankings(labeler: User) -> list[dict[str, Any]]:
    """The labeler's latest rankings, newest first: an allow-list, blind as tasks are.

    ``seconds_left`` says for how long one may be changed, 0 when it may not.
    """
    return [
        {
            "ranking": ranking.pk,
            "pool": ranking.task.prompt.pool.name,
            "prompt": ranking.task.prompt.messages[-1]["content"],
            "status": ranking.told_status,
            "submitted_at": ranking.created_at,
            "revised_at": ranking.revised_at,
            "seconds_left": _seconds_left(ranking),
        }
        for ranking in _aged().filter(labeler=labeler).order_by("-id")[:RECENT]
    ]


def ranking_of(labeler: User, ranking_id: int) -> Ranking:
    """Raises NotFound."""
    found = _aged().filter(pk=ranking_id, labeler=labeler).first()
    if found is None:
        raise NotFound("There is no such ranking of yours.")
    return found


def ranking_of_assignment(assignment: Assignment) -> Ranking | None:
    return Ranking.objects.filter(assignment=assignment).first()


def can_be_revised(ranking: Ranking) -> bool:
    """On database time. What came late does not count, so there is nothing to change."""
    return seconds_to_revise(ranking) > 0


def seconds_to_revise(ranking: Ranking) -> int:
    return _seconds_left(_aged().get(pk=ranking.pk))


def ranking_payload(ranking: Ranking) -> dict[str, Any]:
    """The task as it was shown, with the ranking's answers where a draft would stand."""
    alias_of = {number: alias for alias, number in ranking.assignment.number_of_alias.items()}
    items = {alias_of[i.completion.number]: i for i in ranking.items.select_related("completion")}
    answers = {
        "ranks": {alias: item.rank for alias, item in items.items()},
        "ratings": {a: i.quality for a, i in items.items() if i.quality is not None},
        "flags": {alias: item.flags for alias, item in items.items() if item.flags},
        "note": ranking.note,
    }
    return {**task_payload(ranking.assignment), "draft": answers}


def _aged() -> QuerySet[Ranking]:
    age = ExpressionWrapper(Now() - F("created_at"), output_field=DurationField())
    return Ranking.objects.select_related(
        "task__prompt__pool",
        "assignment__task__prompt__pool",
        "assignment__guideline_version",
        "assignment__rubric_version",
    ).annotate(age=age)


def _seconds_left(ranking: Any) -> int:
    if ranking.told_status != Ranking.Status.COUNTED:
        return 0
    allowed = ranking.task.prompt.pool.edit_minutes * 60
    return max(0, int(allowed - ranking.age.total_seconds()))
