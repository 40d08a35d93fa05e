"""What labeling refuses, one class a refusal. A face maps each class to its HTTP status."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext


class LabelingError(Exception):
    """``code`` is stable and unique, ``data`` tells where the fault is.

    ``message`` is for people: written here in English, read in the language of who asked.
    """

    code = "labeling_error"
    message = "The request was refused."

    def __init__(self, message: str | None = None, **data: Any) -> None:
        self.message = gettext(message or type(self).message)
        self.data = data
        super().__init__(self.message)


class NotFound(LabelingError):
    code = "not_found"
    message = "There is no such thing, or it is not yours."


class InvalidInput(LabelingError):
    code = "invalid"
    message = "A field has a value that cannot be used."


class UnknownAlias(LabelingError):
    code = "unknown_alias"
    message = "The ranking names a completion that is not part of this task."


class MissingCompletion(LabelingError):
    code = "missing_completion"
    message = "Every completion of the task needs a rank."


class RankOutOfRange(LabelingError):
    code = "rank_out_of_range"
    message = "A rank must be a whole number from 1 (best) to the number of completions."


class InvalidRubric(LabelingError):
    code = "invalid_rubric"
    message = "A rating or flag is not one that this pool asks for."


class ForeignLease(LabelingError):
    code = "foreign_lease"
    message = "The lease token does not belong to this assignment."


class LeaseExpired(LabelingError):
    code = "lease_expired"
    message = "The lease has ended. Your work is kept as a draft: renew the lease and submit again."


class AssignmentClosed(LabelingError):
    code = "assignment_closed"
    message = "This assignment was already submitted or skipped."


class SubmissionConflict(LabelingError):
    code = "submission_conflict"
    message = "This submission_id was already used with another content."


class EditClosed(LabelingError):
    code = "edit_closed"
    message = "This ranking can no longer be changed."


class PoolClosed(LabelingError):
    code = "pool_closed"
    message = "This pool takes no work at present."


class NotQualified(LabelingError):
    code = "not_qualified"
    message = "This pool opens to you after its qualification."


class QualificationClosed(LabelingError):
    code = "qualification_closed"
    message = "The test opens after the training, and for a limited number of attempts."


class WorkPaused(LabelingError):
    code = "work_paused"
    message = "Your work in this pool is paused: please ask whoever runs it."


class VersionConflict(LabelingError):
    code = "version_conflict"
    message = "Somebody else made a new version meanwhile: look at it and save yours again."


class NameTaken(LabelingError):
    code = "name_taken"
    message = "This name is already in use."


class DuplicatePrompt(LabelingError):
    code = "duplicate_prompt"
    message = "This very prompt is there already."


class ProposalClosed(LabelingError):
    code = "proposal_closed"
    message = "This proposal was already accepted or rejected."


class OwnProposal(LabelingError):
    code = "own_proposal"
    message = "Somebody else must review what you have written yourself."


class RevisionClosed(LabelingError):
    code = "revision_closed"
    message = "This can no longer be changed."


class AlreadyAdjudicated(LabelingError):
    code = "already_adjudicated"
    message = "Another reviewer decided this prompt meanwhile."


class OwnRanking(LabelingError):
    code = "own_ranking"
    message = "You ranked this prompt yourself: another reviewer must decide it."
