"""Bulk work of labeling, done for a person or by a worker."""

from labeling.execution.imports import ImportReport, import_prompts
from labeling.execution.lines import LineError, checked_text, read_lines, text_digest

__all__ = [
    "ImportReport",
    "LineError",
    "checked_text",
    "import_prompts",
    "read_lines",
    "text_digest",
]
