"""What a family of tasks is: it writes prompts and answers, and knows a right one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from random import Random
from typing import ClassVar

from training.jobs.world.lexicon import CITIES, NAMES
from training.jobs.world.template import Template

Message = Mapping[str, str]
Messages = Sequence[Message]
# The facts of one task, by the name of their slot in the prompt.
Details = dict[str, str]


class Family(ABC):
    """One kind of task. A prompt holds all its details, so that :meth:`read` finds them again."""

    name: ClassVar[str]
    use_case: ClassVar[str]
    # The phrasings of the prompt, and what each of their slots may hold.
    prompts: ClassVar[tuple[str, ...]]
    slots: ClassVar[Mapping[str, Sequence[str]]]
    templates: ClassVar[tuple[Template, ...]]
    # The number of words of a good answer, fewest and most.
    length: ClassVar[tuple[int, int]]
    # A terse family wants the bare answer: neither courtesy nor hedging is missed.
    terse: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        cls.templates = tuple(Template(text, cls.slots) for text in cls.prompts)

    def draw(self, rng: Random) -> Details:
        """The details of a new task."""
        return {slot: rng.choice(options) for slot, options in self.slots.items()}

    def messages(self, details: Details, rng: Random) -> list[dict[str, str]]:
        """A prompt that asks for the task, in one of the phrasings that ``details`` can fill."""
        fitting = [template for template in self.templates if template.slots <= set(details)]
        return [{"role": "user", "content": rng.choice(fitting).fill(details)}]

    def read(self, messages: Messages) -> Details | None:
        """The details of a prompt of this family, or None when it is another's."""
        if len(messages) != 1:
            return None
        found = (template.read(messages[0]["content"]) for template in self.templates)
        return next((details for details in found if details and self.knows(details)), None)

    def knows(self, details: Details) -> bool:
        """Whether details that fit a template are those of a task: what no slot alone can tell."""
        return True

    @abstractmethod
    def good(self, details: Details, rng: Random) -> str:
        """A good answer, in one of several phrasings."""

    @abstractmethod
    def partial(self, details: Details, rng: Random) -> str:
        """An answer that leaves out something that was asked for."""

    @abstractmethod
    def distort(self, details: Details, rng: Random) -> Details:
        """Details that a good answer to would be a wrong answer to ``details``."""

    @abstractmethod
    def right(self, details: Details, text: str) -> float:
        """How right ``text`` is, 0..1: what it says of the heart of the matter is true."""

    @abstractmethod
    def complete(self, details: Details, text: str) -> float:
        """How much of what was asked for is in ``text``, 0..1."""

    @abstractmethod
    def topic(self, details: Details) -> Sequence[str]:
        """Phrases of which any on-topic answer mentions one."""

    def allowed(self, details: Details) -> Sequence[str]:
        """Names, cities and days that an answer may mention though the prompt does not."""
        return ()

    def invent(self, details: Details, good: str, rng: Random) -> str:
        """``good`` with a detail that nobody gave."""
        known = f"{' '.join(details.values())} {good}"
        who = rng.choice([name for name in NAMES if name not in known])
        where = rng.choice([city for city in CITIES if city not in known])
        return f"{good} {rng.choice(INVENTIONS).format(who=who, where=where)}"


INVENTIONS = (
    "By the way, {who} from {where} said so.",
    "{who} and {where} are part of it too.",
    "I heard it from {who}, near {where}.",
)


def another(rng: Random, options: Sequence[str], *taken: str) -> str:
    """One of ``options`` that is none of ``taken``."""
    return rng.choice([option for option in options if option not in taken])


OPENERS = ("Certainly!", "Of course.", "With pleasure.")
CLOSERS = ("I hope this helps.", "I am happy to help.")


def courteous(rng: Random, text: str) -> str:
    """``text``, in half of the cases with a friendly word before or behind it."""
    kind = rng.random()
    if kind < 0.3:
        return f"{rng.choice(OPENERS)} {text}"
    return f"{text} {rng.choice(CLOSERS)}" if kind < 0.5 else text
