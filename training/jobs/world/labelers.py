"""Simulated labelers: they rank by what they see of gold, with ties, and err at a chosen rate.

What a labeler sees is the gold score, moved by its biases. The error is Mallows' model (Biometrika
1957, by repeated insertion): a ranking at Kendall distance d from the labeler's own has weight
phi^d. phi is solved for, so that the expected share of comparisons that come out turned round is
the labeler's noise, for any number of completions. Near neighbours are confused most, as people
confuse them. How a labeler works, apart from what it thinks, is in :mod:`habits`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from random import Random
from statistics import fmean

from training.jobs.world.family import Messages
from training.jobs.world.scoring import BEST, FLOOR, GoldScore, recognise, score
from training.jobs.world.text import words

RATING_LOW, RATING_HIGH = 1, 7
# A coin: half of the comparisons turned round.
MOST_NOISE = 0.5
SPAM = ("", "shown", "random")
# InstructGPT's flags (arXiv 2203.02155, table 3) as far as gold knows of them: the component of the
# gold score that each is about, and from where to where it is raised.
FLAG_RULES = (
    ("fails_instruction", "right", FLOOR, 0.5),
    ("satisfies_constraint", "complete", 1.0, 1.0),
    ("hallucination", "honest", FLOOR, 0.0),
    ("inappropriate_assistant", "polite", FLOOR, -0.5),
)


@dataclass(frozen=True)
class Judgement:
    """What a labeler says of a task, by alias: ranks (1 is best, equal: a tie), ratings, flags."""

    ranks: dict[str, int]
    ratings: dict[str, int] = field(default_factory=dict)
    flags: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class SimulatedLabeler:
    """One labeler, who says the same of the same texts whenever it is asked.

    ``noise`` is the share of comparisons turned round, 0 to 0.5, and grows by ``fatigue`` with each
    task done in the sitting. The rest is in points of gold: two answers that seem to differ by less
    than ``just_noticeable`` are tied; the first answer shown seems ``position_bias`` better than
    the last, and one of twice the words ``length_bias`` better. Without a ``position_bias`` neither
    aliases nor their order matter. ``spam`` ranks without reading: in the order ``shown``, or at
    ``random``.
    """

    seed: int
    noise: float = 0.0
    just_noticeable: float = 0.25
    position_bias: float = 0.0
    length_bias: float = 0.0
    fatigue: float = 0.0
    spam: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.noise <= MOST_NOISE:
            raise ValueError(f"noise must lie in 0..0.5 (0.5 is a coin), not {self.noise!r}")
        if not 0 <= self.fatigue <= MOST_NOISE:
            raise ValueError(f"fatigue must lie in 0..0.5 a task, not {self.fatigue!r}")
        if self.spam not in SPAM:
            raise ValueError(f"spam must be one of {', '.join(map(repr, SPAM))}, not {self.spam!r}")

    def judge(self, messages: Messages, completions: Mapping[str, str], done: int = 0) -> Judgement:
        """Rank, rate and flag ``completions`` ({alias: text}, as shown) as answers to ``messages``.

        ``done`` is the number of tasks done before in the sitting. A spammer only ranks.
        """
        if self.spam:
            return self._unread(messages, completions)
        golds = {text: score(messages, text) for text in completions.values()}
        rng = draw(self.seed, messages, golds)
        utilities = self.perceived({text: gold.total for text, gold in golds.items()})
        groups = tied(utilities, self.just_noticeable)
        seen = disturbed(groups, self.noise_after(done), rng)
        rank_of = {text: rank for rank, group in _ranked(seen) for text in group}
        rating_of = _ratings(seen, utilities)
        return Judgement(
            ranks={alias: rank_of[text] for alias, text in completions.items()},
            ratings={alias: rating_of[text] for alias, text in completions.items()},
            flags={alias: _flags(golds[text]) for alias, text in completions.items()},
        )

    def noise_after(self, done: int) -> float:
        """The share of comparisons turned round when ``done`` tasks have been done before."""
        return min(MOST_NOISE, self.noise + self.fatigue * done)

    def perceived(self, golds: Mapping[str, float]) -> dict[str, float]:
        """What each text ({text: gold}, in shown order) seems worth. The biases sum to nothing over
        a task, so that they move ranks and not the level of ratings.
        """
        last = max(1, len(golds) - 1)
        doublings = {text: math.log2(1 + len(words(text))) for text in golds}
        usual = fmean(doublings.values()) if golds else 0.0
        return {
            text: gold
            + self.position_bias * (0.5 - place / last)
            + self.length_bias * (doublings[text] - usual)
            for place, (text, gold) in enumerate(golds.items())
        }

    def demonstrate(self, messages: Messages) -> str | None:
        """A good demonstration, or None for a prompt that is not of the starter world."""
        known = recognise(messages)
        if known is None:
            return None
        family, details = known
        return family.good(details, draw(self.seed, messages, purpose="demonstrate"))

    def _unread(self, messages: Messages, completions: Mapping[str, str]) -> Judgement:
        order = sorted(set(completions.values()))
        draw(self.seed, messages, order).shuffle(order)
        aliases = list(completions)
        if self.spam == "random":
            aliases.sort(key=lambda alias: order.index(completions[alias]))
        return Judgement(ranks={alias: rank for rank, alias in enumerate(aliases, 1)})


def draw(
    seed: int, messages: Messages, texts: Collection[str] = (), *, purpose: str = ""
) -> Random:
    """The dice of the labeler of ``seed`` before one task: what it does does not hang on what it
    did before, nor on the order of ``texts``.
    """
    content = repr((seed, [dict(m) for m in messages], sorted(texts))) + purpose
    return Random(hashlib.sha256(content.encode()).hexdigest())


def tied(utilities: Mapping[str, float], just_noticeable: float) -> list[list[str]]:
    """Groups of texts, best first; in a group none is noticeably worse than the group's best."""
    groups: list[list[str]] = []
    for text in sorted(utilities, key=lambda text: (-utilities[text], text)):
        top = utilities[groups[-1][0]] if groups else 0.0
        if groups and top - utilities[text] < just_noticeable:
            groups[-1].append(text)
        else:
            groups.append([text])
    return groups


def disturbed(groups: Sequence[list[str]], noise: float, rng: Random) -> list[list[str]]:
    """A draw from Mallows' model around ``groups``: each is inserted some places too early."""
    phi = _dispersion(len(groups), noise)
    drawn: list[list[str]] = []
    for group in groups:
        weights = [phi**steps for steps in range(len(drawn) + 1)]
        steps = rng.choices(range(len(weights)), weights)[0]
        drawn.insert(len(drawn) - steps, group)
    return drawn


@lru_cache(maxsize=1024)
def _dispersion(count: int, noise: float) -> float:
    """The phi in 0..1 at which ``noise`` is the expected share of turned comparisons."""
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if _expected_share(count, middle) < noise else (low, middle)
    return high if noise > 0 else 0.0


def _expected_share(count: int, phi: float) -> float:
    distance = 0.0
    for places in range(2, count + 1):
        weights = [phi**steps for steps in range(places)]
        distance += sum(steps * w for steps, w in enumerate(weights)) / sum(weights)
    return distance / max(1.0, count * (count - 1) / 2)


def _ranked(groups: Sequence[list[str]]) -> list[tuple[int, list[str]]]:
    """Groups with ranks 1, 2, 3...: no rank is left out behind a tie."""
    return list(enumerate(groups, 1))


def _ratings(groups: Sequence[list[str]], totals: Mapping[str, float]) -> dict[str, int]:
    """Ratings that agree with the ranking: the n-th group gets the n-th highest total's rating."""
    best = sorted((max(totals[text] for text in group) for group in groups), reverse=True)
    rated = zip(groups, (_rating(total) for total in best), strict=True)
    return {text: rating for group, rating in rated for text in group}


def _rating(total: float) -> int:
    share = min(1.0, max(0.0, total / BEST))
    return RATING_LOW + round(share * (RATING_HIGH - RATING_LOW))


def _flags(gold: GoldScore) -> list[str]:
    parts = gold.components
    if not parts:  # there is no answer
        return ["fails_instruction"]
    return [
        flag for flag, name, low, high in FLAG_RULES if name in parts and low <= parts[name] <= high
    ]
