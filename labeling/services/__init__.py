"""What a person may do: each write is one transaction that checks before it changes."""

from labeling.execution import ImportReport, import_prompts
from labeling.services.demonstrations import next_writing, skip_writing, submit_demonstration
from labeling.services.people import (
    TOKEN_PREFIX,
    change_user,
    create_user,
    issue_token,
    revoke_token,
    temporary_token,
    token_digest,
)
from labeling.services.pools import change_pool, create_pool, revise_guidelines
from labeling.services.ranking import (
    MAX_NOTE_CHARACTERS,
    Submitted,
    extend_lease,
    lease_next,
    save_draft,
    skip_assignment,
    submit_ranking,
)

__all__ = [
    "MAX_NOTE_CHARACTERS",
    "TOKEN_PREFIX",
    "ImportReport",
    "Submitted",
    "change_pool",
    "change_user",
    "create_pool",
    "create_user",
    "extend_lease",
    "import_prompts",
    "issue_token",
    "lease_next",
    "next_writing",
    "revise_guidelines",
    "revoke_token",
    "save_draft",
    "skip_assignment",
    "skip_writing",
    "submit_demonstration",
    "submit_ranking",
    "temporary_token",
    "token_digest",
]
