"""Bulk work of labeling, done for a person or by a worker."""

from labeling.execution.imports import ImportReport, import_prompts
from labeling.execution.lines import read_lines

__all__ = ["ImportReport", "import_prompts", "read_lines"]
