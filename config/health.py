"""Probes: is the process there, and can it do its work?"""

from __future__ import annotations

import shutil

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse

MIN_FREE_BYTES = 200 * 2**20


def alive(request: HttpRequest) -> HttpResponse:
    return HttpResponse("ok", content_type="text/plain")


def ready(request: HttpRequest) -> JsonResponse:
    """503 with the failing check unless database, migrations, disk and (if set) Redis are fine."""
    checks = {"database": _database(), "disk": _disk()}
    if settings.REDIS_URL:
        checks["redis"] = _redis()
    failed = any(state != "ok" for state in checks.values())
    return JsonResponse(checks, status=503 if failed else 200)


def _database() -> str:
    try:
        executor = MigrationExecutor(connection)
        pending = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError:
        return "unreachable"
    return "migrations are pending" if pending else "ok"


def _disk() -> str:
    return "ok" if shutil.disk_usage(settings.DATA_DIR).free > MIN_FREE_BYTES else "almost full"


def _redis() -> str:
    import redis  # noqa: PLC0415  (only service mode needs it)

    try:
        redis.from_url(settings.REDIS_URL, socket_timeout=2, socket_connect_timeout=2).ping()
    except redis.RedisError:
        return "unreachable"
    return "ok"
