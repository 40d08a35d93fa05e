"""Pools, their settings and guidelines."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from labeling.models import GuidelineVersion, Pool
from labeling.services.validation import clean


@transaction.atomic
def create_pool(*, guidelines: str = "", **settings: Any) -> Pool:
    """Raises InvalidInput with the fields at fault, NameTaken for a name in use."""
    pool = Pool(**settings)
    clean(pool)
    pool.save(force_insert=True)
    if guidelines:
        revise_guidelines(pool, guidelines)
    return pool


@transaction.atomic
def change_pool(pool: Pool, *, guidelines: str | None = None, **settings: Any) -> Pool:
    """Change settings; they hold for tasks made from now on. Raises InvalidInput, NameTaken."""
    for name, value in settings.items():
        setattr(pool, name, value)
    clean(pool)
    pool.save(update_fields=list(settings))
    if guidelines is not None:
        revise_guidelines(pool, guidelines)
    return pool


@transaction.atomic
def revise_guidelines(pool: Pool, text: str) -> GuidelineVersion:
    """A new version, unless the text is that of the latest."""
    Pool.objects.select_for_update(no_key=True).get(pk=pool.pk)
    latest = pool.guideline_versions.order_by("-number").first()
    if latest is not None and latest.text == text:
        return latest
    number = latest.number + 1 if latest else 1
    return GuidelineVersion.objects.create(pool=pool, number=number, text=text)
