"""What may stand in a rubric: pure.

A rubric is ``{"quality": {"low", "high"}, "flags": [{"name", "label"}, …]}``. A flag's name is what
data is told apart by for good: it never comes back with another meaning.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from labeling.errors import InvalidInput

LOWEST_QUALITY, HIGHEST_QUALITY = 1, 7
MAX_FLAGS = 40
MAX_NAME_CHARACTERS = 40
MAX_LABEL_CHARACTERS = 120
_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


def check_rubric(rubric: object, earlier: Iterable[dict[str, Any]] = ()) -> dict[str, Any]:
    """The rubric, known to be one that the ranking page can ask.

    ``earlier``: all versions so far, the latest last.

    Raises InvalidInput, with ``field`` "rubric".
    """
    if not isinstance(rubric, dict) or set(rubric) != {"quality", "flags"}:
        raise _refusal("A rubric is an object with “quality” and “flags”.")
    _check_scale(rubric["quality"])
    _check_flags(rubric["flags"])
    _check_meanings(rubric["flags"], list(earlier))
    return rubric


def _check_scale(quality: object) -> None:
    low, high = (quality.get("low"), quality.get("high")) if isinstance(quality, dict) else (0, 0)
    # type(), because true and false are whole numbers to isinstance().
    if type(low) is not int or type(high) is not int:
        raise _refusal("“quality” needs whole numbers “low” and “high”.")
    if not LOWEST_QUALITY <= low < high <= HIGHEST_QUALITY:
        scale = f"{LOWEST_QUALITY}..{HIGHEST_QUALITY}"
        raise _refusal(f"The scale must lie in {scale}, “low” below “high”.")


def _check_flags(flags: object) -> None:
    if not isinstance(flags, list) or not all(_is_flag(flag) for flag in flags):
        raise _refusal("“flags” is a list of objects with “name” and “label”, texts and not empty.")
    if len(flags) > MAX_FLAGS:
        raise _refusal(f"A rubric may have {MAX_FLAGS} flags.")
    names = [flag["name"] for flag in flags]
    for name in names:
        if not _NAME.fullmatch(name) or len(name) > MAX_NAME_CHARACTERS:
            raise _refusal(
                f"“{name[:MAX_NAME_CHARACTERS]}” is no name: write small letters, digits and "
                "single underscores, such as off_topic."
            )
    for key, what in (("name", "name"), ("label", "wording")):
        values = [" ".join(flag[key].split()).casefold() for flag in flags]
        if len(set(values)) < len(values):
            raise _refusal(f"Two flags have the same {what}.")


def _is_flag(flag: object) -> bool:
    return (
        isinstance(flag, dict)
        and set(flag) == {"name", "label"}
        and all(isinstance(text, str) and text.strip() for text in flag.values())
        and len(flag["label"]) <= MAX_LABEL_CHARACTERS
    )


def _check_meanings(flags: list[dict[str, str]], earlier: list[dict[str, Any]]) -> None:
    latest = {flag["name"] for flag in earlier[-1]["flags"]} if earlier else set()
    last_label = {flag["name"]: flag["label"] for rubric in earlier for flag in rubric["flags"]}
    for flag in flags:
        name, before = flag["name"], last_label.get(flag["name"])
        if before not in (None, flag["label"]) and name not in latest:
            raise _refusal(
                f"“{name}” meant “{before}” in an earlier version. Give the new flag another "
                "name, or bring the old one back with its wording."
            )


def _refusal(message: str) -> InvalidInput:
    return InvalidInput(message, field="rubric")
