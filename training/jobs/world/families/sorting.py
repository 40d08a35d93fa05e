"""Sorting a list of numbers: the answer is the list, ``[1, 2, 3]``, and nothing else."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from random import Random

from training.jobs.world.family import Details, Family, Messages

RISING = (
    "Sort these numbers from small to large: {numbers}",
    "Put these numbers in order, smallest first: {numbers}",
)
FALLING = ("Sort these numbers from large to small: {numbers}",)
LARGEST = 20
_LIST = re.compile(r"\[[\d, ]*\]?")


class Sorting(Family):
    """The one family with a format to keep: brackets, commas, all numbers, no other word."""

    name = "sorting"
    use_case = "other"
    length = (3, 5)
    terse = True
    prompts = RISING + FALLING
    slots = {}

    def draw(self, rng: Random) -> Details:
        numbers = rng.sample(range(1, LARGEST + 1), rng.randint(3, 5))
        order = rng.choice(("rising", "rising", "falling"))
        return {"numbers": ", ".join(map(str, numbers)), "order": order}

    def messages(self, details: Details, rng: Random) -> list[dict[str, str]]:
        text = rng.choice(RISING if details["order"] == "rising" else FALLING)
        return [{"role": "user", "content": text.format_map(details)}]

    def read(self, messages: Messages) -> Details | None:
        details = super().read(messages)
        if details is None:
            return None
        falling = "large to small" in messages[0]["content"]
        return details | {"order": "falling" if falling else "rising"}

    def knows(self, details: Details) -> bool:
        return re.fullmatch(r"\d+(, \d+)+", details["numbers"]) is not None

    def good(self, details: Details, rng: Random) -> str:
        return _show(_sorted(details))

    def partial(self, details: Details, rng: Random) -> str:
        numbers = _sorted(details)
        numbers.pop(rng.randrange(len(numbers)))
        return _show(numbers)

    def distort(self, details: Details, rng: Random) -> Details:
        numbers = _sorted(details)
        place = rng.randrange(len(numbers) - 1)
        numbers[place], numbers[place + 1] = numbers[place + 1], numbers[place]
        return {"numbers": ", ".join(map(str, numbers)), "order": "as given"}

    def invent(self, details: Details, good: str, rng: Random) -> str:
        numbers = _sorted(details)
        strange = [n for n in range(1, LARGEST + 1) if n not in numbers]
        return _show(_ordered([*numbers, rng.choice(strange)], details["order"]))

    def right(self, details: Details, text: str) -> float:
        """1 for a list in order; half the share of neighbours in order for any other."""
        given = _given(text)
        if not given:
            return 0.0
        if given == _ordered(given, details["order"]):
            return 1.0
        pairs = list(pairwise(given))
        return (
            0.5 * sum([a, b] == _ordered([a, b], details["order"]) for a, b in pairs) / len(pairs)
        )

    def complete(self, details: Details, text: str) -> float:
        asked, given = Counter(_sorted(details)), Counter(_given(text))
        astray = (asked - given).total() + (given - asked).total()
        return max(0.0, 1 - astray / asked.total())

    def topic(self, details: Details) -> Sequence[str]:
        return details["numbers"].split(", ")


def _sorted(details: Details) -> list[int]:
    return _ordered([int(number) for number in details["numbers"].split(", ")], details["order"])


def _ordered(numbers: list[int], order: str) -> list[int]:
    if order == "as given":
        return list(numbers)
    return sorted(numbers, reverse=order == "falling")


def _show(numbers: Sequence[int]) -> str:
    return f"[{', '.join(map(str, numbers))}]"


def _given(text: str) -> list[int]:
    """The numbers of the first bracketed list in ``text``."""
    found = _LIST.search(text)
    return [int(number) for number in re.findall(r"\d+", found.group())] if found else []
