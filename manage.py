#!/usr/bin/env python
"""Podium's command line: ``manage.py serve | work | create_user | issue_token | import_prompts |
…``.
"""

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    execute_from_command_line(sys.argv)
