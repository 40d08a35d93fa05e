"""Means with honest intervals, and what the experiments compute from scores.

Two sources of chance are kept apart: seeds (other draws of prompts, other labelers and weights; few
of them, hence Student's t) and prompts within a seed (drawn anew with replacement, all completions
of one at once).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

DRAWS = 1000
# Student's t at 97.5 %, by degrees of freedom; from the eleventh on that of the normal is near.
T_975 = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23)
Z_975 = 1.96


@dataclass(frozen=True)
class Interval:
    """A mean and its 95 % interval."""

    mean: float
    low: float
    high: float

    def shown(self, decimals: int = 2) -> str:
        """Mean and half the width, as in ``0.81 ±0.02``; the mean alone where there is no width."""
        half = (self.high - self.low) / 2
        spread = f" ±{half:.{decimals}f}" if half == half and half > 0 else ""
        return f"{self.mean:.{decimals}f}{spread}"


def over_seeds(values: Sequence[float]) -> Interval:
    """The mean over seeds with Student's interval; of a single seed no interval is known.

    Raises:
        ValueError: there is no value.
    """
    if not values:
        raise ValueError("a mean over seeds needs at least one seed")
    mean = statistics.fmean(values)
    if len(values) == 1:
        return Interval(mean, math.nan, math.nan)
    freedom = len(values) - 1
    quantile = T_975[freedom - 1] if freedom <= len(T_975) else Z_975
    half = quantile * statistics.stdev(values) / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half)


def by_prompt(prompts: Sequence[str], rows: Sequence[Array]) -> list[Array]:
    """The rows of each prompt, of one that was asked several times all of them end to end.

    ``prompts``: of each of ``rows`` the text it answers.
    """
    found: dict[str, list[Array]] = {}
    for prompt, row in zip(prompts, rows, strict=True):
        found.setdefault(prompt, []).append(row)
    return [np.concatenate(of_one) for of_one in found.values()]


def over_prompts(
    clusters: Sequence[Array],
    of: Callable[[Array], float] = lambda rows: float(rows.mean()),
    *,
    seed: int = 0,
    draws: int = DRAWS,
) -> Interval:
    """A statistic of all rows with its bootstrap interval over clusters.

    ``clusters``: for each prompt its rows, (rows, ...), as ``by_prompt`` puts them together; what
    ``of`` gets are the rows of prompts drawn with replacement, end to end.
    """
    random = np.random.default_rng(seed)
    chosen = random.integers(len(clusters), size=(draws, len(clusters)))
    drawn = [of(np.concatenate([clusters[i] for i in rows])) for rows in chosen]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(of(np.concatenate(clusters)), float(low), float(high))


def win_rates(ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]]) -> Array:
    """For each prompt the share of pairs (ours, theirs) that ours wins, ties as half: (prompts,).

    ``ours`` and ``theirs``: for each prompt the gold of its samples.
    """
    return np.array(
        [
            np.mean((1 + np.sign(np.subtract.outer(np.array(mine), np.array(other)))) / 2)
            for mine, other in zip(ours, theirs, strict=True)
        ]
    )


def kl_of_best_of(n: int) -> float:
    """KL of the best of n to the policy it is drawn from, in nats: log n - (n - 1) / n.

    Exact where no two draws are alike, and too much where many are.
    """
    return math.log(n) - (n - 1) / n


def best_of(order_by: Array, values: Array, n: int) -> Array:
    """Expected value of the best of n by another score, without bias (2112.09332, appendix I).

    Args:
        order_by, values: (prompts, N) scores to choose by, and what the chosen one is worth.

    Returns:
        (prompts,): the mean over all n-subsets of the N. Of draws that score alike, each is as
        likely to be chosen.
    """
    count = order_by.shape[1]
    weights = _weights(count, n)
    return np.array(
        [_shared(order, weights) @ of for order, of in zip(order_by, values, strict=True)]
    )


def kl_of_choice(order_by: Array, n: int) -> Array:
    """KL of the best of n to the policy, were the N draws all it can write: (P,) from (P, N).

    Answers that score alike are one outcome. At most ``kl_of_best_of``, and less the more repeat.
    """
    found = []
    for order in order_by:
        _, sizes = np.unique(order, return_counts=True)
        before = sizes / len(order)
        chosen = np.diff(np.cumsum(before) ** n, prepend=0.0)
        some = chosen > 0
        found.append(float((chosen[some] * np.log(chosen[some] / before[some])).sum()))
    return np.array(found)


def _weights(count: int, n: int) -> Array:
    """C(j - 1, n - 1) / C(N, n) for the j-th smallest, by logarithms: binomials overflow."""
    if not 1 <= n <= count:
        raise ValueError(f"the best of {n} among {count} draws: n must lie in 1..{count}")
    ranks = np.arange(count)
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, count + 1)))])

    def log_choose(of: NDArray[np.int64], take: int) -> Array:
        found: Array = log_factorial[of] - log_factorial[take] - log_factorial[of - take]
        return found

    weights = np.zeros(count)
    possible = ranks >= n - 1
    whole = float(log_choose(np.array([count]), n)[0])
    weights[possible] = np.exp(log_choose(ranks[possible], n - 1) - whole)
    return weights


def _shared(order_by: Array, weights: Array) -> Array:
    """The weight of each draw; draws that score alike share theirs evenly: (N,)."""
    _, group, sizes = np.unique(order_by, return_inverse=True, return_counts=True)
    ranked = np.argsort(order_by, kind="stable")
    totals = np.bincount(group[ranked], weights=weights, minlength=len(sizes))
    shares: Array = (totals / sizes)[group]
    return shares
