"""Differences word by word, near-identical groups, and the pages that show them."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from itertools import pairwise, product

import pytest
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from labeling import services
from labeling.similarity import (
    ALIKE_WORDS,
    MAX_CHARACTERS,
    MAX_WORDS,
    Part,
    TooLong,
    alike,
    differences,
    share_little,
)
from tests.browser.world import ANSWERS, make_labeler, make_pool
from tests.labeling.hostile_texts import TEXTS

LONG = " ".join(f"word{n}" if n % 7 else "and" for n in range(ALIKE_WORDS)).replace("0", "o")
# No digits: a number that differs is never a trifle.
LONG = re.sub(r"\d", lambda digit: "abcdefghij"[int(digit[0])], LONG)


def marked(parts: list[Part]) -> str:
    return "".join(f"[{part.text}]" if part.differs else part.text for part in parts)


@pytest.mark.parametrize(
    ("a", "b", "in_a", "in_b"),
    [
        ("a red fox", "a big red dog", "a red [fox]", "a [big] red [dog]"),
        ("one two", "one\n\ntwo ", "one two", "one\n\ntwo "),
        ("", "all of it", "", "[all of it]"),
        ("It ends.", "It ends!", "It ends[.]", "It ends[!]"),
        ("pi is 3.14", "pi is 3.15", "pi is 3.[14]", "pi is 3.[15]"),
        ("글을 비교한다", "글을 읽는다", "글을 [비교한다]", "글을 [읽는다]"),
        ("我喜欢红苹果", "我喜欢青苹果", "我喜欢[红]苹果", "我喜欢[青]苹果"),
        ("cafe\u0301 au lait", "cafe au lait", "[cafe\u0301] au lait", "[cafe] au lait"),
        ("yes 👨‍👩‍👧 no", "yes 👨 no", "yes [👨‍👩‍👧] no", "yes [👨] no"),
    ],
)
def test_words_that_the_other_lacks_are_marked(a: str, b: str, in_a: str, in_b: str) -> None:
    assert tuple(map(marked, differences(a, b))) == (in_a, in_b)


def test_a_single_common_word_between_long_differences_makes_no_stripe() -> None:
    parts, _ = differences("the cat sat on a mat there", "some other words on quite another thing")
    assert marked(parts) == "[the cat sat on a mat there]"


@given(st.text(max_size=200), st.text(max_size=200))
def test_no_character_of_a_text_is_lost_or_added(a: str, b: str) -> None:
    for text, parts in zip((a, b), differences(a, b), strict=True):
        assert "".join(part.text for part in parts) == text
        assert all(part.text for part in parts)
        assert all(one.differs != two.differs for one, two in pairwise(parts))


@given(st.lists(st.sampled_from("abc"), max_size=12), st.lists(st.sampled_from("abc"), max_size=12))
def test_unmarked_words_are_the_same_on_both_sides(a: list[str], b: list[str]) -> None:
    plain = [
        [word for part in parts if not part.differs for word in part.text.split()]
        for parts in differences(" ".join(a), " ".join(b))
    ]
    assert plain[0] == plain[1]


def test_too_long_texts_are_refused_and_the_longest_ones_are_not() -> None:
    for long in ("x" * (MAX_CHARACTERS + 1), "a " * (MAX_WORDS + 1), "Z" + "\u0336" * 100_000):
        with pytest.raises(TooLong):
            differences(long, "a")
        with pytest.raises(TooLong):
            differences("a", long)
    differences("x" * MAX_CHARACTERS, "a " * MAX_WORDS)


def test_hostile_texts_cost_little_time() -> None:
    worst = {
        "one word": "x" * MAX_CHARACTERS,
        "one mark": "Z" + "\u0336\u0327" * (MAX_CHARACTERS // 2 - 1),
        "same words": "a " * MAX_WORDS,
        "other words": " ".join(map(str, range(MAX_WORDS))),
        "two words": "a b " * (MAX_WORDS // 2),
        "signs": "!?" * (MAX_WORDS // 2),
        "dots": "." * (MAX_CHARACTERS - 1) + "x",
        "blanks": " " * MAX_CHARACTERS,
    }
    for a, b in product(worst.values(), repeat=2):
        began = time.thread_time()
        with suppress(TooLong):
            differences(a, b)
        assert time.thread_time() - began < 1
    for text in (*worst.values(), *TEXTS.values(), "x" * 1_000_000, "." * 1_000_000):
        began = time.thread_time()
        # All alike, none alike, and all of them a little different.
        alike(dict.fromkeys("ABCDEFGHI", text))
        alike({alias: f"{text} {alias}" for alias in "ABCDEFGHI"})
        assert time.thread_time() - began < 3


def test_texts_with_little_in_common_are_told() -> None:
    assert share_little(*differences("one two three", "four five six"))
    assert not share_little(*differences("one two three", "one five six"))
    assert not share_little(*differences("", ""))


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("The same.", "The same.", True),
        ("The same.", "  the SAME\n", True),
        ("\u201cDon\u2019t,\u201d he said.", '"Don\'t" he said', True),
        ("It is safe.", "It is not safe.", False),
        ("In 1984.", "In 1985.", False),
        ("3.14", "314", False),
        ("if (x)", "if (!x)", False),
        ("a + b", "a - b", False),
        ("...", "?", False),
        ("", "...", False),
        # A word of a short text is what there is to weigh, a word of a long one is not ...
        ("He travels late to Rome.", "He travels to Rome.", False),
        (f"{LONG} so", f"{LONG} then", True),
        # ... unless it turns the sentence round, or is a number.
        (f"{LONG} so", f"{LONG} not so", False),
        (f"{LONG} don't", f"{LONG} do", False),
        (f"{LONG} 8", f"{LONG} 9", False),
        (f"{LONG} 하지 않는다", f"{LONG} 한다", False),
        (f"{LONG} one two three", f"{LONG} four five six", False),
        ("x" * 60_000, "X" * 60_000, False),
        ("x" * 60_000, "x" * 60_000, True),
    ],
)
def test_alike_means_that_nobody_would_prefer_one(a: str, b: str, expected: bool) -> None:
    assert alike({"A": a, "B": b}) == ([["A", "B"]] if expected else [])


def test_a_group_holds_only_texts_that_are_all_alike() -> None:
    start, middle, end = (f"{LONG} {words}" for words in ("aa bb", "aa cc", "dd cc"))
    texts = {"A": "x", "B": start, "C": "x.", "D": middle, "E": end, "F": "X", "G": "y"}
    groups = alike(texts)
    assert groups[0] == ["A", "C", "F"]
    for group in groups:
        assert all(alike({"A": texts[a], "B": texts[b]}) for a in group for b in group)


# --- over HTTP ------------------------------------------------------------------------------------

RICH = ["# Red\n\nThe **quick** fox.", "# Red\n\nThe **slow** fox.", "<b>No</b> word alike", "Nope"]


def client_of(name: str, answers: list[str]) -> tuple[Client, str, dict[str, str]]:
    """A labeler with a task in hand, its comparing address, and text → alias."""
    make_pool(answers)
    labeler = make_labeler(name)
    client = Client()
    client.force_login(labeler)
    assignment = services.lease_next(labeler)
    assert assignment is not None
    texts = dict(assignment.task.completions.values_list("number", "text"))
    alias_of = {texts[number]: alias for alias, number in assignment.number_of_alias.items()}
    return client, f"/assignments/{assignment.pk}/compare/", alias_of


def page(client: Client, address: str) -> str:
    response = client.get(address)
    assert response.status_code == 200, response
    return response.content.decode()


@pytest.mark.django_db
def test_two_answers_stand_side_by_side_with_their_differences() -> None:
    client, path, alias = client_of("mina", RICH)
    quick, slow = alias[RICH[0]], alias[RICH[1]]
    html = page(client, f"{path}?a={quick}&b={slow}")
    assert f'<del class="differs" data-said="only in {quick}:">quick</del>' in html
    assert f'<ins class="differs" data-said="only in {slow}:">slow</ins>' in html
    assert html.index(">quick</del>") < html.index(">slow</ins>")
    assert "# Red\n\nThe **" in html
    swapped = page(client, f"{path}?a={slow}&b={quick}")
    assert ">slow</del>" in swapped
    assert ">quick</ins>" in swapped


@pytest.mark.django_db
def test_markdown_is_marked_as_text_and_shown_rendered_without_marks() -> None:
    client, path, alias = client_of("mina", RICH)
    pair = f"{path}?a={alias[RICH[0]]}&b={alias[RICH[1]]}&view=markdown"
    html = page(client, pair)
    assert "Markdown is shown as text here" in html
    assert '<div class="markdown">' not in html
    html = page(client, f"{pair}&marks=off")
    assert html.count('<div class="markdown">') == 2
    assert 'class="differs"' not in html
    assert "Mark the differences" in html


@pytest.mark.django_db
def test_all_others_are_marked_against_one() -> None:
    client, path, alias = client_of("mina", RICH)
    html = page(client, f"{path}?a={alias[RICH[0]]}")
    assert f'data-said="not in {alias[RICH[0]]}:">slow</ins>' in html
    assert html.count("data-text=") == len(RICH)
    assert "too little in common" in html
    assert "<del" not in html


@pytest.mark.django_db
def test_hostile_differences_pass_the_gate_and_hidden_characters_are_named() -> None:
    texts = [
        "see <script>alert(1)</script> a\u202eb",
        "see <img src=//evil.example onerror=alert(1)> a\u202eb",
        ANSWERS[0],
        "x" * (MAX_CHARACTERS + 1),
    ]
    client, path, alias = client_of("mina", texts)
    a, b = alias[texts[0]], alias[texts[1]]
    for address in (f"?a={a}&b={b}", f"?a={a}&b={b}&view=raw", f"?a={a}", f"?a={b}"):
        html = page(client, path + address)
        shown = html[html.index("<main") :]
        assert not re.search(r"<(script|img|iframe)|[\u202a-\u202e]", shown)
        assert "RLO" in shown
    long = page(client, f"{path}?a={a}&b={alias[texts[3]]}")
    assert "Too long to mark the differences." in long
    assert "x" * 20_000 in long


@pytest.mark.django_db
def test_equal_texts_say_so() -> None:
    client, path, alias = client_of("mina", ["Same  words", "Same words", *ANSWERS[:2]])
    aliases = f"?a={alias['Same  words']}&b={alias['Same words']}"
    assert "Only blanks differ." in page(client, path + aliases)


@pytest.mark.django_db
def test_nobody_compares_what_is_not_theirs_or_not_there() -> None:
    client, path, _ = client_of("mina", ANSWERS)
    for query in ("", "?a=A&b=A", "?a=E", "?a=A&b=E", "?a=a&b=B", "?a=A&b=%3Cb%3E", "?b=A"):
        assert client.get(path + query).status_code == 404, query
    assert client.post(path + "?a=A&b=B").status_code == 405
    other = Client()
    other.force_login(make_labeler("other"))
    assert other.get(path + "?a=A&b=B").status_code == 404
    assert Client().get(path + "?a=A&b=B").status_code == 302


@pytest.mark.django_db
def test_alike_answers_are_named_in_the_api_by_alias_alone() -> None:
    client, _, alias = client_of("mina", ["Just so.", "just so", *ANSWERS[:2]])
    answer = client.post("/api/v1/assignments/next/", {}, content_type="application/json")
    assert answer.json()["alike"] == [sorted([alias["Just so."], alias["just so"]])]
