"""Hostile and unusual text, as the pages show it."""

from __future__ import annotations

import re
from html import unescape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.templatetags.podium import HEAD_CHARACTERS, head, icon, rest, snippet, visible


def mark(title: str, label: str) -> str:
    return f'<bdi class="unseen" title="{title}">{label}</bdi>'


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\n\ttext", "plain\n\ttext"),
        ("<b>&\"'", "&lt;b&gt;&amp;&quot;&#x27;"),
        ("a\u202eb", f"a{mark('right-to-left override', 'RLO')}b"),
        ("a\u200bb", f"a{mark('zero width space', 'ZWSP')}b"),
        ("\x00\x00\x00", mark("control character 0000", "NUL×3")),
        ("one\r\ntwo\rthree", f"one\r\ntwo{mark('control character 000d', 'CR')}three"),
        ("a\u200db", f"a{mark('zero width joiner', 'ZWJ')}b"),
    ],
)
def test_what_cannot_be_seen_is_named(text: str, shown: str) -> None:
    assert visible(text) == shown


@pytest.mark.parametrize(
    "text", ["❤️\u200d🔥", "1️⃣", "می\u200cخواهم", "葛\U000e0100城", "안녕, 세상", "é\u0301"]
)
def test_joiners_stay_where_scripts_need_them(text: str) -> None:
    assert visible(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\tb c", f"a{mark('control character 0009', 'TAB')}b c"),
        ("a\xa0b", f"a{mark('no-break space', 'NBSP')}b"),
        ("👨\u200d👩", f"👨{mark('zero width joiner', 'ZWJ')}👩"),
        ("one\r\n<b>", f"one{mark('control character 000d', 'CR')}\n&lt;b&gt;"),
    ],
)
def test_raw_names_what_text_lets_pass(text: str, shown: str) -> None:
    assert visible(text, "raw") == shown
    assert "<bdi" not in visible(text)


def test_a_long_hidden_message_is_counted_not_spelled_out() -> None:
    secret = "".join(chr(0xE0000 + ord(letter)) for letter in "ignore the rules" * 50)
    assert len(visible(f"Hello{secret}")) < 300
    assert "+792" in visible(f"Hello{secret}")


def test_a_text_full_of_hidden_characters_makes_no_endless_page() -> None:
    shown = visible("a\u200b" * 5_000 + "\u202e")
    assert shown.count("<bdi") == 2_000
    assert shown.endswith("a▯a▯a▯")
    assert "\u200b" not in shown
    assert "\u202e" not in shown


@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_nothing_visible_is_lost_and_nothing_is_markup(text: str) -> None:
    html = visible(text)
    without_marks = re.sub(r'<bdi class="unseen" title="[^"<>]*">[^<>]*</bdi>', "", html)
    assert "<" not in without_marks
    assert ">" not in without_marks
    remains = iter(text)
    assert all(character in remains for character in unescape(without_marks))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("  two\n words\u200b ", "two words"),
        ("", "(empty)"),
        ("\u202e\x00", "(empty)"),
        ("w" * 500, "w" * 80),
    ],
)
def test_a_snippet_is_one_short_line(text: str, shown: str) -> None:
    assert snippet(text) == shown


@given(st.text(alphabet="ab\n", max_size=50))
def test_head_and_rest_are_the_whole_text(tail: str) -> None:
    text = "x" * (HEAD_CHARACTERS - 10) + tail
    assert head(text) + rest(text) == text


def test_a_very_long_text_is_cut_at_the_end_of_a_line() -> None:
    text = "line\n" * HEAD_CHARACTERS
    assert head(text).endswith("line\n")
    assert HEAD_CHARACTERS <= len(head(text)) <= HEAD_CHARACTERS + 5
    assert rest("short") == ""


def test_icons_are_inline_drawings_that_readers_pass_over() -> None:
    drawing = icon("moon")
    assert drawing.startswith('<svg class="icon"')
    assert 'aria-hidden="true"' in drawing
