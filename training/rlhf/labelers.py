"""How far labelers can be relied on, from the pairs that several of them judged.

A labeler turns a pair the wrong way round with probability e. Two of them who err independently
agree with probability a = 1 - 2e(1 - e), so e follows from a; a model that is always right agrees
with the labels in a share 1 - e of the pairs, which no accuracy can exceed but by luck.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from training.rlhf.comparisons import Comparison

# Judgements as good as the average that each labeler is credited with.
PRIOR_JUDGEMENTS = 20
# Nobody counts for nothing.
LEAST_WEIGHT = 0.05
# The estimate stops when no rate moves by more than CLOSE any more.
ROUNDS, CLOSE = 100, 1e-6
# No labeler is taken to be right or wrong with more certainty than this leaves.
SURE = 1e-4


@dataclass(frozen=True)
class Reliability:
    """``weights`` by labeler, 1 on average over the pairs.

    judged_twice: judgements of pairs that another labeler judged too. agreement: the share of them
    that the others made likewise; None when there are none.
    """

    weights: Mapping[str, float]
    judged_twice: int
    agreement: float | None


def agreements(comparison: Comparison) -> list[float | None]:
    """For each judgement the share of other labelers' judgements of that pair that are the same.

    None where nobody else judged the pair.
    """
    by_pair = defaultdict(list)
    for judged in comparison.judgements:
        by_pair[frozenset((judged.winner, judged.loser))].append(judged)
    found: list[float | None] = []
    for judged in comparison.judgements:
        others = [
            other.winner == judged.winner
            for other in by_pair[frozenset((judged.winner, judged.loser))]
            if other.labeler != judged.labeler
        ]
        found.append(sum(others) / len(others) if others else None)
    return found


def error_rate(agreement: float) -> float:
    """e of labelers who agree so often: the smaller root of a = 1 - 2e(1 - e).

    At most 1/2, where they agree by chance or less.
    """
    return (1 - math.sqrt(max(0.0, 2 * agreement - 1))) / 2


def error_rates(comparisons: Sequence[Comparison]) -> dict[str, float]:
    """Each labeler's e, of those who judged a pair that another judged too.

    Dawid and Skene's estimate (1979) with one number a labeler:

    1. Which way round a pair is, is first what most of its labelers say.
    2. A labeler's e is the expected share of wrong judgements, ``PRIOR_JUDGEMENTS`` of which are
       taken to be as wrong as everybody's: a few judgements are no character.
    3. The chance that a pair is this way round follows from the e of its labelers. Back to 2.

    Two labelers alone cannot be told apart: both get the e that their agreement tells.
    """
    votes = [items for comparison in comparisons for items in _votes(comparison)]
    chances = [sum(agrees for _, agrees in items) / len(items) for items in votes]
    rates = _rates(votes, chances)
    for _ in range(ROUNDS):
        before = rates
        rates = _rates(votes, [_chance(items, rates) for items in votes])
        if all(abs(rates[labeler] - before[labeler]) < CLOSE for labeler in rates):
            break
    return rates


def reliability(comparisons: Sequence[Comparison]) -> Reliability:
    """Labelers weigh by 1 - 2e: a label that is wrong with probability e carries 1 - 2e of what a
    right one tells, at the same noise, and that is the weight of least variance.

    Who judged no pair beside another is taken for an average labeler. Where no pair was judged
    twice, everybody weighs 1.
    """
    pairs: dict[str, int] = defaultdict(int)
    agreed: list[float] = []
    for comparison in comparisons:
        for judged, value in zip(comparison.judgements, agreements(comparison), strict=True):
            pairs[judged.labeler] += 1
            agreed += [] if value is None else [value]
    rates = error_rates(comparisons)
    average = _mean(list(rates.values())) if rates else 0.0
    weights = {
        labeler: max(LEAST_WEIGHT, 1 - 2 * rates.get(labeler, average)) for labeler in sorted(pairs)
    }
    mean = sum(weights[labeler] * count for labeler, count in pairs.items()) / sum(pairs.values())
    scaled = {labeler: weight / mean for labeler, weight in weights.items()}
    return Reliability(scaled, len(agreed), _mean(agreed) if agreed else None)


def _votes(comparison: Comparison) -> list[list[tuple[str, bool]]]:
    """For each pair that several labelers judged: who, and whether the earlier one wins."""
    by_pair: dict[frozenset[int], list[tuple[str, bool]]] = defaultdict(list)
    for judged in comparison.judgements:
        pair = frozenset((judged.winner, judged.loser))
        by_pair[pair].append((judged.labeler, judged.winner < judged.loser))
    return [items for items in by_pair.values() if len({labeler for labeler, _ in items}) > 1]


def _rates(
    votes: Sequence[Sequence[tuple[str, bool]]], chances: Sequence[float]
) -> dict[str, float]:
    """Each labeler's e, when the earlier one of each pair is the better one with these chances."""
    wrong: dict[str, list[float]] = defaultdict(list)
    for items, chance in zip(votes, chances, strict=True):
        for labeler, agrees in items:
            wrong[labeler].append(1 - chance if agrees else chance)
    prior = PRIOR_JUDGEMENTS * _mean([value for values in wrong.values() for value in values])
    return {
        labeler: (sum(values) + prior) / (len(values) + PRIOR_JUDGEMENTS)
        for labeler, values in sorted(wrong.items())
    }


def _chance(items: Sequence[tuple[str, bool]], rates: Mapping[str, float]) -> float:
    """That the earlier one of a pair is the better one, as likely as not before anybody spoke."""
    odds = 0.0
    for labeler, agrees in items:
        rate = min(max(rates[labeler], SURE), 1 - SURE)
        odds += math.log((1 - rate) / rate) * (1 if agrees else -1)
    return (1 + math.tanh(odds / 2)) / 2


def _mean(values: Sequence[float]) -> float:
    return sum(values) / max(1, len(values))
