"""A labeler flags a prompt: it is noted for the admins and takes nobody's task away."""

from __future__ import annotations

import uuid

from django.db import transaction

from labeling import selectors
from labeling.errors import InvalidInput
from labeling.models import PromptFlag, User

MAX_FLAG_DETAIL = 500


@transaction.atomic
def flag_prompt(
    labeler: User, assignment_id: uuid.UUID, *, reason: str, detail: str = ""
) -> PromptFlag:
    """Note what is wrong with the assignment's prompt. The same reason again replaces its words.

    Raises NotFound for an assignment that is not the labeler's, InvalidInput.
    """
    if reason not in PromptFlag.Reason.values:
        raise InvalidInput(f"reason must be one of {PromptFlag.Reason.values}", field="reason")
    if len(detail) > MAX_FLAG_DETAIL:
        raise InvalidInput(f"detail may have {MAX_FLAG_DETAIL} characters", field="detail")
    assignment = selectors.assignment_of(labeler, assignment_id)
    flag, _ = PromptFlag.objects.update_or_create(
        prompt=assignment.task.prompt,
        labeler=labeler,
        reason=reason,
        defaults={"detail": detail},
        create_defaults={"detail": detail},
    )
    return flag
