"""Writing for somebody: a short note with the required details, and a rude request made polite."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from training.jobs.world.family import Details, Family, another
from training.jobs.world.lexicon import DAYS, EVENTS, ITEMS, NAMES, PLACES
from training.jobs.world.text import mentions, share

FORMS = ("note", "message", "letter", "e-mail")
GREETINGS = ("Dear {name},\n", "Hello {name},\n", "Hi {name},\n")
INVITATIONS = (
    "I would like to invite you to the {event}. It is on {day} at the {place}.",
    "the {event} is on {day} at the {place}. I hope that you can come.",
    "please come to the {event} at the {place} on {day}.",
    "on {day} we have the {event} at the {place}. Perhaps you would like to join us.",
)
SHORT_INVITATIONS = (
    "I would like to invite you to the {event}.",
    "the {event} is on {day}.",
    "please come to the {event} at the {place}.",
)
SIGNATURES = ("\nBest wishes.", "\nKind regards.", "\nSee you soon!", "\nThank you!")


class Note(Family):
    """Generation: a note, message, letter or e-mail that must carry four details."""

    name = "note"
    use_case = "generation"
    length = (14, 34)
    prompts = (
        "Write a short {form} to {name} about the {event} on {day} at the {place}.",
        "Please write a {form} that invites {name} to the {event} at the {place} on {day}.",
        "I need a {form} for {name}. It must say that the {event} is at the {place} on {day}.",
    )
    slots = {"form": FORMS, "name": NAMES, "event": EVENTS, "day": DAYS, "place": PLACES}

    def good(self, details: Details, rng: Random) -> str:
        parts = rng.choice(GREETINGS), rng.choice(INVITATIONS), rng.choice(SIGNATURES)
        return "".join(parts).format_map(details)

    def partial(self, details: Details, rng: Random) -> str:
        parts = rng.choice(GREETINGS), rng.choice(SHORT_INVITATIONS), rng.choice(SIGNATURES)
        return "".join(parts).format_map(details)

    def distort(self, details: Details, rng: Random) -> Details:
        return details | {
            "name": another(rng, NAMES, details["name"]),
            "event": another(rng, EVENTS, details["event"]),
        }

    def right(self, details: Details, text: str) -> float:
        return share(text, [details["name"], details["event"]])

    def complete(self, details: Details, text: str) -> float:
        return share(text, [details["day"], details["place"]])

    def topic(self, details: Details) -> Sequence[str]:
        return details["event"], details["place"]


VERBS = ("bring me", "send me", "show me", "give me", "lend me", "find me")
TIMES = ("today", "tomorrow", "this evening", "before lunch", "after work", "by noon", "next week")
ASKS = ("Make this polite: ", "Rewrite this in a polite way: ", "Say this more kindly: ")
DEMANDS = (
    "You must {verb} the {item} {time}, you fool!",
    "Hurry up and {verb} the {item} {time}!",
    "Are you stupid? Just {verb} the {item} {time}!",
    "I want you to {verb} the {item} {time}, or else!",
)
REQUESTS = (
    "Could you please {verb} the {item} {time}? Thank you.",
    "Would you be so kind as to {verb} the {item} {time}?",
    "I would be grateful if you could {verb} the {item} {time}.",
    "Perhaps you could {verb} the {item} {time}, please.",
)
SHORT_REQUESTS = ("Could you please {verb} the {item}? Thank you.", "The {item}, please.")


class Rewrite(Family):
    """Rewriting: the same request without the rudeness."""

    name = "rewrite"
    use_case = "rewrite"
    length = (8, 20)
    prompts = tuple(ask + demand for ask in ASKS for demand in DEMANDS)
    slots = {"verb": VERBS, "item": ITEMS, "time": TIMES}

    def good(self, details: Details, rng: Random) -> str:
        return rng.choice(REQUESTS).format_map(details)

    def partial(self, details: Details, rng: Random) -> str:
        return rng.choice(SHORT_REQUESTS).format_map(details)

    def distort(self, details: Details, rng: Random) -> Details:
        return details | {
            "verb": another(rng, VERBS, details["verb"]),
            "item": another(rng, ITEMS, details["item"]),
        }

    def right(self, details: Details, text: str) -> float:
        return share(text, [details["verb"], details["item"]])

    def complete(self, details: Details, text: str) -> float:
        asks = any(mentions(text, word) for word in ("could you", "would you", "you could"))
        return (mentions(text, details["time"]) + asks) / 2

    def topic(self, details: Details) -> Sequence[str]:
        return (details["item"],)
