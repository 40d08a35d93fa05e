"""The documents say what is so: commands exist, links lead somewhere, settings are read."""

import dataclasses
import re
from pathlib import Path

import pytest
from django.core.management import get_commands

from training.jobs.params import PARAMS_OF_KIND

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
IDS = [page.relative_to(ROOT).as_posix() for page in PAGES]


def test_there_are_documents():
    assert {"README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"} <= set(IDS)
    assert (ROOT / "LICENSE").read_text().strip().startswith("Apache License")


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_command_named_exists(page):
    named = set(re.findall(r"manage\.py ([a-z_]+)", page.read_text(encoding="utf-8")))
    assert named <= set(get_commands()), named - set(get_commands())
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    made = set(re.findall(r"`(?:\w+=\S+ )?make ([a-z-]+)", page.read_text(encoding="utf-8")))
    assert made <= targets, made - targets


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_local_link_leads_somewhere(page):
    links = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    local = [link for link in links if not re.match(r"[a-z]+:", link)]
    assert [link for link in local if not (page.parent / link).exists()] == []


def test_the_loop_of_the_readme_takes_its_options():
    from django.core.management import load_command_class

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = re.findall(r"^python manage\.py (\S+) (.*)$", readme, re.MULTILINE)
    assert len(lines) >= 3
    for name, arguments in lines:
        command = load_command_class(get_commands()[name], name)
        known = set(command.create_parser("manage.py", name)._option_string_actions)
        given = set(re.findall(r"--[a-z-]+", arguments))
        assert given <= known, (name, given - known)


@pytest.mark.parametrize("kind", sorted(PARAMS_OF_KIND))
def test_every_parameter_is_explained(kind):
    guide = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    explained = set(re.findall(r"`(\w+)`", guide))
    names = {field.name for field in dataclasses.fields(PARAMS_OF_KIND[kind])}
    assert names <= explained, names - explained
