"""What a fresh installation begins with: accounts, the first policy, and a pool to rank at once."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable

from django.conf import settings
from django.db import transaction

from labeling.models import Pool, User
from labeling.services import create_pool, create_user, import_prompts
from training.execution import run_next
from training.jobs.world import starter_prompts
from training.models import GPU_QUEUE, STARTER, ModelVersion, Run
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
    """Each part is made whole or not at all, and only where it is missing on a fresh database."""
    policy = ensure_first_policy()
    if not User.objects.exists():
        passwords = _create_accounts()
        tell("First start. These passwords are shown this once:")
        for name, password in passwords.items():
            tell(f"  {name:<10} {password}")
    if not Pool.objects.exists():
        _sample(policy, _fill_starter_pool(), tell)


@transaction.atomic
def _create_accounts() -> dict[str, str]:
    """Password by name."""
    passwords = {name: secrets.token_urlsafe(12) for name, _ in FIRST_ACCOUNTS}
    for name, role in FIRST_ACCOUNTS:
        create_user(username=name, password=passwords[name], role=role)
    return passwords


@transaction.atomic
def _fill_starter_pool() -> Run:
    """The pool with its prompts, and the run that is to sample them."""
    pool = create_pool(name=STARTER_POOL, guidelines=STARTER_GUIDELINES, max_new_tokens=64)
    import_prompts(pool, [json.dumps(line).encode() for line in starter_prompts()])
    return start_run(None, kind="sample", pool=pool)


def _sample(policy: ModelVersion, run: Run, tell: Callable[[str], object]) -> None:
    tell(f"Sampling the starter pool with model {policy} …")
    if settings.REDIS_URL:
        # Service mode: this machine may have no torch; a worker does it.
        return
    if policy.reference == STARTER:
        # A few seconds: so that the first labeler finds tasks. A larger model samples in the
        # background.
        run_next(GPU_QUEUE, threading.Event())
        run.refresh_from_db()
        tell(f"  {run.state}: {run.metrics.get('completions', 0)} completions {run.error}")
