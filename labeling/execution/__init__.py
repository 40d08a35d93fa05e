"""Bulk work of labeling, done for a person or by a worker."""

from labeling.execution.imports import ImportReport, import_prompts

__all__ = ["ImportReport", "import_prompts"]
