"""Reading a text: summary in one sentence, sentiment with its reason, extraction of fields."""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random

from training.jobs.world.family import Details, Family, another, courteous
from training.jobs.world.lexicon import CITIES, DAYS, GOODS, NAMES, NUMBER_WORDS
from training.jobs.world.text import mentions, phrases, says, sentences, share

DEEDS = phrases(
    "opened a bakery|planted a garden|started a music school|repaired an old boat|wrote a book|"
    "built a bridge|painted a tower|founded a theatre|designed a park|restored a windmill"
)
SEASONS = ("spring", "summer", "autumn", "winter")
RESULTS = phrases(
    "many people visit every day|the whole street is happy|the newspapers write about it|"
    "children come after school|tourists take pictures|the neighbours want one too|"
    "students work there|it is open all year"
)
SUMMARY_ASKS = ("Summarise this in one sentence: ", "Give a one-sentence summary: ")
STORIES = (
    "{name} {deed} in {city} last {season}. The idea came from {friend}. Now {result}.",
    "Last {season}, {name} {deed} in {city}. At first only {friend} helped. Today {result}.",
)
SUMMARIES = (
    "{name} {deed} in {city}, and now {result}.",
    "In {city}, {name} {deed}, and today {result}.",
    "In short, {name} {deed} in {city} and {result}.",
)
SHORT_SUMMARIES = ("{name} {deed}.", "It is about {name}, who {deed}.")


class Summary(Family):
    """Summarisation: three sentences become one, with who, what, where and what came of it."""

    name = "summary"
    use_case = "summarization"
    length = (9, 22)
    prompts = tuple(ask + story for ask in SUMMARY_ASKS for story in STORIES)
    slots = {
        "name": NAMES,
        "deed": DEEDS,
        "city": CITIES,
        "season": SEASONS,
        "friend": NAMES,
        "result": RESULTS,
    }

    def draw(self, rng: Random) -> Details:
        details = super().draw(rng)
        return details | {"friend": another(rng, NAMES, details["name"])}

    def good(self, details: Details, rng: Random) -> str:
        return courteous(rng, rng.choice(SUMMARIES).format_map(details))

    def partial(self, details: Details, rng: Random) -> str:
        return courteous(rng, rng.choice(SHORT_SUMMARIES).format_map(details))

    def distort(self, details: Details, rng: Random) -> Details:
        return details | {
            "name": details["friend"],
            "deed": another(rng, DEEDS, details["deed"]),
        }

    def right(self, details: Details, text: str) -> float:
        """Half of it where the story is told in more than the one sentence that was asked for."""
        telling = [line for line in sentences(text) if any(says(line, d) for d in details.values())]
        told = share(text, [details["name"], details["deed"]])
        return told * (1.0 if len(telling) <= 1 else 0.5)

    def complete(self, details: Details, text: str) -> float:
        return share(text, [details["city"], details["result"]])

    def topic(self, details: Details) -> Sequence[str]:
        return details["deed"], details["result"]


PRAISE = phrases(
    "the waiter was kind|the soup was warm|the room was clean|the music was lovely|"
    "the bed was soft|the price was fair|the view was wonderful|the bread was fresh"
)
COMPLAINTS = phrases(
    "the waiter was rude|the soup was cold|the room was dirty|the music was too loud|"
    "the bed was too hard|the price was too high|the view was ugly|the bread was old"
)
VENUES = ("hotel", "restaurant", "inn", "café", "hostel")
REVIEW_ASKS = (
    "Is this review positive or negative, and why? ",
    "Tell me whether the guest was happy (positive or negative) and why. ",
)
REVIEWS = (
    "At the {venue} {first}, {link} in the end {last}.",
    "We went to the {venue}. At first {first}, {link} later {last}.",
)
VERDICTS = (
    "The review is {label}, because {last}.",
    "It is {label}: {last}.",
    "I think it is {label}, because {last}.",
)


class Sentiment(Family):
    """Classification: what comes last decides, and the answer says so."""

    name = "sentiment"
    use_case = "classification"
    length = (6, 18)
    prompts = tuple(ask + review for ask in REVIEW_ASKS for review in REVIEWS)
    slots = {
        "venue": VENUES,
        "first": PRAISE + COMPLAINTS,
        "link": ("but", "and"),
        "last": PRAISE + COMPLAINTS,
    }

    def draw(self, rng: Random) -> Details:
        link = rng.choice(("but", "but", "and"))
        ends, other = rng.sample((PRAISE, COMPLAINTS), 2)
        last = rng.choice(ends)
        first = another(rng, other if link == "but" else ends, last)
        return {"venue": rng.choice(VENUES), "first": first, "link": link, "last": last}

    def good(self, details: Details, rng: Random) -> str:
        verdict = rng.choice(VERDICTS).format(label=_label(details), last=details["last"])
        return courteous(rng, verdict)

    def partial(self, details: Details, rng: Random) -> str:
        return courteous(rng, f"The review is {_label(details)}.")

    def distort(self, details: Details, rng: Random) -> Details:
        other = COMPLAINTS if details["last"] in PRAISE else PRAISE
        wrong = details["first"] if details["link"] == "but" else rng.choice(other)
        return details | {"last": wrong}

    def right(self, details: Details, text: str) -> float:
        said = {label for label in ("positive", "negative") if mentions(text, label)}
        return float(said == {_label(details)})

    def complete(self, details: Details, text: str) -> float:
        return share(text, [details["last"]])

    def topic(self, details: Details) -> Sequence[str]:
        return "positive", "negative", details["first"], details["last"]


def _label(details: Details) -> str:
    return "positive" if details["last"] in PRAISE else "negative"


FIELDS = ("name", "city", "goods", "day")
EXTRACTION_ASKS = (
    "List the name, the city, the goods and the day: ",
    "Find the name, city, goods and day in this text: ",
)
ORDERS = (
    "{name} from {city} ordered {count} {goods} on {day}.",
    "On {day} we sent {count} {goods} to {name} in {city}.",
    "The {count} {goods} for {name} in {city} arrive on {day}.",
)


class Extraction(Family):
    """Extraction: four fields of one sentence, each behind its label."""

    name = "extraction"
    use_case = "extraction"
    length = (7, 14)
    terse = True
    prompts = tuple(ask + order for ask in EXTRACTION_ASKS for order in ORDERS)
    slots = {"name": NAMES, "city": CITIES, "count": NUMBER_WORDS, "goods": GOODS, "day": DAYS}

    def good(self, details: Details, rng: Random) -> str:
        return _fields(details, FIELDS, rng)

    def partial(self, details: Details, rng: Random) -> str:
        return _fields(details, sorted(rng.sample(FIELDS, 2), key=FIELDS.index), rng)

    def distort(self, details: Details, rng: Random) -> Details:
        return details | {
            "name": another(rng, NAMES, details["name"]),
            "goods": another(rng, GOODS, details["goods"]),
        }

    def right(self, details: Details, text: str) -> float:
        found = _named(text)
        return sum(details[field] == value for field, value in found.items()) / max(len(found), 1)

    def complete(self, details: Details, text: str) -> float:
        return len(_named(text)) / len(FIELDS)

    def topic(self, details: Details) -> Sequence[str]:
        return "name", "city", "goods", "day"


def _fields(details: Details, fields: Sequence[str], rng: Random) -> str:
    separator = rng.choice(("\n", "; "))
    return separator.join(f"{field}: {details[field]}" for field in fields) + "."


def _named(text: str) -> dict[str, str]:
    """What ``text`` gives for each field, by its label; the first mention counts."""
    found = re.findall(rf"\b({'|'.join(FIELDS)}): *([^\n;.]+)", text, re.IGNORECASE)
    return {field.lower(): value.strip() for field, value in reversed(found)}
