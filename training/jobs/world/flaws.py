"""The ways in which an answer goes wrong, by name: each turns a good answer into a flawed one."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from training.jobs.world.families import FAMILIES
from training.jobs.world.family import Details, Family
from training.jobs.world.text import COURTESIES, mentions, sentences

Flaw = Callable[[Family, Details, str, Random], str]

RUDE_BEFORE = ("What a silly question.", "Do it yourself next time.", "You are so lazy.")
RUDE_AFTER = ("Now leave me alone!", "I do not care.", "You fool!")
HEDGING = ("I am not sure.", "It might be so, perhaps.", "I guess so, maybe.", "Possibly, I think.")
PADDING = (
    "There is much that one could say about this.",
    "As everybody knows, every case has more than one side.",
    "It is good to look at such things with care and with time.",
    "Many people ask about things like this every day.",
)


def wrong(family: Family, details: Details, good: str, rng: Random) -> str:
    """The answer to other details."""
    return family.good(family.distort(details, rng), rng)


def incomplete(family: Family, details: Details, good: str, rng: Random) -> str:
    return family.partial(details, rng)


def rude(family: Family, details: Details, good: str, rng: Random) -> str:
    """The same answer from somebody who resents the question, and who breaks up a numbered list."""
    kept = [line for line in sentences(good) if not any(mentions(line, c) for c in COURTESIES)]
    body = good if len(kept) < 2 else "\n".join(kept) if "\n" in good else " ".join(kept)
    if rng.random() < 0.5:
        return f"{rng.choice(RUDE_BEFORE)} {body}"
    return f"{body} {rng.choice(RUDE_AFTER)}"


def off_topic(family: Family, details: Details, good: str, rng: Random) -> str:
    """A good answer to a task of another family."""
    other = FAMILIES[rng.choice([name for name in FAMILIES if name != family.name])]
    return other.good(other.draw(rng), rng)


def invented(family: Family, details: Details, good: str, rng: Random) -> str:
    return family.invent(details, good, rng)


def repeated(family: Family, details: Details, good: str, rng: Random) -> str:
    """Said two or three times over."""
    return " ".join([good] * rng.choice((2, 3)))


def cut_off(family: Family, details: Details, good: str, rng: Random) -> str:
    """Stopped in the middle of a sentence."""
    parts = good.split(" ")
    kept = parts[: max(1, int(len(parts) * rng.uniform(0.4, 0.9)))]
    return " ".join(kept).rstrip(".!?]\n")


def hedged(family: Family, details: Details, good: str, rng: Random) -> str:
    """Every second word a doubt."""
    return f"{good} {' '.join(rng.sample(HEDGING, rng.choice((2, 3))))}"


def wordy(family: Family, details: Details, good: str, rng: Random) -> str:
    """Much more than was asked for."""
    return f"{' '.join(rng.sample(PADDING, rng.choice((3, 4))))} {good}"


FLAWS: dict[str, Flaw] = {
    "wrong": wrong,
    "incomplete": incomplete,
    "rude": rude,
    "off topic": off_topic,
    "invented": invented,
    "repeated": repeated,
    "cut off": cut_off,
    "hedged": hedged,
    "wordy": wordy,
}
