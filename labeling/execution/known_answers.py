"""Items of a qualification from JSON Lines: prompt, completions with their ranks, explanation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from django.db import IntegrityError, transaction

from labeling import ordering
from labeling.errors import InvalidInput, LabelingError
from labeling.execution.imports import ImportReport
from labeling.execution.lines import LineError, checked_text, parsed_messages, parsed_object
from labeling.models import Pool, QualificationItem, User
from labeling.ordering import ALIASES, MAX_COMPLETIONS, MIN_COMPLETIONS

MAX_EXPLANATION_CHARACTERS = 10_000


class KnownAnswer(NamedTuple):
    """A prompt whose ranking is known. ``completions`` is ``[{"text", "rank"}, …]``."""

    messages: list[dict[str, str]]
    completions: list[dict[str, Any]]
    explanation: str

    @property
    def digest(self) -> str:
        content = json.dumps([self.messages, self.completions], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()


def import_items(
    pool: Pool, lines: Iterable[bytes], *, kind: str, author: User | None = None
) -> ImportReport:
    """Items of ``kind`` from ``lines``; bad lines are reported, good ones land, known ones stay."""
    report = ImportReport()
    for number, raw in enumerate(lines, start=1):
        content = raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
        if not content.strip():
            continue
        try:
            item = store_item(pool, parse_known_answer(content), kind=kind, author=author)
        except LineError as error:
            report.reject(number, error.code, error.message)
            continue
        report.accepted += item is not None
        report.duplicates += item is None
    return report


def store_item(
    pool: Pool, known: KnownAnswer, *, kind: str, author: User | None = None
) -> QualificationItem | None:
    """The new item; None where the pool has it already, in training or in the test."""
    try:
        with transaction.atomic():
            return QualificationItem.objects.create(
                pool=pool, kind=kind, digest=known.digest, author=author, **known._asdict()
            )
    except IntegrityError:
        if pool.qualification_items.filter(digest=known.digest, is_active=True).exists():
            return None
        raise


def parse_known_answer(raw: bytes) -> KnownAnswer:
    """Raises LineError with the first fault found."""
    row = parsed_object(raw)
    explanation = row.get("explanation")
    return KnownAnswer(
        parsed_messages(row),
        _completions(row.get("completions")),
        ""
        if explanation in (None, "")
        else checked_text(explanation, "explanation", limit=MAX_EXPLANATION_CHARACTERS),
    )


def checked_ranks(ranks: Sequence[object]) -> list[int]:
    """Expected ranks by number: whole, in 1..K, and not all alike. Raises InvalidInput."""
    given: Mapping[str, object] = dict(zip(ALIASES, ranks, strict=False))
    try:
        checked = list(ordering.check_ranks(given, given).values())
    except LabelingError as error:
        raise InvalidInput(error.message, field="ranks") from error
    if len(set(checked)) == 1:
        raise InvalidInput("All ranks are equal: such an answer tells nothing.", field="ranks")
    return checked


def _completions(given: object) -> list[dict[str, Any]]:
    if not isinstance(given, list) or not MIN_COMPLETIONS <= len(given) <= MAX_COMPLETIONS:
        raise LineError(
            "completion_count",
            f"needs {MIN_COMPLETIONS} to {MAX_COMPLETIONS} completions, each with text and rank",
        )
    if not all(isinstance(entry, dict) for entry in given):
        raise LineError("wrong_type", "a completion must be an object with text and rank")
    texts = [checked_text(e.get("text"), f"completions[{n}].text") for n, e in enumerate(given)]
    try:
        ranks = checked_ranks([entry.get("rank") for entry in given])
    except InvalidInput as error:
        raise LineError("wrong_rank", error.message) from error
    return [{"text": text, "rank": rank} for text, rank in zip(texts, ranks, strict=True)]
