"""What labeling refuses, one class a refusal. A face maps each class to its HTTP status."""

from __future__ import annotations

from typing import Any


class LabelingError(Exception):
    """``code`` is stable and unique, ``message`` is for people, ``data`` where the fault is."""

    code = "labeling_error"
    message = "The request was refused."

    def __init__(self, message: str | None = None, **data: Any) -> None:
        self.message = message or type(self).message
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


class PoolClosed(LabelingError):
    code = "pool_closed"
    message = "This pool takes no work at present."


class NameTaken(LabelingError):
    code = "name_taken"
    message = "This name is already in use."
