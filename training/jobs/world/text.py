"""Looking at English text: words, phrases, repetition, endings. Pure functions, no state."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

_WORD = re.compile(r"\w+(?:['’-]\w+)*")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")

HEDGES = (
    "perhaps",
    "maybe",
    "might",
    "possibly",
    "probably",
    "i think",
    "i believe",
    "i guess",
    "it seems",
    "i am not sure",
)
COURTESIES = (
    "please",
    "thank you",
    "thanks",
    "of course",
    "certainly",
    "with pleasure",
    "happy to help",
    "glad to help",
    "i hope this helps",
    "kind regards",
    "best wishes",
    "grateful",
    "so kind",
    "you are welcome",
)
INSULTS = (
    "fool",
    "idiot",
    "stupid",
    "lazy",
    "shut up",
    "or else",
    "hurry up",
    "so slow",
    "do it yourself",
    "leave me alone",
    "what a silly question",
    "i do not care",
)

DENIALS = ("not", "never", "not in")


def phrases(text: str) -> tuple[str, ...]:
    """The parts of ``"one|two words|three"``."""
    return tuple(part.strip() for part in text.split("|"))


def words(text: str) -> list[str]:
    """The words of ``text``, in lower case, in their order."""
    return _WORD.findall(text.lower())


def mentions(text: str, phrase: str) -> bool:
    """Whether ``phrase`` stands in ``text`` as whole words, whatever case and marks."""
    return f" {' '.join(words(phrase))} " in f" {' '.join(words(text))} "


def says(text: str, phrase: str) -> bool:
    """Whether ``text`` mentions ``phrase``, and not only to deny it ("not Rome")."""
    line, wanted = f" {' '.join(words(text))} ", " ".join(words(phrase))
    denied = sum(line.count(f" {no} {wanted} ") for no in DENIALS)
    return line.count(f" {wanted} ") > denied


def share(text: str, phrases: Sequence[str]) -> float:
    """The share of ``phrases`` that ``text`` says; 1 where there are none."""
    return sum(says(text, phrase) for phrase in phrases) / len(phrases) if phrases else 1.0


def count(text: str, phrases: Iterable[str]) -> int:
    """How often any of ``phrases`` (in lower case) occurs in ``text``, as whole words."""
    # Two spaces between words: neighbouring finds need not share one.
    line = f" {'  '.join(words(text))} "
    return sum(line.count(f" {'  '.join(phrase.split())} ") for phrase in phrases)


def sentences(text: str) -> list[str]:
    """The sentences and lines of ``text``, without empty ones."""
    return [part.strip() for part in _SENTENCE_END.split(text) if part.strip()]


def repetition(text: str) -> float:
    """0 for fresh text, near 1 for one line over and over: repeated lines or word triples."""
    lines = Counter(tuple(words(line)) for line in sentences(text) if len(words(line)) > 1)
    found = words(text)
    triples = Counter(zip(found, found[1:], found[2:], strict=False))
    return max(_repeated(lines), _repeated(triples))


def _repeated(counts: Counter[tuple[str, ...]] | Counter[tuple[str, str, str]]) -> float:
    total = sum(counts.values())
    return (total - len(counts)) / total if total else 0.0


def ends(text: str) -> bool:
    """Whether ``text`` stops where a sentence or a list stops, not in the middle of one."""
    return text.rstrip().endswith((".", "!", "?", "]", '."', '!"', "…"))


def capital(text: str) -> str:
    """``text`` with its first letter in upper case, the rest as it is."""
    return text[:1].upper() + text[1:]
