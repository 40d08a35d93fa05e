"""What a person may do: each write is one transaction that checks before it changes."""

from labeling.execution import ImportReport, import_items, import_prompts
from labeling.services.adjudication import MAX_ADJUDICATION_REASON, adjudicate
from labeling.services.ahead import lease_ahead, mark_shown, release_ahead
from labeling.services.care import (
    MAX_BREAK_MINUTES,
    MAX_OWN_LIMIT,
    request_quality,
    save_preferences,
    set_topics,
)
from labeling.services.conversations import MAX_PROMPT_CHARACTERS, previewed
from labeling.services.demonstrations import (
    next_writing,
    revise_demonstration,
    save_writing_draft,
    skip_writing,
    submit_demonstration,
)
from labeling.services.flags import MAX_FLAG_DETAIL, flag_prompt
from labeling.services.known_answers import (
    item_from_task,
    make_control,
    retire_control,
    retire_item,
)
from labeling.services.people import (
    TOKEN_PREFIX,
    change_user,
    choose_language,
    create_user,
    issue_token,
    revoke_token,
    temporary_token,
    token_digest,
)
from labeling.services.pools import (
    change_pool,
    create_pool,
    mark_guidelines_read,
    revise_guidelines,
    revise_rubric,
)
from labeling.services.prompts import (
    MAX_REASON_CHARACTERS,
    accept_proposal,
    add_applications,
    check_takes_prompts,
    propose_prompt,
    reject_proposal,
)
from labeling.services.qualification import (
    allow_another_attempt,
    begin_test,
    grant_qualification,
    next_trial,
    revoke_qualification,
    submit_trial,
)
from labeling.services.ranking import (
    MAX_NOTE_CHARACTERS,
    Submitted,
    extend_lease,
    lease_next,
    save_draft,
    skip_assignment,
    submit_ranking,
)
from labeling.services.revisions import revise_ranking

__all__ = [
    "MAX_ADJUDICATION_REASON",
    "MAX_BREAK_MINUTES",
    "MAX_FLAG_DETAIL",
    "MAX_NOTE_CHARACTERS",
    "MAX_OWN_LIMIT",
    "MAX_PROMPT_CHARACTERS",
    "MAX_REASON_CHARACTERS",
    "TOKEN_PREFIX",
    "ImportReport",
    "Submitted",
    "accept_proposal",
    "add_applications",
    "adjudicate",
    "allow_another_attempt",
    "begin_test",
    "change_pool",
    "change_user",
    "check_takes_prompts",
    "choose_language",
    "create_pool",
    "create_user",
    "extend_lease",
    "flag_prompt",
    "grant_qualification",
    "import_items",
    "import_prompts",
    "issue_token",
    "item_from_task",
    "lease_ahead",
    "lease_next",
    "make_control",
    "mark_guidelines_read",
    "mark_shown",
    "next_trial",
    "next_writing",
    "previewed",
    "propose_prompt",
    "reject_proposal",
    "release_ahead",
    "request_quality",
    "retire_control",
    "retire_item",
    "revise_demonstration",
    "revise_guidelines",
    "revise_ranking",
    "revise_rubric",
    "revoke_qualification",
    "revoke_token",
    "save_draft",
    "save_preferences",
    "save_writing_draft",
    "set_topics",
    "skip_assignment",
    "skip_writing",
    "submit_demonstration",
    "submit_ranking",
    "submit_trial",
    "temporary_token",
    "token_digest",
]
