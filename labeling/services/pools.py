"""Pools, their settings, and the versions of their guidelines and of their rubric."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from labeling import selectors
from labeling.errors import VersionConflict
from labeling.models import GuidelineReading, GuidelineVersion, Pool, RubricVersion, User
from labeling.rubric import check_rubric
from labeling.services.validation import clean


@transaction.atomic
def create_pool(*, guidelines: str = "", author: User | None = None, **settings: Any) -> Pool:
    """Raises InvalidInput with the fields at fault, NameTaken for a name in use."""
    pool = Pool(**settings)
    check_rubric(pool.rubric)
    clean(pool)
    pool.save(force_insert=True)
    RubricVersion.objects.create(pool=pool, number=1, rubric=pool.rubric, author=author)
    if guidelines:
        revise_guidelines(pool, guidelines, author=author)
    return pool


@transaction.atomic
def change_pool(
    pool: Pool, *, guidelines: str | None = None, author: User | None = None, **settings: Any
) -> Pool:
    """Change settings; they hold for tasks made from now on. Raises InvalidInput, NameTaken."""
    rubric = settings.pop("rubric", None)
    for name, value in settings.items():
        setattr(pool, name, value)
    clean(pool)
    pool.save(update_fields=list(settings))
    if rubric is not None:
        revise_rubric(pool, rubric, author=author)
    if guidelines is not None:
        revise_guidelines(pool, guidelines, author=author)
    return pool


@transaction.atomic
def revise_guidelines(
    pool: Pool, text: str, *, author: User | None = None, based_on: int | None = None
) -> GuidelineVersion:
    """A new version, unless the text is that of the latest.

    ``based_on``: the number of the version that its author had before them. Raises VersionConflict
    where that is no longer the latest.
    """
    Pool.objects.select_for_update(no_key=True).get(pk=pool.pk)
    latest = pool.guideline_versions.order_by("-number").first()
    if latest is not None and latest.text == text:
        return latest
    number = latest.number if latest else 0
    _check_latest(number, based_on)
    return GuidelineVersion.objects.create(pool=pool, number=number + 1, text=text, author=author)


@transaction.atomic
def revise_rubric(
    pool: Pool, rubric: Any, *, author: User | None = None, based_on: int | None = None
) -> RubricVersion:
    """A new version, unless it is the latest. What was handed out keeps the version it had.

    Raises InvalidInput, and VersionConflict as ``revise_guidelines`` does.
    """
    stored = Pool.objects.select_for_update(no_key=True).get(pk=pool.pk)
    latest = pool.rubric_versions.order_by("-number").first()
    if latest is None:
        # A pool that was not made here: what it asked until now is its first version.
        latest = RubricVersion.objects.create(pool=pool, number=1, rubric=stored.rubric)
    if latest.rubric == rubric:
        return latest
    _check_latest(latest.number, based_on)
    check_rubric(rubric, selectors.rubrics_so_far(pool))
    pool.rubric = rubric
    pool.save(update_fields=["rubric"])
    return RubricVersion.objects.create(
        pool=pool, number=latest.number + 1, rubric=rubric, author=author
    )


def _check_latest(number: int, based_on: int | None) -> None:
    if based_on is not None and based_on != number:
        raise VersionConflict(latest=number)


def mark_guidelines_read(labeler: User, version: GuidelineVersion) -> None:
    """Once is enough: said again, nothing changes."""
    GuidelineReading.objects.get_or_create(labeler=labeler, version=version)
