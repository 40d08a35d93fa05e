"""Talking with somebody: lists of ideas, and a second turn that must remember the first."""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random

from training.jobs.world.family import Details, Family, Messages, another
from training.jobs.world.lexicon import CITIES, DAYS, HOBBIES, NAMES
from training.jobs.world.template import Template
from training.jobs.world.text import mentions, phrases, share

IDEAS = {
    "a rainy day": phrases(
        "read a book|bake a cake|play cards|watch a film|draw a picture|call a friend"
    ),
    "a birthday party": phrases(
        "light candles|hang up balloons|sing a song|open presents|eat cake|dance together"
    ),
    "a small garden": phrases(
        "plant herbs|grow tomatoes|build a bench|sow flowers|feed the birds|water the roses"
    ),
    "a healthy breakfast": phrases(
        "boil an egg|cut some fruit|cook oats|drink green tea|eat nuts|toast brown bread"
    ),
    "a school trip": phrases(
        "visit a museum|climb a hill|see a castle|take a boat|walk in the woods|tour a farm"
    ),
    "a cheap weekend": phrases(
        "ride a bike|swim in the lake|visit a market|camp outside|cook at home|play football"
    ),
}
COUNTS = {"two": 2, "three": 3, "four": 4}
LEADS = ("Here are {count} ideas:", "Of course! Here are {count} ideas:", "With pleasure:", "")
_LISTED = re.compile(r"^\s*\d+\. *([^.!\n]+)", re.MULTILINE)


class Brainstorm(Family):
    """Brainstorming: as many ideas as asked for, each fit for the occasion, none twice."""

    name = "brainstorm"
    use_case = "brainstorming"
    length = (8, 30)
    prompts = (
        "Give me {count} ideas for {occasion}.",
        "I need {count} ideas for {occasion}. Can you help?",
        "List {count} things to do for {occasion}.",
    )
    slots = {"count": tuple(COUNTS), "occasion": tuple(IDEAS)}

    def good(self, details: Details, rng: Random) -> str:
        return _numbered(details, COUNTS[details["count"]], rng)

    def partial(self, details: Details, rng: Random) -> str:
        return _numbered(details, rng.randrange(1, COUNTS[details["count"]]), rng)

    def distort(self, details: Details, rng: Random) -> Details:
        return details | {"occasion": another(rng, tuple(IDEAS), details["occasion"])}

    def right(self, details: Details, text: str) -> float:
        given = _listed(text)
        return len(set(given) & set(_ideas(details))) / max(len(given), 1)

    def complete(self, details: Details, text: str) -> float:
        given, asked = len(set(_listed(text))), COUNTS[details["count"]]
        return max(0.0, 1 - abs(given - asked) / asked)

    def topic(self, details: Details) -> Sequence[str]:
        return _ideas(details)


def _ideas(details: Details) -> tuple[str, ...]:
    return IDEAS[details["occasion"]]


def _listed(text: str) -> list[str]:
    """The ideas of the numbered lines, without what a line says behind its first sentence."""
    return [idea.strip().lower() for idea in _LISTED.findall(text)]


def _numbered(details: Details, count: int, rng: Random) -> str:
    ideas = rng.sample(_ideas(details), count)
    lead = rng.choice(LEADS).format_map(details)
    lines = [lead] * bool(lead) + [f"{i}. {idea}" for i, idea in enumerate(ideas, 1)]
    return "\n".join(lines) + "."


SLOTS = {"name": NAMES, "hobby": HOBBIES, "city": CITIES, "day": DAYS}
INTRODUCTION = Template("Hello, I am {name} and I like {hobby}.", SLOTS)
WELCOMES = (
    "Nice to meet you, {name}! How can I help you?",
    "Hello {name}! What can I do for you?",
)
REQUESTS = (
    "What could I do in {city} on {day}?",
    "I will be in {city} on {day}. Any idea for me?",
)
REPLIES = (
    "{name}, on {day} you could try {hobby} in {city}.",
    "Perhaps {hobby} is a good idea for {day}, {name}. {city} is great for that.",
    "Since you like {hobby}, {name}, find a club in {city} for {day}.",
    "Thank you for asking, {name}. There is {hobby} in {city} on {day}.",
)
SHORT_REPLIES = (
    "Perhaps {hobby} is a good idea, {name}.",
    "You could try {hobby} in {city}, {name}.",
    "{name}, on {day} there is {hobby}.",
)
KIND_WORDS = (" Have fun, and thank you for asking.", " I hope this helps.", "", "")


class Chat(Family):
    """Chat in two turns: the reply needs the name and the hobby of the first turn."""

    name = "chat"
    use_case = "chat"
    length = (8, 24)
    prompts = REQUESTS
    slots = SLOTS

    def messages(self, details: Details, rng: Random) -> list[dict[str, str]]:
        return [
            {"role": "user", "content": INTRODUCTION.fill(details)},
            {"role": "assistant", "content": rng.choice(WELCOMES).format_map(details)},
            {"role": "user", "content": rng.choice(REQUESTS).format_map(details)},
        ]

    def read(self, messages: Messages) -> Details | None:
        if [message["role"] for message in messages] != ["user", "assistant", "user"]:
            return None
        first = INTRODUCTION.read(messages[0]["content"])
        second = super().read(messages[-1:])
        return first | second if first and second else None

    def good(self, details: Details, rng: Random) -> str:
        return (rng.choice(REPLIES) + rng.choice(KIND_WORDS)).format_map(details)

    def partial(self, details: Details, rng: Random) -> str:
        return rng.choice(SHORT_REPLIES).format_map(details)

    def distort(self, details: Details, rng: Random) -> Details:
        return details | {
            "name": another(rng, NAMES, details["name"]),
            "hobby": another(rng, HOBBIES, details["hobby"]),
        }

    def right(self, details: Details, text: str) -> float:
        return share(text, [details["name"], details["hobby"]])

    def complete(self, details: Details, text: str) -> float:
        return (mentions(text, details["city"]) + mentions(text, details["day"])) / 2

    def topic(self, details: Details) -> Sequence[str]:
        return details["hobby"], details["city"], details["day"]
