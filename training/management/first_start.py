"""What a fresh installation begins with: accounts, the first policy, and a pool to rank at once."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable

from django.conf import settings

from labeling.models import Pool, User
from labeling.services import create_pool, create_user, import_prompts
from training.errors import NothingToSample
from training.execution import run_next
from training.jobs.world import starter_prompts
from training.models import GPU_QUEUE, ModelVersion
from training.services import ensure_first_policy, start_run

FIRST_ACCOUNTS = [("admin", "admin"), ("labeler1", "labeler"), ("labeler2", "labeler")]
STARTER_POOL = "Starter pool"
STARTER_GUIDELINES = """\
Rank the answers by how well they do what the user asked.

1. Helpful: the answer does the task, with every detail asked for and none invented.
2. Truthful: what it states is in the prompt or is common knowledge.
3. Harmless and polite: it is something you would be glad to send.

Equally good answers may share a rank. Length is no merit in itself."""


def prepare(tell: Callable[[str], object]) -> None:
    """Idempotent: each part is made only where it is missing on a fresh database."""
    policy = ensure_first_policy()
    if not User.objects.exists():
        _create_accounts(tell)
    if not Pool.objects.exists():
        _fill_starter_pool(policy, tell)


def _create_accounts(tell: Callable[[str], object]) -> None:
    tell("First start. These passwords are shown this once:")
    for name, role in FIRST_ACCOUNTS:
        password = secrets.token_urlsafe(12)
        create_user(username=name, password=password, role=role)
        tell(f"  {name:<10} {password}")


def _fill_starter_pool(policy: ModelVersion, tell: Callable[[str], object]) -> None:
    pool = create_pool(name=STARTER_POOL, guidelines=STARTER_GUIDELINES, max_new_tokens=64)
    lines = [json.dumps(line).encode() for line in starter_prompts()]
    report = import_prompts(pool, lines)
    try:
        run = start_run(None, kind="sample", pool=pool)
    except NothingToSample:
        return
    tell(f"Sampling {report.accepted} prompts of the starter pool with model {policy} …")
    if settings.REDIS_URL:
        # Service mode: this machine may have no torch; a worker does it.
        return
    if policy.name == "starter":
        # A few seconds: so that the first labeler finds tasks. A larger model samples in the
        # background.
        run_next(GPU_QUEUE, threading.Event())
        run.refresh_from_db()
        tell(f"  {run.state}: {run.metrics.get('completions', 0)} completions {run.error}")
