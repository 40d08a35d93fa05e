"""``manage.py prepare``: what a fresh installation begins with, for a start without ``serve``."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from training.management.first_start import prepare


class Command(BaseCommand):
    help = "Create what is missing of the first accounts, the first policy and the starter pool."

    def handle(self, *args: Any, **options: Any) -> None:
        prepare(self.stdout.write)
