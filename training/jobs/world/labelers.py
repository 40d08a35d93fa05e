"""Simulated labelers: they rank by gold, with ties, and err at a chosen rate.

The error is Mallows' model (Biometrika 1957, by repeated insertion): a ranking at Kendall distance
d from the labeler's own has weight phi^d. phi is solved for, so that the expected share of
comparisons that come out turned round is ``noise``, for any number of completions. Near neighbours
are confused most, as people confuse them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from random import Random

from training.jobs.world.family import Messages
from training.jobs.world.scoring import BEST, FLOOR, GoldScore, score

RATING_LOW, RATING_HIGH = 1, 7
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
    """One labeler, who says the same of the same texts, whatever their aliases and order.

    ``noise`` is the share of comparisons turned round, 0 to 0.5; two answers whose gold differs by
    less than ``just_noticeable`` are tied.
    """

    seed: int
    noise: float = 0.0
    just_noticeable: float = 0.25

    def __post_init__(self) -> None:
        if not 0 <= self.noise <= 0.5:
            raise ValueError(f"noise must lie in 0..0.5 (0.5 is a coin), not {self.noise!r}")

    def judge(self, messages: Messages, completions: Mapping[str, str]) -> Judgement:
        """Rank, rate and flag ``completions`` ({alias: text}) as answers to ``messages``."""
        golds = {text: score(messages, text) for text in completions.values()}
        rng = Random(self._key(messages, golds))
        groups = tied({text: gold.total for text, gold in golds.items()}, self.just_noticeable)
        seen = disturbed(groups, self.noise, rng)
        rank_of = {text: rank for rank, group in _ranked(seen) for text in group}
        rating_of = _ratings(seen, {text: golds[text].total for text in golds})
        return Judgement(
            ranks={alias: rank_of[text] for alias, text in completions.items()},
            ratings={alias: rating_of[text] for alias, text in completions.items()},
            flags={alias: _flags(golds[text]) for alias, text in completions.items()},
        )

    def _key(self, messages: Messages, texts: Mapping[str, object]) -> str:
        content = repr((self.seed, [dict(m) for m in messages], sorted(texts)))
        return hashlib.sha256(content.encode()).hexdigest()


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
    return [
        flag for flag, name, low, high in FLAG_RULES if name in parts and low <= parts[name] <= high
    ]
