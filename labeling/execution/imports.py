"""Import of prompts, with or without completions, from JSON Lines.

Lines are taken in batches of one transaction each. What is there already is counted as a duplicate,
so that a file can be imported again after a failure half-way, and adds nothing the second time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction

from labeling import lifecycle
from labeling.execution.lines import LineError, PromptLine, parse_line, text_digest
from labeling.execution.topics import add_topics
from labeling.models import Completion, Demonstration, Pool, Prompt

BATCH_LINES = 200
BATCH_CHARACTERS = 4_000_000
MAX_REPORTED_ERRORS = 1000


@dataclass
class ImportReport:
    """What became of each line. ``errors`` holds the first thousand, ``rejected`` counts all."""

    accepted: int = 0
    duplicates: int = 0
    rejected: int = 0
    errors: list[dict[str, Any]] = field(default_factory=list)

    def reject(self, line: int, code: str, message: str) -> None:
        self.rejected += 1
        if len(self.errors) < MAX_REPORTED_ERRORS:
            self.errors.append({"line": line, "code": code, "message": message})


def import_prompts(pool: Pool, lines: Iterable[bytes]) -> ImportReport:
    """Import JSON Lines into ``pool``; bad lines are reported, good ones land.

    ``lines`` are read one at a time, so a file of any length fits in memory.
    """
    report = ImportReport()
    good = _parsed_lines(lines, report)
    for batch in _batches(good):
        with transaction.atomic():
            # One import of a pool at a time: two of the same file would otherwise race to insert.
            locked = Pool.objects.select_for_update(no_key=True).get(pk=pool.pk)
            _Batch(locked, batch, report).store()
    report.errors.sort(key=lambda error: error["line"])
    return report


def _parsed_lines(lines: Iterable[bytes], report: ImportReport) -> Iterator[PromptLine]:
    for number, raw in enumerate(lines, start=1):
        content = raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
        if not content.strip():
            continue
        try:
            yield parse_line(number, content)
        except LineError as error:
            report.reject(number, error.code, error.message)


def _batches(lines: Iterator[PromptLine]) -> Iterator[list[PromptLine]]:
    """At most so many lines, and so much text, as fit in memory and a short transaction."""
    batch: list[PromptLine] = []
    size = 0
    for line in lines:
        batch.append(line)
        size += line.size
        if len(batch) == BATCH_LINES or size >= BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


class _Batch:
    """The good lines of one transaction, held against what the pool has."""

    def __init__(self, pool: Pool, lines: list[PromptLine], report: ImportReport) -> None:
        self.pool = pool
        self.lines = lines
        self.report = report
        self.round = lifecycle.current_round()
        self.prompts = self._existing_prompts()
        self.tasks: dict[str, dict[int, list[str]]] = self._existing_tasks()
        self.new_prompts: list[Prompt] = []
        self.new_tasks: list[tuple[Prompt, list[Completion]]] = []
        self.references: list[tuple[Prompt, int, str]] = []

    def store(self) -> None:
        added = [self._plan(line) for line in self.lines]
        Prompt.objects.bulk_create(self.new_prompts)
        lifecycle.publish_tasks(self.round, self.new_tasks)
        self._store_topics()
        referenced = self._store_references()
        for line, is_new in zip(self.lines, added, strict=True):
            if is_new or line.number in referenced:
                self.report.accepted += 1
            elif is_new is not None:
                self.report.duplicates += 1

    def _plan(self, line: PromptLine) -> bool | None:
        """True when the line adds a prompt or a task, False when not, None when it was refused."""
        prompt = self.prompts.get(line.digest)
        is_new = prompt is None
        if prompt is None:
            prompt = Prompt(
                pool=self.pool, messages=line.messages, digest=line.digest, **line.labels
            )
            self.prompts[line.digest] = prompt
            self.new_prompts.append(prompt)
        if line.completions is not None:
            known = self.tasks.setdefault(line.digest, {})
            if line.texts not in known.values():
                if self.round.pk in known:
                    self.report.reject(
                        line.number,
                        "other_completions",
                        "the pool has this prompt with other completions in the current round",
                    )
                    return None
                known[self.round.pk] = line.texts
                self.new_tasks.append((prompt, _completions(line)))
                is_new = True
        if line.reference is not None:
            self.references.append((prompt, line.number, line.reference))
        return is_new

    def _store_topics(self) -> None:
        prompts_of: dict[str, list[Prompt]] = defaultdict(list)
        for line in self.lines:
            for topic in line.topics:
                prompts_of[topic].append(self.prompts[line.digest])
        add_topics(prompts_of)

    def _store_references(self) -> set[int]:
        """The numbers of the lines whose reference was new."""
        prompts = [prompt for prompt, _, _ in self.references]
        imported = Demonstration.objects.filter(prompt__in=prompts, author=None)
        known = set(imported.values_list("prompt_id", "digest"))
        rows, numbers = [], set()
        for prompt, number, text in self.references:
            digest = text_digest(text)
            if (prompt.pk, digest) not in known:
                known.add((prompt.pk, digest))
                numbers.add(number)
                rows.append(Demonstration(prompt=prompt, text=text, digest=digest))
        Demonstration.objects.bulk_create(rows)
        return numbers

    def _existing_prompts(self) -> dict[str, Prompt]:
        digests = {line.digest for line in self.lines}
        found = Prompt.objects.filter(pool=self.pool, digest__in=digests).select_related("pool")
        return {prompt.digest: prompt for prompt in found}

    def _existing_tasks(self) -> dict[str, dict[int, list[str]]]:
        """Digest of the prompt → round → texts of its completions."""
        digests = [line.digest for line in self.lines if line.completions is not None]
        rows = Completion.objects.filter(
            task__prompt__pool=self.pool, task__prompt__digest__in=digests
        ).order_by("task", "number")
        tasks: dict[str, dict[int, list[str]]] = {}
        for digest, round_, text in rows.values_list(
            "task__prompt__digest", "task__round_id", "text"
        ):
            tasks.setdefault(digest, {}).setdefault(round_, []).append(text)
        return tasks


def _completions(line: PromptLine) -> list[Completion]:
    return [Completion(text=text, model=model) for text, model in line.completions or []]
