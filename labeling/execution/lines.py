"""One line of an import, read and checked before the database is asked anything."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

from django.conf import settings
from django.utils.text import slugify

from labeling.execution.formats import as_prompt_row
from labeling.ordering import MAX_COMPLETIONS, MIN_COMPLETIONS

ROLES = ("system", "user", "assistant")
FIELDS = {
    "prompt",
    "messages",
    "completions",
    "use_case",
    "source",
    "author",
    "reference",
    "topics",
}
MAX_MESSAGES = 200
MAX_TOPICS, MAX_TOPIC_CHARACTERS = 10, 50
MAX_LINE_BYTES = 16 * 2**20
# A name this like a field's is a slip of the pen; any other is somebody's own column.
SLIP_LIKENESS = 0.8
MAX_LABEL_CHARACTERS = {"use_case": 100, "source": 200, "author": 200}


class LineError(Exception):
    """A line that cannot be imported: a stable code, and what is wrong with which field."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, kw_only=True)
class PromptLine:
    """A good line. ``completions`` are (text, model) pairs, or None to have them sampled."""

    number: int
    messages: list[dict[str, str]]
    completions: list[tuple[str, str]] | None
    labels: dict[str, str]
    reference: str | None
    topics: frozenset[str] = frozenset()

    @property
    def digest(self) -> str:
        return text_digest(json.dumps(self.messages, sort_keys=True))

    @property
    def size(self) -> int:
        """Characters of all its texts."""
        turns = sum(len(turn["content"]) for turn in self.messages)
        return turns + sum(map(len, self.texts)) + len(self.reference or "")

    @property
    def texts(self) -> list[str]:
        return [text for text, _ in self.completions or []]


def read_lines(stream: IO[bytes]) -> Iterator[bytes]:
    """Lines of a stream, whole, one at a time. One too long to hold is cut: broken as JSON, so it
    is reported, with its own number.
    """
    while line := stream.readline(MAX_LINE_BYTES):
        yield line
        while not line.endswith(b"\n") and (line := stream.readline(MAX_LINE_BYTES)):
            pass


def text_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def parse_line(number: int, raw: bytes) -> PromptLine:
    """Raises LineError with the first fault found."""
    row = as_prompt_row(parsed_object(raw))
    _check_slips(row)
    return checked_prompt(row, number)


def checked_prompt(row: dict[str, Any], number: int = 1) -> PromptLine:
    """A prompt under the names of an import line. Raises LineError with the first fault found."""
    return PromptLine(
        number=number,
        messages=parsed_messages(row),
        completions=_completions(row["completions"])
        if row.get("completions") is not None
        else None,
        labels={name: _label(row, name) for name in MAX_LABEL_CHARACTERS},
        reference=checked_text(row["reference"], "reference")
        if row.get("reference") is not None
        else None,
        topics=_topics(row.get("topics")),
    )


def parsed_object(raw: bytes) -> dict[str, Any]:
    if len(raw) >= MAX_LINE_BYTES:
        raise LineError("line_too_long", f"longer than {MAX_LINE_BYTES >> 20} MB")
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise LineError("not_utf8", "the file is UTF-16: save it as UTF-8")
    try:
        row = json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise LineError("not_utf8", f"not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise LineError("broken_json", f"not JSON: {error.msg} at column {error.colno}") from error
    except (RecursionError, ValueError) as error:
        raise LineError(
            "broken_json", "not JSON: nested too deeply or a number too long"
        ) from error
    if not isinstance(row, dict):
        raise LineError("wrong_type", f"a line must be a JSON object, not {_type_name(row)}")
    return row


def _check_slips(row: dict[str, Any]) -> None:
    """Columns of one's own are let pass; a misspelt field would be lost without a word."""
    for name in row.keys() - FIELDS:
        meant = difflib.get_close_matches(name, FIELDS - row.keys(), 1, SLIP_LIKENESS)
        if meant:
            raise LineError("unknown_field", f"“{name[:40]}” is no field; write “{meant[0]}”")


def parsed_messages(row: dict[str, Any]) -> list[dict[str, str]]:
    prompt, messages = row.get("prompt"), row.get("messages")
    if prompt is None and messages is None:
        if "prompt" in row or "messages" in row:
            raise LineError("missing_prompt", "the prompt is null")
        hint = ", ".join(sorted(map(str, row))[:8]) or "nothing"
        raise LineError("missing_prompt", f"needs “prompt” or “messages”; the line has {hint}")
    if prompt is not None and messages is not None:
        raise LineError("ambiguous_prompt", "has both “prompt” and “messages”; give one")
    if messages is None:
        return [{"role": "user", "content": checked_text(prompt, "prompt")}]
    if not isinstance(messages, list) or not 1 <= len(messages) <= MAX_MESSAGES:
        raise LineError("wrong_type", f"messages must be a list of 1 to {MAX_MESSAGES} turns")
    turns = [_turn(turn, f"messages[{index}]") for index, turn in enumerate(messages)]
    if turns[-1]["role"] != "user":
        raise LineError("wrong_role", "the last of messages must be the user's turn")
    return turns


def _turn(turn: object, where: str) -> dict[str, str]:
    if not isinstance(turn, dict):
        raise LineError("wrong_type", f"{where} must be an object with role and content")
    if turn.get("role") not in ROLES:
        raise LineError("wrong_role", f"{where}.role must be one of {', '.join(ROLES)}")
    return {"role": turn["role"], "content": checked_text(turn.get("content"), f"{where}.content")}


def _completions(given: object) -> list[tuple[str, str]]:
    if not isinstance(given, list):
        raise LineError("wrong_type", f"completions must be a list, not {_type_name(given)}")
    if not MIN_COMPLETIONS <= len(given) <= MAX_COMPLETIONS:
        raise LineError(
            "completion_count",
            f"needs {MIN_COMPLETIONS} to {MAX_COMPLETIONS} completions, or none to have them "
            f"sampled; the line has {len(given)}",
        )
    return [_completion(entry, f"completions[{index}]") for index, entry in enumerate(given)]


def _completion(entry: object, where: str) -> tuple[str, str]:
    if not isinstance(entry, dict):
        raise LineError(
            "wrong_type", f"{where} must be an object with text, not {_type_name(entry)}"
        )
    model = entry.get("model")
    return checked_text(entry.get("text"), f"{where}.text"), (
        "" if model is None else checked_text(model, f"{where}.model", limit=200)
    )


def _label(row: dict[str, Any], name: str) -> str:
    value = row.get(name)
    if value is None or value == "":
        return ""
    return checked_text(value, name, limit=MAX_LABEL_CHARACTERS[name])


def _topics(given: object) -> frozenset[str]:
    """The names as they are compared: small letters, words joined by hyphens."""
    if given is None:
        return frozenset()
    if not isinstance(given, list) or len(given) > MAX_TOPICS:
        raise LineError("wrong_type", f"topics must be a list of at most {MAX_TOPICS} names")
    texts = [
        checked_text(name, f"topics[{index}]", limit=MAX_TOPIC_CHARACTERS)
        for index, name in enumerate(given)
    ]
    names = [slugify(text.replace("_", " "), allow_unicode=True) for text in texts]
    if not all(names):
        raise LineError("wrong_type", "a topic must have a letter or a digit")
    return frozenset(names)


def checked_text(value: object, where: str, limit: int | None = None) -> str:
    """The text as it is, byte for byte; only what cannot be stored or shown is refused."""
    limit = limit or settings.MAX_TEXT_CHARACTERS
    if value is None:
        raise LineError("missing_text", f"{where} is missing")
    if not isinstance(value, str):
        raise LineError("wrong_type", f"{where} must be a text, not {_type_name(value)}")
    if not value.strip():
        raise LineError("empty_text", f"{where} is empty")
    if len(value) > limit:
        raise LineError(
            "text_too_long", f"{where} has {len(value):,} characters; at most {limit:,} are taken"
        )
    if "\0" in value:
        raise LineError("nul_character", f"{where} has a NUL at character {value.index(chr(0))}")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise LineError(
            "lone_surrogate", f"{where} has half a surrogate pair at character {error.start}"
        ) from error
    return value


def _type_name(value: object) -> str:
    names = {
        dict: "an object",
        list: "a list",
        str: "a text",
        bool: "true or false",
        type(None): "null",
    }
    return names.get(type(value), "a number")
