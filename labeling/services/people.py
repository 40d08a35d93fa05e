"""Accounts and their tokens."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from labeling.errors import InvalidInput
from labeling.models import ApiToken, User
from labeling.services.validation import clean

TOKEN_PREFIX = "podium_"  # noqa: S105  (a prefix, not a secret)


def create_user(
    *,
    username: str,
    password: str | None,
    role: str,
    is_simulated: bool = False,
    labeler_group: str = User.LabelerGroup.TRAINING,
) -> User:
    """Raises InvalidInput for an unusable name or role, NameTaken for one in use.

    Without a password the account can only be used through tokens.
    """
    if role not in User.Role.values:
        raise InvalidInput(f"role must be one of {', '.join(User.Role.values)}", field="role")
    user = User(
        username=username,
        role=role,
        is_simulated=is_simulated,
        labeler_group=labeler_group,
        **_flags_of(role),
    )
    user.set_password(password)
    clean(user)
    user.save(force_insert=True)
    return user


@transaction.atomic
def change_user(user: User, **changes: Any) -> User:
    """Change fields of an account; Django's staff flags follow the role.

    Refused: the last active admin stepping down, and turning a person who has ranked or written
    into a program or the reverse, which would rewrite where training data came from.

    Raises InvalidInput, NameTaken.
    """
    before = User.objects.select_for_update().get(pk=user.pk)
    for name, value in changes.items():
        setattr(user, name, value)
    flags = _flags_of(user.role)
    for name, value in flags.items():
        setattr(user, name, value)
    if before.is_simulated != user.is_simulated and _has_worked(before):
        raise InvalidInput(
            "This account has work under its name: what it is cannot change any more.",
            field="is_simulated",
        )
    if before.is_admin and not (user.is_admin and user.is_active) and _is_last_admin(before):
        field = "is_active" if user.is_admin else "role"
        raise InvalidInput("This is the last active admin: make another one first.", field=field)
    clean(user)
    user.save(update_fields=[*changes, *flags])
    return user


def choose_language(user: User, language: str) -> None:
    """Pages and messages of this account are in ``language`` from now on. Raises InvalidInput."""
    if language not in dict(settings.LANGUAGES):
        known = ", ".join(dict(settings.LANGUAGES))
        raise InvalidInput(f"language must be one of {known}", field="language")
    User.objects.filter(pk=user.pk).update(language=language)
    user.language = language


def _has_worked(user: User) -> bool:
    work = (user.assignments, user.writings, user.demonstrations, user.proposals)
    return any(rows.exists() for rows in work)


def _flags_of(role: str) -> dict[str, bool]:
    is_admin = role == User.Role.ADMIN
    return {"is_staff": is_admin, "is_superuser": is_admin}


def _is_last_admin(user: User) -> bool:
    # Locked, so that two admins cannot step down at the same moment.
    admins = User.objects.select_for_update().filter(role=User.Role.ADMIN, is_active=True)
    return user.is_active and [admin.pk for admin in admins] == [user.pk]


def issue_token(user: User, *, name: str) -> str:
    """A new bearer token, in the clear for this once; only its hash is stored."""
    plain = TOKEN_PREFIX + secrets.token_urlsafe(32)
    ApiToken.objects.create(user=user, name=name, digest=token_digest(plain))
    return plain


@contextmanager
def temporary_token(user: User, *, name: str) -> Iterator[str]:
    """A token that is revoked when the work is done, or has failed."""
    plain = issue_token(user, name=name)
    try:
        yield plain
    finally:
        revoke_token(ApiToken.objects.get(digest=token_digest(plain)))


def revoke_token(token: ApiToken) -> bool:
    """The token opens nothing from now on; False when it was revoked before."""
    live = ApiToken.objects.filter(pk=token.pk, revoked_at=None)
    return live.update(revoked_at=Now()) == 1


def token_digest(plain: str) -> str:
    # A token is 256 random bits: a fast hash cannot be searched, a slow one would tax each request.
    return hashlib.sha256(plain.encode()).hexdigest()
