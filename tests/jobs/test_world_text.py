"""The small readers of text that the gold score is made of, and templates."""

import pytest

from training.jobs.world import text as look
from training.jobs.world.template import Template


@pytest.mark.parametrize(
    ("text", "phrase", "found"),
    [
        ("We go to ROME.", "Rome", True),
        ("A romance", "Rome", False),
        ("the blue, cup", "blue cup", True),
        ("an e-mail for you", "e-mail", True),
        ("", "Rome", False),
    ],
)
def test_a_phrase_is_found_as_whole_words(text: str, phrase: str, found: bool) -> None:
    assert look.mentions(text, phrase) is found


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("", 0, 0),
        ("Every word here is another one.", 0, 0),
        ("It is so. It is so.", 0.4, 0.6),
        ("go go go go go go", 0.7, 1),
        ("1. bake\n2. sing\n3. bake", 0, 0.5),
    ],
)
def test_repetition_is_the_share_that_was_said_before(text: str, low: float, high: float) -> None:
    assert low <= look.repetition(text) <= high


@pytest.mark.parametrize(
    ("text", "ended"),
    [("Yes.", True), ("[1, 2]", True), ("Yes. ", True), ("and then", False), ("", False)],
)
def test_an_end_is_a_mark_at_the_end(text: str, ended: bool) -> None:
    assert look.ends(text) is ended


def test_phrases_are_counted_each_time() -> None:
    assert look.count("Perhaps, perhaps; I think so.", look.HEDGES) == 3


def test_a_template_reads_what_it_filled() -> None:
    template = Template("Give the {item} to {name}. {name} waits?", {"item": ("red book", "key")})
    slots = {"item": "red book", "name": "Zoë (2)"}
    assert template.read(template.fill(slots)) == slots


@pytest.mark.parametrize(
    "text",
    ["Give the cup to Zoë. Zoë waits?", "Give the key to Zoë. Tom waits?", "Give the key", ""],
)
def test_a_template_refuses_other_text(text: str) -> None:
    template = Template("Give the {item} to {name}. {name} waits?", {"item": ("red book", "key")})
    assert template.read(text) is None
