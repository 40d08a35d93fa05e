"""``manage.py create_user NAME --role R``: an account, with a random password."""

from __future__ import annotations

import getpass
import secrets
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from labeling.errors import LabelingError
from labeling.models import User
from labeling.services import create_user


class Command(BaseCommand):
    help = "Create an account. Prints its random password once, unless --ask-password is given."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name")
        parser.add_argument("--role", choices=User.Role.values, default=User.Role.LABELER)
        parser.add_argument("--ask-password", action="store_true", help="type the password instead")

    def handle(self, *args: Any, **options: Any) -> None:
        asked = options["ask_password"]
        password = getpass.getpass() if asked else secrets.token_urlsafe(12)
        try:
            user = create_user(username=options["name"], password=password, role=options["role"])
        except LabelingError as error:
            raise CommandError(error.message) from error
        shown = "" if asked else f", password {password}"
        self.stdout.write(f"Created {user.role} {user.username}{shown}")
