"""Typed reading of environment variables; a value that cannot be read stops the start."""

from __future__ import annotations

import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

TRUE = {"1", "true", "yes", "on"}
FALSE = {"0", "false", "no", "off", ""}


def text(name: str, default: str = "") -> str:
    """The variable, or the content of the file that ``<name>_FILE`` names (for mounted secrets).

    An empty variable is one that is not set: compose files pass such on.
    """
    path = os.environ.get(f"{name}_FILE")
    if path:
        try:
            return Path(path).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ImproperlyConfigured(f"{name}_FILE: {error}") from error
    return os.environ.get(name) or default


def flag(name: str, default: bool = False) -> bool:
    value = text(name, "1" if default else "0").strip().lower()
    if value not in TRUE | FALSE:
        raise ImproperlyConfigured(f"{name} must be 1 or 0, not {value!r}")
    return value in TRUE


def integer(name: str, default: int) -> int:
    value = text(name, str(default))
    try:
        return int(value)
    except ValueError as error:
        raise ImproperlyConfigured(f"{name} must be a whole number, not {value!r}") from error


def words(name: str, default: str = "") -> list[str]:
    """A comma-separated list."""
    return [word.strip() for word in text(name, default).split(",") if word.strip()]


def secret(name: str, kept_in: Path) -> str:
    """The variable, or a random one made once and kept in a file that its owner alone can read."""
    given = text(name)
    if given:
        return given
    if not kept_in.exists():
        # Written aside, then linked: a reader finds it whole or not, and the first one stays.
        handle, staging = tempfile.mkstemp(dir=kept_in.parent, prefix=".secret-")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(secrets.token_urlsafe(64))
        with suppress(FileExistsError):
            os.link(staging, kept_in)
        Path(staging).unlink()
    return kept_in.read_text(encoding="utf-8").strip()
