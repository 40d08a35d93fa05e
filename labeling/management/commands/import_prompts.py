"""``manage.py import_prompts FILE --pool P``: prompts from a JSON Lines file."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from labeling.errors import LabelingError
from labeling.execution import read_lines
from labeling.models import Pool
from labeling.selectors import pool_named
from labeling.services import import_prompts

PROGRESS_LINES = 1000


class Command(BaseCommand):
    help = "Import prompts, with or without completions. The same file again adds nothing."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", help="JSON Lines, or - for standard input")
        parser.add_argument("--pool", required=True, help="id or name of the pool")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            pool = pool_named(options["pool"])
        except LabelingError as error:
            names = ", ".join(Pool.objects.values_list("name", flat=True)[:20]) or "none yet"
            raise CommandError(f"{error.message} There are: {names}.") from error
        try:
            report = import_prompts(pool, self._with_progress(_lines(options["file"])))
        except OSError as error:
            raise CommandError(f"{options['file']}: {error.strerror}") from error
        for fault in report.errors:
            self.stderr.write(f"line {fault['line']}: {fault['code']}: {fault['message']}")
        unlisted = report.rejected - len(report.errors)
        if unlisted:
            self.stderr.write(f"… and {unlisted} more lines were rejected")
        self.stdout.write(
            f"accepted {report.accepted}, duplicates {report.duplicates}, "
            f"rejected {report.rejected}"
        )
        if report.rejected and not (report.accepted or report.duplicates):
            raise CommandError("No line could be imported.")

    def _with_progress(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        for number, line in enumerate(lines, start=1):
            if number % PROGRESS_LINES == 0:
                self.stdout.write(f"{number} lines …")
            yield line


def _lines(name: str) -> Iterator[bytes]:
    if name == "-":
        yield from read_lines(sys.stdin.buffer)
        return
    with Path(name).open("rb") as file:
        yield from read_lines(file)
