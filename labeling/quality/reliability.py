"""How far each labeler can be relied on: crowd-kit's one-coin Dawid–Skene model over pairs.

Which of two completions is better is unknown; a labeler turns a pair the right way round with
probability ``skill``, and both are found by expectation maximisation (Zhang et al.,
arXiv 1406.3824; crowd-kit, arXiv 2109.08584). ½ is guessing. Ties say nothing here.

It is not crowd-kit's noisy Bradley–Terry: docs/decisions/0013 has what was measured of the two.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from crowdkit.aggregation import OneCoinDawidSkene

from labeling.quality.bootstrap import Floats
from labeling.quality.rows import RankingRow

ROUNDS, CLOSE = 100, 1e-5
# Nobody is taken to be right or wrong with more certainty than this leaves.
SURE = 1e-4

Ints = npt.NDArray[np.int64]


class Votes(NamedTuple):
    """Judgements of pairs, (votes,) each.

    ``pair``, ``labeler``, ``task``: numbers from 0. ``first``: whether the first one was preferred.
    """

    task: Ints
    pair: Ints
    labeler: Ints
    first: Ints
    labelers: list[int]


def votes_of(tasks: Iterable[Sequence[RankingRow]]) -> Votes:
    """The pairs that labelers told apart; those that one labeler alone told apart among them."""
    votes: list[tuple[int, int, int, int]] = []
    pairs: dict[tuple[int, int, int], int] = {}
    labelers: dict[int, int] = {}
    for number, rows in enumerate(tasks):
        for row in rows:
            labeler = labelers.setdefault(row.labeler, len(labelers))
            for a in range(len(row.ranks)):
                for b in range(a + 1, len(row.ranks)):
                    if row.ranks[a] != row.ranks[b]:
                        pair = pairs.setdefault((number, a, b), len(pairs))
                        votes.append((number, pair, labeler, int(row.ranks[a] < row.ranks[b])))
    table = np.array(votes, dtype=np.int64).reshape(-1, 4)
    return Votes(table[:, 0], table[:, 1], table[:, 2], table[:, 3], list(labelers))


def skills(votes: Votes) -> Floats:
    """The share of pairs that each of ``votes.labelers`` turns the right way round."""
    data = pd.DataFrame({"task": votes.pair, "worker": votes.labeler, "label": votes.first})
    fitted = OneCoinDawidSkene(n_iter=ROUNDS, tol=CLOSE).fit(data).skills_
    return np.asarray(fitted.reindex(range(len(votes.labelers))), dtype=float)


def redrawn_skills(votes: Votes, times: Ints) -> Floats:
    """``skills`` when task t is there ``times[t]`` times; NaN for labelers who are not there.

    The same model, in arrays: crowd-kit takes seconds where this takes milliseconds, and an
    interval needs it a hundred times. Both sides of a pair are as likely before anybody judged.
    """
    weight = times[votes.task].astype(float)
    count = np.bincount(votes.labeler, weight, len(votes.labelers))
    said = np.bincount(votes.pair)
    chance = np.bincount(votes.pair, votes.first) / said  # (pairs,) that the first is better
    skill = np.full(len(votes.labelers), 2.0)
    for _ in range(ROUNDS):
        right = np.where(votes.first, chance[votes.pair], 1 - chance[votes.pair])
        # Of labelers who are not there nothing is known: half right.
        former, skill = skill, np.full(len(count), 0.5)
        np.divide(
            np.bincount(votes.labeler, weight * right, len(count)), count, skill, where=count > 0
        )
        if np.abs(skill - former).max() < CLOSE:
            break
        sure = np.clip(skill, SURE, 1 - SURE)
        odds = np.log(sure / (1 - sure))[votes.labeler] * (2 * votes.first - 1)
        chance = 1 / (1 + np.exp(-np.bincount(votes.pair, odds)))
    return np.where(count > 0, skill, np.nan)
