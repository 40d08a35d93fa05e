"""How a simulated labeler works: how long it reads, what it skips, when it saves a draft.

Pure: :mod:`training.management.simulation` does what is decided here.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from training.jobs.world.family import Messages
from training.jobs.world.labelers import draw
from training.jobs.world.text import words

# A short prompt with four short answers.
TYPICAL_WORDS = 100
SKIP_REASONS = (
    "I do not know enough about the subject",
    "The prompt is unclear or broken",
)


@dataclass(frozen=True)
class Habits:
    """One labeler's way of working; the same for the same task, whenever it comes.

    ``pace`` is the seconds it takes to read TYPICAL_WORDS words, ``skips`` and ``drafts`` are the
    shares, 0 to 1, of tasks that it skips and of rankings that it saves as a draft before.
    """

    seed: int
    pace: float = 0.0
    skips: float = 0.0
    drafts: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.pace < float("inf"):
            raise ValueError(f"pace must be seconds, 0 or more, not {self.pace!r}")
        for name in ("skips", "drafts"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in 0..1, not {getattr(self, name)!r}")

    def reading_seconds(self, messages: Messages, texts: Collection[str]) -> float:
        """How long it takes over a prompt and ``texts``, in proportion to their words."""
        everything = [*(message["content"] for message in messages), *texts]
        return self.pace * sum(len(words(text)) for text in everything) / TYPICAL_WORDS

    def skip_reason(self, messages: Messages, texts: Collection[str]) -> str | None:
        """Why it skips the task, or None when it does not."""
        dice = draw(self.seed, messages, texts, purpose="skip")
        return dice.choice(SKIP_REASONS) if dice.random() < self.skips else None

    def saves_draft(self, messages: Messages, texts: Collection[str]) -> bool:
        return draw(self.seed, messages, texts, purpose="draft").random() < self.drafts
