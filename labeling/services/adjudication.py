"""A reviewer decides a task on which labelers disagree. What labelers did is never changed."""

from __future__ import annotations

from collections.abc import Mapping

from django.db import transaction
from django.utils.translation import gettext as _

from labeling import ordering, selectors
from labeling.errors import AlreadyAdjudicated, InvalidInput, OwnRanking
from labeling.models import AdjudicatedItem, Adjudication, Ranking, Task, User

MAX_ADJUDICATION_REASON = 2_000


@transaction.atomic
def adjudicate(
    reviewer: User, task_id: int, *, ranks: Mapping[str, object], reason: str
) -> Adjudication:
    """Store the reviewer's ranking of the task, by the aliases of ``selectors.case_of``.

    A task is decided once, and not by somebody who ranked it.

    Raises:
        NotFound, AlreadyAdjudicated, OwnRanking, InvalidInput, UnknownAlias, MissingCompletion,
        RankOutOfRange.
    """
    # Locked first: of two reviewers who decide at once, the second is told.
    Task.objects.select_for_update(of=("self",), no_key=True).filter(pk=task_id).first()
    case = selectors.case_of(task_id)
    if case.adjudication is not None:
        raise AlreadyAdjudicated
    if Ranking.objects.filter(task=case.task, labeler=reviewer).exists():
        raise OwnRanking
    checked = ordering.check_ranks(ranks, case.aliases)
    reason = reason.strip()
    if not 1 <= len(reason) <= MAX_ADJUDICATION_REASON:
        raise InvalidInput(
            _("Say why, in 1 to %d characters.") % MAX_ADJUDICATION_REASON, field="reason"
        )
    adjudication = Adjudication.objects.create(task=case.task, reviewer=reviewer, reason=reason)
    AdjudicatedItem.objects.bulk_create(
        AdjudicatedItem(adjudication=adjudication, completion=completion, rank=checked[alias])
        for alias, completion in case.completions
    )
    return adjudication
