"""``manage.py doctor``: is this installation sound? Every invariant is a query that must find
nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connection
from django.db.models import Count, F, Q
from django.db.models.functions import Now

from labeling.models import Ranking, Slot, Task
from training.jobs.folder import sha256_of_folder
from training.models import ModelVersion, Run, artifact_folder

# https://sqlite.org/wal.html#walresetbug
SQLITE_WAL_FIX = (3, 51, 3)


class Command(BaseCommand):
    help = "Check the database and the artifacts; ends with status 1 when something is wrong."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(f"database: {connection.vendor} {_version()}")
        self.stdout.write(f"data:     {settings.DATA_DIR}")
        for note in _notes():
            self.stdout.write(f"note:     {note}")
        faults = 0
        for name, check in CHECKS.items():
            found = list(check())
            faults += len(found)
            self.stdout.write(f"{'FAULT' if found else 'ok':<9} {name}")
            for fault in found:
                self.stdout.write(f"          {fault}")
        if faults:
            raise CommandError(f"{faults} faults found")


def _version() -> str:
    return ".".join(map(str, connection.get_database_version()))


def _notes() -> Iterator[str]:
    if connection.vendor == "sqlite" and sqlite3.sqlite_version_info < SQLITE_WAL_FIX:
        yield (
            f"SQLite {sqlite3.sqlite_version} has a rare bug in WAL mode, mended in 3.51.3: "
            "back up, or use PostgreSQL for work that matters"
        )


def comparisons_match_rankings() -> Iterator[str]:
    """A ranking of K completions has C(K, 2) comparisons and K items, late ones too."""
    rankings = Ranking.objects.annotate(
        k=F("task__completion_count"),
        pairs=Count("comparisons", distinct=True),
        ranked=Count("items", distinct=True),
    )
    wrong = rankings.exclude(pairs=F("k") * (F("k") - 1) / 2, ranked=F("k"))
    for ranking in wrong.order_by("pk"):
        yield f"ranking {ranking.pk}: {ranking.ranked} items, {ranking.pairs} comparisons"


def overlap_is_kept() -> Iterator[str]:
    tasks = Task.objects.annotate(
        places=Count("slots", filter=Q(slots__is_control=False), distinct=True),
        counted=Count("rankings", filter=Q(rankings__status="counted"), distinct=True),
    )
    for task in tasks.filter(counted__gt=F("places")).order_by("pk"):
        yield f"task {task.pk}: {task.counted} rankings on {task.places} slots"


def slots_agree_with_rankings() -> Iterator[str]:
    """A done slot belongs to the labeler of a ranking in time of its task, and the reverse."""
    done = set(Slot.objects.filter(state=Slot.State.DONE).values_list("task_id", "labeler_id"))
    counted = set(
        Ranking.objects.exclude(status=Ranking.Status.LATE).values_list("task_id", "labeler_id")
    )
    for task, labeler in sorted(done ^ counted):
        yield f"task {task}, labeler {labeler}: slot and ranking disagree"


def tasks_are_whole() -> Iterator[str]:
    tasks = Task.objects.annotate(there=Count("completions"))
    for task in tasks.exclude(there=F("completion_count")).order_by("pk"):
        yield f"task {task.pk}: {task.there} of {task.completion_count} completions"


def runs_are_alive() -> Iterator[str]:
    lost = Run.objects.filter(state=Run.State.RUNNING, lease_until__lte=Now())
    for run in lost:
        yield f"run {run.pk}: its worker is lost; a worker that starts will requeue it"


def artifacts_are_there() -> Iterator[str]:
    for model in ModelVersion.objects.exclude(digest=""):
        # The hash of a folder that is not there is that of an empty one: it differs all the same.
        if sha256_of_folder(artifact_folder(model.digest)) != model.digest:
            yield f"model {model}: its folder is missing or altered"


CHECKS: dict[str, Callable[[], Iterator[str]]] = {
    "every ranking has all its comparisons": comparisons_match_rankings,
    "no task is ranked beyond its overlap": overlap_is_kept,
    "done slots and counted rankings agree": slots_agree_with_rankings,
    "every task has all its completions": tasks_are_whole,
    "no run is without its worker": runs_are_alive,
    "every artifact has its content address": artifacts_are_there,
}
