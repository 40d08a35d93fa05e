"""Rankings held against known answers, by hand-computed values; versions of texts and rubrics."""

from __future__ import annotations

import math
from typing import Any

import pytest

from labeling.changes import MAX_LINES, changed_lines
from labeling.errors import InvalidInput
from labeling.marking import kendall_tau_b, mark, mean, wilson
from labeling.models import default_rubric
from labeling.rubric import check_rubric
from labeling.similarity import MAX_CHARACTERS, TooLong

BEST_FIRST = {0: 1, 1: 2, 2: 3, 3: 4}


def ranks(*places: int) -> dict[int, int]:
    return dict(enumerate(places))


@pytest.mark.parametrize(
    ("given", "right", "wrong", "tied", "agreement"),
    [
        ((1, 2, 3, 4), 6, 0, 0, 1.0),
        ((4, 3, 2, 1), 0, 6, 0, 0.0),
        ((2, 1, 3, 4), 5, 1, 0, 5 / 6),
        ((1, 1, 1, 1), 0, 0, 6, 0.5),
        ((1, 1, 3, 4), 5, 0, 1, 5.5 / 6),
        ((1, 3, 4, 4), 5, 0, 1, 5.5 / 6),
    ],
)
def test_pairs_are_counted_as_right_wrong_and_tied(
    given: tuple[int, ...], right: int, wrong: int, tied: int, agreement: float
) -> None:
    found = mark(BEST_FIRST, ranks(*given))
    assert (found.right, found.wrong, found.tied) == (right, wrong, tied)
    assert found.agreement == pytest.approx(agreement)


def test_pairs_that_the_known_answer_ties_are_not_asked() -> None:
    expected = ranks(1, 1, 3, 4)
    for given in [(1, 2, 3, 4), (2, 1, 3, 4), (1, 1, 3, 4)]:
        assert mark(expected, ranks(*given))[:3] == (5, 0, 0)


@pytest.mark.parametrize(
    ("a", "b", "tau"),
    [
        ((1, 2, 3, 4), (1, 2, 3, 4), 1.0),
        ((1, 2, 3, 4), (4, 3, 2, 1), -1.0),
        # 5 of 6 pairs agree, 1 is tied in b: 5 / sqrt(6 * 5).
        ((1, 2, 3, 4), (1, 1, 3, 4), 5 / math.sqrt(30)),
        ((1, 2, 3, 4), (1, 1, 1, 1), None),
    ],
)
def test_tau_b_corrects_for_ties(a: tuple[int, ...], b: tuple[int, ...], tau: float | None) -> None:
    assert kendall_tau_b(ranks(*a), ranks(*b)) == (None if tau is None else pytest.approx(tau))


def test_wilson_intervals_are_those_of_the_book() -> None:
    # 8 of 10: 0.490 to 0.943 (Agresti and Coull 1998).
    low, high = wilson(0.8, 10)
    assert (round(low, 3), round(high, 3)) == (0.490, 0.943)
    assert wilson(1.0, 20).high == 1.0
    assert wilson(1.0, 20).low == pytest.approx(0.8389, abs=1e-4)
    assert wilson(0.5, 0) == (0.0, 1.0)
    assert mean([]) is None


# --- what changed in a text -----------------------------------------------------------------------


def shown(before: str, after: str) -> list[tuple[str, str]]:
    """Kind and text of each line, changed words in brackets."""
    return [
        (line.kind, "".join(f"[{p.text}]" if p.differs else p.text for p in line.parts))
        for line in changed_lines(before, after)
    ]


def test_a_changed_line_is_shown_before_and_now_with_its_words_marked() -> None:
    assert shown("Truth first.\nBe kind.", "Truth comes first.\nBe kind.") == [
        ("removed", "Truth first."),
        ("added", "Truth [comes] first."),
        ("same", "Be kind."),
    ]


def test_what_is_far_from_a_change_is_left_out_and_counted() -> None:
    before = "\n".join(f"line {n}" for n in range(20))
    lines = changed_lines(before, before + "\nnew")
    assert [(line.kind, line.left_out) for line in lines] == [
        ("gap", 19),
        ("same", 0),
        ("added", 0),
    ]


def test_both_texts_can_be_put_together_again_from_the_lines() -> None:
    before = "a b\nc\n\nd e f\ng"
    after = "a x b\n\nd f\nnew\ng h"
    lines = shown(before, after)
    strip = str.maketrans("", "", "[]")
    assert "\n".join(t for k, t in lines if k != "added").translate(strip) == before
    assert "\n".join(t for k, t in lines if k != "removed").translate(strip) == after


def test_texts_without_bounds_are_not_compared() -> None:
    with pytest.raises(TooLong):
        changed_lines("a", "b" * (MAX_CHARACTERS + 1))
    assert changed_lines("same", "same") == changed_lines("same", "same")
    with pytest.raises(TooLong):
        changed_lines("a", "b\n" * (MAX_LINES + 1))


# --- rubrics --------------------------------------------------------------------------------------


def rubric(*flags: tuple[str, str], low: Any = 1, high: Any = 7) -> dict[str, Any]:
    listed = [{"name": name, "label": label} for name, label in flags]
    return {"quality": {"low": low, "high": high}, "flags": listed}


def test_the_default_rubric_can_be_asked() -> None:
    assert check_rubric(default_rubric()) == default_rubric()


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ([], "object"),
        ({"quality": 7, "flags": []}, "1..7"),
        (rubric(low=True), "whole numbers"),
        (rubric(low=0), "1..7"),
        (rubric(high=8), "1..7"),
        (rubric(low=3, high=3), "1..7"),
        ({**rubric(), "flags": ["toxic"]}, "list of objects"),
        (rubric(("Off Topic", "Is off")), "no name"),
        (rubric(("off__topic", "Is off")), "no name"),
        (rubric(("1st", "First")), "no name"),
        (rubric(("a" * 41, "Long")), "no name"),
        (rubric(("off", " ")), "list of objects"),
        (rubric(("off", "Is off"), ("off", "Is on")), "same name"),
        (rubric(("off", "Is off"), ("on", "is  OFF")), "same wording"),
        (rubric(*((f"f{n}", f"Flag {n}") for n in range(41))), "40 flags"),
    ],
)
def test_a_rubric_that_cannot_be_asked_is_refused(bad: Any, why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        check_rubric(bad)


def test_a_removed_name_never_comes_back_with_another_meaning() -> None:
    first = rubric(("toxic", "Is toxic"), ("rude", "Is rude"))
    second = rubric(("toxic", "Insults somebody"))
    # Present, it may be worded anew; gone, it may only come back as what it was last.
    assert check_rubric(second, [first])
    with pytest.raises(InvalidInput, match="meant “Is rude”"):
        check_rubric(rubric(("rude", "Uses slang")), [first, second])
    assert check_rubric(rubric(("rude", "Is rude")), [first, second])
