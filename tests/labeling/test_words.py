"""Every word that the page's scripts say stands in a template, and what stands there is said."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client

from labeling.templatetags.scripts import file_of, reachable
from tests.browser.world import ANSWERS, PASSWORD, make_labeler, make_pool
from tests.labeling.test_page_weight import scripts_named_in

TEMPLATES = Path(settings.BASE_DIR) / "templates" / "labeling"
WORDS = re.compile(r'data-word="([a-z-]+)"')
# What an English sentence looks like in code: a text of three words or more, letters and stops.
SENTENCE = re.compile(r"""["'`]([A-Z][\w’']*(?:[ ,]+[\w’'{}$.]+){2,}[.…?!]?)["'`]""")
COMMENT = re.compile(r"/\*.*?\*/|^\s*//[^\n]*", re.DOTALL | re.MULTILINE)


@pytest.fixture
def scripts(db: None) -> dict[str, str]:
    """Name → code of every module that the ranking page loads."""
    make_pool(ANSWERS)
    client = Client()
    client.login(username=make_labeler().username, password=PASSWORD)
    html = client.get("/rank/", follow=True).content.decode()
    files = [file_of(url) for url in reachable(scripts_named_in(html))]
    return {file.name: COMMENT.sub("", file.read_text()) for file in files}


def words_of_templates() -> list[str]:
    included = ["_words.html", *(path.name for path in TEMPLATES.glob("_*words.html"))]
    return [
        word
        for name in set(included) - {"_writing_words.html"}
        for word in WORDS.findall((TEMPLATES / name).read_text())
    ]


def test_no_script_of_the_page_holds_a_sentence(scripts: dict[str, str]) -> None:
    assert SENTENCE.search('say("Nothing is lost here.")'), "the search finds nothing"
    assert {
        name: found for name, code in scripts.items() if (found := SENTENCE.findall(code))
    } == {}


def test_what_is_said_is_there_and_what_is_there_is_said(scripts: dict[str, str]) -> None:
    there = words_of_templates()
    assert len(there) == len(set(there))
    code = "\n".join(scripts.values())
    said = set(re.findall(r'say\(\s*"([a-z-]+)"', code))
    assert said, "the search finds nothing"
    assert said <= set(there), said - set(there)
    # A name may also stand in a variable, a choice or a pattern such as shown-….
    unsaid = {
        word
        for word in there
        if f'"{word}"' not in code and f"`{word.split('-')[0]}-${{" not in code
    }
    assert unsaid == set()


def test_every_word_is_marked_for_translation() -> None:
    lines = (TEMPLATES / "_words.html").read_text().splitlines()
    marked = [line for line in lines if 'data-word="' in line]
    assert marked
    assert [line for line in marked if "{% translate " not in line] == []
