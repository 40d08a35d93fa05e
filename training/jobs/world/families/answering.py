"""Answering questions: closed (from a passage) and open (from memory)."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from training.jobs.world.family import Details, Family, Messages, another, courteous
from training.jobs.world.lexicon import CITIES, HOBBIES, NAMES
from training.jobs.world.text import capital, share

PASSAGES = (
    "{one} lives in {city_one} and likes {hobby_one}. {two} lives in {city_two} and likes "
    "{hobby_two}. ",
    "In {city_one} we met {one}, who likes {hobby_one}. In {city_two} we met {two}, who likes "
    "{hobby_two}. ",
)
# Each question: how it is put, and the two ways in which it is answered.
WHERE = "Where is {who} at home?"
WHAT = "What does {who} like?"
QUESTIONS = (WHERE, WHAT)
ANSWERS = {
    "city": ("{who} is at home in {answer}.", "The home of {who} is in {answer}."),
    "hobby": ("{who} likes {answer}.", "According to the text, {who} likes {answer}."),
}


class ClosedQuestion(Family):
    """Closed question answering: the passage tells of two people, the question asks for one."""

    name = "closed_qa"
    use_case = "closed qa"
    length = (4, 14)
    prompts = tuple(passage + question for passage in PASSAGES for question in QUESTIONS)
    slots = {
        "one": NAMES,
        "two": NAMES,
        "who": NAMES,
        "city_one": CITIES,
        "city_two": CITIES,
        "hobby_one": HOBBIES,
        "hobby_two": HOBBIES,
    }

    def draw(self, rng: Random) -> Details:
        (one, two), cities = rng.sample(NAMES, 2), rng.sample(CITIES, 2)
        hobbies = rng.sample(HOBBIES, 2)
        return {
            "one": one,
            "two": two,
            "city_one": cities[0],
            "city_two": cities[1],
            "hobby_one": hobbies[0],
            "hobby_two": hobbies[1],
            "who": rng.choice((one, two)),
            "asked": rng.choice(("city", "hobby")),
        }

    def messages(self, details: Details, rng: Random) -> list[dict[str, str]]:
        question = WHERE if details["asked"] == "city" else WHAT
        text = (rng.choice(PASSAGES) + question).format_map(details)
        return [{"role": "user", "content": text}]

    def read(self, messages: Messages) -> Details | None:
        details = super().read(messages)
        if details is None:
            return None
        asked = "city" if messages[0]["content"].rstrip().endswith("at home?") else "hobby"
        return details | {"asked": asked}

    def knows(self, details: Details) -> bool:
        return details["who"] in (details["one"], details["two"])

    def good(self, details: Details, rng: Random) -> str:
        form = rng.choice(ANSWERS[details["asked"]])
        return courteous(rng, form.format(who=details["who"], answer=_answer(details)))

    def partial(self, details: Details, rng: Random) -> str:
        return rng.choice(("It is in the text.", "The text tells us about {who}.")).format_map(
            details
        )

    def distort(self, details: Details, rng: Random) -> Details:
        """The other person's answer, or one that is not in the passage."""
        options = CITIES if details["asked"] == "city" else HOBBIES
        wrong = rng.choice((_answer(details, other=True), another(rng, options, _answer(details))))
        which = "one" if details["who"] == details["one"] else "two"
        return details | {f"{details['asked']}_{which}": wrong}

    def right(self, details: Details, text: str) -> float:
        confused = share(text, [_answer(details, other=True)])
        return share(text, [_answer(details)]) * (1 - 0.5 * confused)

    def complete(self, details: Details, text: str) -> float:
        return share(text, [details["who"], _answer(details)])

    def topic(self, details: Details) -> Sequence[str]:
        return details["who"], _answer(details)


def _answer(details: Details, *, other: bool = False) -> str:
    first = (details["who"] == details["one"]) != other
    return details[f"{details['asked']}_{'one' if first else 'two'}"]


CAPITALS = {
    "Italy": "Rome",
    "France": "Paris",
    "Norway": "Oslo",
    "Spain": "Madrid",
    "Austria": "Vienna",
    "Portugal": "Lisbon",
    "Greece": "Athens",
    "Ireland": "Dublin",
    "Poland": "Warsaw",
    "Egypt": "Cairo",
    "Peru": "Lima",
    "Japan": "Tokyo",
    "Germany": "Berlin",
    "Finland": "Helsinki",
    "Switzerland": "Bern",
}
COLOURS = {
    "a lemon": "yellow",
    "fresh snow": "white",
    "a ripe tomato": "red",
    "young grass": "green",
    "the clear sky": "blue",
    "coal": "black",
    "a carrot": "orange",
    "an elephant": "grey",
}
LEGS = {
    "a cat": "four",
    "a bird": "two",
    "a spider": "eight",
    "a bee": "six",
    "a snake": "no",
    "a horse": "four",
    "a crab": "ten",
    "a person": "two",
}
# Each subject of knowledge: its table, its questions and its answers.
KNOWLEDGE: dict[str, tuple[dict[str, str], tuple[str, ...], tuple[str, ...]]] = {
    "country": (
        CAPITALS,
        ("What is the capital of {country}?", "Which city is the capital of {country}?"),
        ("The capital of {subject} is {answer}.", "{answer} is the capital of {subject}."),
    ),
    "thing": (
        COLOURS,
        ("What colour is {thing}?", "Tell me the colour of {thing}."),
        ("The colour of {subject} is {answer}.", "Usually {subject} is {answer}."),
    ),
    "animal": (
        LEGS,
        ("How many legs does {animal} have?", "Do you know how many legs {animal} has?"),
        ("It is known that {subject} has {answer} legs.", "{subject} has {answer} legs."),
    ),
}


class OpenQuestion(Family):
    """Open question answering: capitals, colours, legs."""

    name = "open_qa"
    use_case = "open qa"
    length = (4, 14)
    prompts = tuple(text for _, texts, _ in KNOWLEDGE.values() for text in texts)
    slots = {kind: tuple(table) for kind, (table, _, _) in KNOWLEDGE.items()}

    def draw(self, rng: Random) -> Details:
        kind = rng.choice(tuple(KNOWLEDGE))
        return {kind: rng.choice(self.slots[kind])}

    def good(self, details: Details, rng: Random) -> str:
        return self._sentence(details, _fact(details)[1], rng)

    def partial(self, details: Details, rng: Random) -> str:
        subject = _fact(details)[0]
        return rng.choice(("I do not know it for {}.", "You asked about {}.")).format(subject)

    def distort(self, details: Details, rng: Random) -> Details:
        kind, table = next(iter(details)), _table(details)
        answer = _fact(details)[1]
        return {kind: details[kind], "answer": another(rng, sorted(set(table.values())), answer)}

    def _sentence(self, details: Details, answer: str, rng: Random) -> str:
        subject, told = _fact(details)[0], details.get("answer", answer)
        form = rng.choice(KNOWLEDGE[next(iter(details))][2])
        return courteous(rng, capital(form.format(subject=subject, answer=told)))

    def right(self, details: Details, text: str) -> float:
        answer = _fact(details)[1]
        false = [other for other in set(_table(details).values()) if other != answer]
        confused = any(share(text, [other]) for other in false)
        return share(text, [answer]) * (0.5 if confused else 1.0)

    def complete(self, details: Details, text: str) -> float:
        return share(text, _fact(details))

    def topic(self, details: Details) -> Sequence[str]:
        return _fact(details)

    def allowed(self, details: Details) -> Sequence[str]:
        return _fact(details)


def _table(details: Details) -> dict[str, str]:
    return KNOWLEDGE[next(iter(details))][0]


def _fact(details: Details) -> tuple[str, str]:
    """The subject of a question and its true answer."""
    subject = next(iter(details.values()))
    return subject, _table(details)[subject]
