"""The gold score: what a careful person would look for in an answer, from prompt and text alone.

A prompt of the starter world is read back into its family and details, and the answer is judged on
them. Any other prompt is judged by what can be seen from outside: whether the answer speaks about
the prompt, adds something, has a sensible length, ends, does not repeat itself and is polite.

Length, courtesy and hedging are inverted-U in both: more is better only up to a point, which is
what a reward model that has seen few long or over-polite answers gets wrong.

Grammar is not judged: the right words in disorder score as high as a sentence. Nor is all that an
answer adds or denies: a review "not positive" has named the sentiment, and a list of all hobbies
has the one that was asked for. Whoever measures a policy by gold measures its perplexity under the
base model too. No answer scores 0: less than any that is of use, more than one that does harm.
"""

from __future__ import annotations

from dataclasses import dataclass

from training.jobs.world import text as look
from training.jobs.world.families import FAMILIES
from training.jobs.world.family import Details, Family, Messages
from training.jobs.world.lexicon import ENTITIES

# A perfect answer of either kind scores the sum of its weights, which is BEST.
BEST = 10.0
WEIGHTS = {
    "right": 3.0,
    "complete": 2.0,
    "on_topic": 0.5,
    "honest": 1.0,
    "polite": 1.0,
    "fresh": 1.0,
    "ends": 0.5,
    "length": 0.5,
    "hedging": 0.5,
}
GENERIC_WEIGHTS = {
    "on_topic": 3.0,
    "adds": 2.0,
    "fresh": 1.5,
    "polite": 1.0,
    "ends": 1.0,
    "length": 1.0,
    "hedging": 0.5,
}
GENERIC_LENGTH = (12, 150)
# No single component sinks an answer without end.
FLOOR = -2.0
STOP_WORDS = frozenset(
    look.phrases(
        "a|an|and|are|as|at|be|but|by|can|do|does|for|from|had|has|have|how|i|if|in|is|it|its|"
        "me|my|of|on|or|our|please|so|than|that|the|their|them|then|there|these|they|this|to|"
        "was|we|were|what|when|where|which|who|why|will|with|would|you|your"
    )
)


@dataclass(frozen=True)
class GoldScore:
    """``total`` is the weighted sum of ``components``, at most BEST; none of them: no answer."""

    total: float
    components: dict[str, float]

    @property
    def fully_right(self) -> bool:
        """Right and complete, whatever its manners; False where that cannot be known."""
        return self.components.get("right") == 1 == self.components.get("complete")


def recognise(messages: Messages) -> tuple[Family, Details] | None:
    """The family and the details of a prompt of this world, or None for any other prompt."""
    talk = [message for message in messages if message["role"] != "system"]
    for family in FAMILIES.values():
        if details := family.read(talk):
            return family, details
    return None


def score(messages: Messages, text: str) -> GoldScore:
    """The gold score of ``text`` as the answer to ``messages``."""
    if not look.words(text):
        return GoldScore(0.0, {})
    known = recognise(messages)
    components = _judged(messages, *known, text) if known else _seen(messages, text)
    weights = WEIGHTS if known else GENERIC_WEIGHTS
    total = sum(weights[name] * value for name, value in components.items())
    return GoldScore(round(total, 6), components)


def _judged(messages: Messages, family: Family, details: Details, text: str) -> dict[str, float]:
    topic = family.topic(details)
    return {
        "right": family.right(details, text),
        "complete": family.complete(details, text),
        "on_topic": float(any(look.mentions(text, phrase) for phrase in topic)),
        "honest": max(FLOOR, 1.0 - len(_inventions(messages, family, details, text))),
        **_manner(text, family.length, terse=family.terse),
    } | ({"fresh": -1.0} if _echoes(messages, text) else {})


def _seen(messages: Messages, text: str) -> dict[str, float]:
    """The components of an answer whose rightness cannot be known."""
    asked = set(look.words(messages[-1]["content"])) - STOP_WORDS
    said = set(look.words(text)) - STOP_WORDS
    shared, added = asked & said, said - asked
    return {
        "on_topic": min(1.0, len(shared) / max(1, min(4, len(asked)))),
        "adds": min(1.0, len(added) / 8),
        **_manner(text, GENERIC_LENGTH, terse=False),
    }


def _manner(text: str, length: tuple[int, int], *, terse: bool) -> dict[str, float]:
    return {
        "polite": _politeness(text, terse=terse),
        "fresh": 1.0 - 2 * look.repetition(text),
        "ends": float(look.ends(text)),
        "length": _length(len(look.words(text)), *length),
        "hedging": _hedging(look.count(text, look.HEDGES), terse=terse),
    }


def _echoes(messages: Messages, text: str) -> bool:
    """Whether the whole prompt stands in the answer."""
    return look.mentions(text, messages[-1]["content"])


def _inventions(messages: Messages, family: Family, details: Details, text: str) -> set[str]:
    given = " ".join(message["content"] for message in messages)
    allowed = family.allowed(details)
    said = set(look.words(text)) - set(look.words(given))
    return {name for name in ENTITIES if name.lower() in said and name not in allowed}


def _politeness(text: str, *, terse: bool) -> float:
    """-1 for an insult; else one or two courtesies are best, none is fair, many are servile."""
    if look.count(text, look.INSULTS):
        return -1.0
    courtesies = look.count(text, look.COURTESIES)
    if courtesies == 0:
        return 1.0 if terse else 0.6
    return max(FLOOR, 1.0 - 0.4 * max(0, courtesies - (0 if terse else 2)))


def _length(found: int, low: int, high: int) -> float:
    """1 from ``low`` to ``high`` words, falling on both sides."""
    if found < low:
        return found / low
    return max(FLOOR, 1.0 - max(0, found - high) / high)


def _hedging(hedges: int, *, terse: bool) -> float:
    """Best at one hedge (none for a terse family), then falling with the square."""
    return max(FLOOR, 1.0 - 0.4 * (hedges - (0 if terse else 1)) ** 2)
