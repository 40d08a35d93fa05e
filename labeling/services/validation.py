"""What several services check."""

from __future__ import annotations

from django.core.exceptions import ValidationError

from labeling.errors import InvalidInput, NameTaken
from labeling.models import Pool, User

MAX_SKIP_REASON_CHARACTERS = 500


def check_skip_reason(reason: str) -> None:
    """Raises InvalidInput."""
    if not reason.strip() or len(reason) > MAX_SKIP_REASON_CHARACTERS:
        raise InvalidInput(
            f"a skip needs a reason of 1 to {MAX_SKIP_REASON_CHARACTERS} characters",
            field="reason",
        )


def clean(instance: User | Pool) -> None:
    """Raises NameTaken, or InvalidInput with the fields at fault."""
    try:
        instance.full_clean()
    except ValidationError as error:
        fields = error.message_dict
        name = "username" if isinstance(instance, User) else "name"
        if any(e.code == "unique" for e in error.error_dict.get(name, [])):
            raise NameTaken(field=name) from error
        field, messages = next(iter(fields.items()))
        raise InvalidInput(f"{field}: {messages[0]}", fields=fields) from error
