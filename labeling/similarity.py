"""How texts resemble each other, word by word. Pure: texts in, parts and groups out.

Differences come of a longest common subsequence of words by RapidFuzz, whose bit-parallel search
has a bounded time for any two texts. What a model wrote may be of any length: past the limits here
nothing is worked out, and the caller is told.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import groupby, pairwise
from typing import NamedTuple

from rapidfuzz.distance import LCSseq

# Nobody reads the marks of more than that; both together bound the time of everything here.
MAX_CHARACTERS = 50_000
MAX_WORDS = 6_000
# Two texts are almost alike with so much of their words in common, in order (docs/decisions/0015).
ALIKE = 0.95
# In shorter ones, a single word is what a labeler has to weigh.
ALIKE_WORDS = 40
# Common words between two differences that are together so many times as long carry no sense of
# their own: one mark over all of it reads better than stripes.
STRIPE = 6
# With less of the shorter text in the other, nearly every word would be marked.
MIN_COMMON = 0.1

# One word each, or several of the same: punctuation and symbols with what is joined to them, and
# the characters of scripts that put no space between words.
_SIGN = (
    r"!-/:-@\[-^`{-~\xa1-\xa9\xab-\xb4\xb6-\xb9\xbb-\xbf\xd7\xf7\u2010-\u2027\u2030-\u205e"
    r"\u20a0-\u20cf\u2190-\u23ff\u3001-\u3030\u303d\u3040-\u30ff\u3400-\u9fff\uff01-\uff20"
    r"\uff3b-\uff40\uff5b-\uff65\U00020000-\U0003ffff"
)
_JOINED = r"\u0300-\u036f\u200d\u20e3\u3099\u309a\ufe00-\ufe0f"
_WORD = re.compile(rf"([{_SIGN}])\1*[{_JOINED}]*|[^\s{_SIGN}]+")
# Before and after a word these open or end a sentence; inside of it they are its own.
_OPENING, _CLOSING = "\"'(", ".,;:!?\"')…"
_QUOTES = str.maketrans("\u2018\u2019\u201c\u201d\xab\xbb", '\'\'""""')
# Words that turn a sentence around, in the languages of the pages. Numbers do so in any.
_DECISIVE = re.compile(
    r"\d|^(?:no|nor|not|none|never|neither|without|cannot|t|yes)$|[안않못없]|아니"
)


class TooLong(Exception):
    """The differences of such long texts are not looked for."""


class Part(NamedTuple):
    """A piece of a text, and whether the other text lacks it."""

    text: str
    differs: bool


def differences(a: str, b: str) -> tuple[list[Part], list[Part]]:
    """Both texts in parts, whole and in order; what only one of them has differs.

    Blanks alone make no difference.

    Raises:
        TooLong: one of them has more than ``MAX_CHARACTERS`` or ``MAX_WORDS``.
    """
    spans_a, spans_b = _spans(a), _spans(b)
    marks_a, marks_b = [True] * len(spans_a), [True] * len(spans_b)
    for start_a, start_b, size in _common(_cut(a, spans_a), _cut(b, spans_b)):
        marks_a[start_a : start_a + size] = marks_b[start_b : start_b + size] = [False] * size
    return list(_parts(a, spans_a, marks_a)), list(_parts(b, spans_b, marks_b))


def share_little(a: list[Part], b: list[Part]) -> bool:
    """Whether the marks of ``differences`` would cover nearly all of both texts."""
    common = sum(len(_found(part.text)) for part in a if not part.differs)
    shorter = min(sum(len(_found(part.text)) for part in parts) for parts in (a, b))
    return common < MIN_COMMON * shorter


def _spans(text: str) -> list[tuple[int, int]]:
    if len(text) > MAX_CHARACTERS:
        raise TooLong
    spans = [match.span() for match in _WORD.finditer(text)]
    if len(spans) > MAX_WORDS:
        raise TooLong
    return spans


def _found(text: str) -> list[str]:
    return [match[0] for match in _WORD.finditer(text)]


def _cut(text: str, spans: list[tuple[int, int]]) -> list[str]:
    return [text[start:end] for start, end in spans]


def _common(a: list[str], b: list[str]) -> list[tuple[int, int, int]]:
    """Runs of words that both have, as (place in a, place in b, length), without stripes."""
    runs = [
        (o.src_start, o.dest_start, o.src_end - o.src_start)
        for o in LCSseq.opcodes(a, b)
        if o.tag == "equal"
    ]
    kept: list[tuple[int, int, int]] = []
    for run, following in pairwise([*runs, (len(a), len(b), 0)]):
        before = _gap(kept[-1] if kept else (0, 0, 0), run)
        if not _is_stripe(run[2], before, _gap(run, following)):
            kept.append(run)
    return kept


def _gap(run: tuple[int, int, int], following: tuple[int, int, int]) -> int:
    """Words between two runs, in the text that has more of them."""
    return max(following[0] - run[0] - run[2], following[1] - run[1] - run[2])


def _is_stripe(size: int, before: int, after: int) -> bool:
    return min(before, after) >= size and before + after >= STRIPE * size


def _parts(text: str, spans: list[tuple[int, int]], marks: list[bool]) -> Iterator[Part]:
    """Differing words with the blanks among them; blanks around them stay with the others."""
    done = 0
    for differs, run in groupby(zip(spans, marks, strict=True), key=lambda pair: pair[1]):
        if not differs:
            continue
        (start, end), *others = [span for span, _ in run]
        end = others[-1][1] if others else end
        if text[done:start]:
            yield Part(text[done:start], False)
        yield Part(text[start:end], True)
        done = end
    if text[done:]:
        yield Part(text[done:], False)


def alike(texts: Mapping[str, str]) -> list[list[str]]:
    """Groups of names whose texts say the same in nearly the same words, each group in order.

    Texts are alike when they are equal but for case, blanks and the signs that end or open a
    sentence; or when both are long, have ``ALIKE`` of their words in common and no number or
    negation among the others. Within a group every text is alike to every other. Longer texts than
    ``MAX_CHARACTERS`` or ``MAX_WORDS`` are alike only when equal.
    """
    groups: list[list[tuple[str, list[str]]]] = []
    for name, text in texts.items():
        words = _plain_words(text)
        home = next((g for g in groups if all(_are_alike(words, w) for _, w in g)), None)
        if home is None:
            groups.append(home := [])
        home.append((name, words))
    return [[name for name, _ in group] for group in groups if len(group) > 1]


def _plain_words(text: str) -> list[str]:
    if len(text) > MAX_CHARACTERS:
        return [text]
    pieces = text.translate(_QUOTES).casefold().split()
    plain = " ".join(piece.lstrip(_OPENING).rstrip(_CLOSING) for piece in pieces)
    words = _found(plain)
    # Nothing but signs is not the same as nothing.
    return words if 0 < len(words) <= MAX_WORDS else [text]


def _are_alike(a: list[str], b: list[str]) -> bool:
    if a == b:
        return True
    if min(len(a), len(b)) < ALIKE_WORDS:
        return False
    return LCSseq.similarity(a, b) >= ALIKE * (len(a) + len(b)) / 2 and not _is_decisive(a, b)


def _is_decisive(a: list[str], b: list[str]) -> bool:
    changes = [o for o in LCSseq.opcodes(a, b) if o.tag != "equal"]
    words = [w for o in changes for w in a[o.src_start : o.src_end] + b[o.dest_start : o.dest_end]]
    return any(map(_DECISIVE.search, words))
