"""Guidelines and rubrics as they stood, and what is new to a labeler."""

from __future__ import annotations

from typing import Any, NamedTuple

from labeling.changes import Line, changed_lines
from labeling.errors import NotFound
from labeling.models import GuidelineReading, GuidelineVersion, Pool, User
from labeling.similarity import TooLong


class GuidelineNews(NamedTuple):
    """A version that the labeler has not read, and what differs from the one read last.

    ``read`` is None for a labeler who has read none; ``lines`` is None where there is nothing to
    compare, or too much.
    """

    version: GuidelineVersion
    read: GuidelineVersion | None
    lines: list[Line] | None


def guideline_news(labeler: User, version: GuidelineVersion | None) -> GuidelineNews | None:
    """None when the labeler has read this version, or a later one."""
    if version is None or not version.text.strip():
        return None
    read = last_guidelines_read(labeler, version.pool_id)
    if read is not None and read.number >= version.number:
        return None
    return GuidelineNews(version, read, guideline_changes(read, version) if read else None)


def last_guidelines_read(labeler: User, pool_id: int) -> GuidelineVersion | None:
    reading = (
        GuidelineReading.objects.filter(labeler=labeler, version__pool=pool_id)
        .select_related("version")
        .order_by("-version__number")
        .first()
    )
    return reading.version if reading else None


def guideline_changes(before: GuidelineVersion, after: GuidelineVersion) -> list[Line] | None:
    """None where the texts are too long to be compared."""
    try:
        return changed_lines(before.text, after.text)
    except TooLong:
        return None


def guideline_version(pool: Pool, number: int | None = None) -> GuidelineVersion:
    """The version of that number, else the latest. Raises NotFound."""
    versions = pool.guideline_versions.select_related("author", "pool").order_by("-number")
    found = (versions.filter(number=number) if number is not None else versions).first()
    if found is None:
        raise NotFound(f"“{pool}” has no such guidelines.")
    return found


def rubric_number(pool: Pool) -> int:
    """The number of the latest version; 0 before the first."""
    latest = pool.rubric_versions.order_by("-number").first()
    return latest.number if latest else 0


def rubrics_so_far(pool: Pool) -> list[dict[str, Any]]:
    """All versions of the rubric, the latest last."""
    return list(pool.rubric_versions.order_by("number").values_list("rubric", flat=True))
