"""Bulk work of labeling, done for a person or by a worker."""

from labeling.execution.imports import ImportReport, import_prompts
from labeling.execution.known_answers import (
    MAX_EXPLANATION_CHARACTERS,
    KnownAnswer,
    checked_ranks,
    import_items,
    store_item,
)
from labeling.execution.lines import (
    LineError,
    checked_prompt,
    checked_text,
    read_lines,
    text_digest,
)

__all__ = [
    "MAX_EXPLANATION_CHARACTERS",
    "ImportReport",
    "KnownAnswer",
    "LineError",
    "checked_prompt",
    "checked_ranks",
    "checked_text",
    "import_items",
    "import_prompts",
    "read_lines",
    "store_item",
    "text_digest",
]
