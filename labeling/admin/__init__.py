"""The records of labeling in Django's admin; all writes go through the services."""

from labeling.admin import (
    care,
    demonstrations,
    flags,
    known_answers,
    people,
    pools,
    proposals,
    qualification,
    records,
)

__all__ = [
    "care",
    "demonstrations",
    "flags",
    "known_answers",
    "people",
    "pools",
    "proposals",
    "qualification",
    "records",
]
