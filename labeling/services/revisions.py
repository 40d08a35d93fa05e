"""A labeler changes a ranking of their own, for as long as its pool allows."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

from django.db import transaction
from django.db.models.functions import Now

from labeling import selectors
from labeling.errors import EditClosed, NotFound, SubmissionConflict
from labeling.models import RankedItem, Ranking, Revision, User
from labeling.services.qualification import pause_if_controls_say_so
from labeling.services.ranking import Submitted, answer_of, body_digest, checked_items, store_items


@transaction.atomic
def revise_ranking(
    labeler: User,
    ranking_id: int,
    *,
    submission_id: uuid.UUID,
    ranks: Mapping[str, object],
    ratings: Mapping[str, object] | None = None,
    flags: Mapping[str, object] | None = None,
    note: str = "",
) -> Submitted:
    """Put a new ranking in the place of the earlier one, in one transaction.

    1. The same submission again gets its answer; another body under its id is refused.
    2. The pool must still allow it, the ranks be exact.
    3. What stood there is kept as a revision; items and comparisons are made anew, so that all who
       read rankings read the newest. Data that was frozen before stays as it was frozen.

    Raises:
        NotFound, SubmissionConflict, EditClosed, InvalidInput, InvalidRubric, UnknownAlias,
        MissingCompletion, RankOutOfRange.
    """
    User.objects.select_for_update(no_key=True).get(pk=labeler.pk)
    ranking = _locked_ranking(labeler, ranking_id)
    body = {"ranks": ranks, "ratings": ratings or {}, "flags": flags or {}, "note": note}
    digest = body_digest({"ranking": ranking.pk, **body})
    known = Revision.objects.filter(ranking__labeler=labeler, submission_id=submission_id).first()
    if known is not None:
        if known.body_digest != digest:
            raise SubmissionConflict(submission_id=str(submission_id))
        return answer_of(ranking)
    if Ranking.objects.filter(labeler=labeler, submission_id=submission_id).exists():
        raise SubmissionConflict(submission_id=str(submission_id))
    if not selectors.can_be_revised(ranking):
        raise EditClosed
    items = checked_items(ranking.assignment, body)
    _keep_replaced(ranking, submission_id, digest)
    _replace(ranking, items, note)
    pause_if_controls_say_so(ranking)
    return answer_of(ranking)


def _locked_ranking(labeler: User, ranking_id: int) -> Ranking:
    found = (
        Ranking.objects.select_for_update(of=("self",))
        .select_related("assignment__task__prompt__pool")
        .filter(pk=ranking_id, labeler=labeler)
        .first()
    )
    if found is None:
        raise NotFound("There is no such ranking of yours.")
    return found


def _keep_replaced(ranking: Ranking, submission_id: uuid.UUID, digest: str) -> None:
    Revision.objects.create(
        ranking=ranking,
        number=ranking.revisions.count() + 1,
        submission_id=submission_id,
        body_digest=digest,
        replaced=[
            {"completion": i.completion_id, "rank": i.rank, "quality": i.quality, "flags": i.flags}
            for i in ranking.items.order_by("completion__number")
        ],
        replaced_note=ranking.note,
    )


def _replace(ranking: Ranking, items: list[RankedItem], note: str) -> None:
    ranking.comparisons.all().delete()
    ranking.items.all().delete()
    store_items(ranking, items)
    Ranking.objects.filter(pk=ranking.pk).update(note=note, revised_at=Now())
