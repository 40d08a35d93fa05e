"""Rankings as pure data: their check, and the one derivation of pairwise comparisons.

A ranking maps each of K items to a rank 1..K, 1 the best; equal ranks are ties. Ranks need not be
dense: only their order carries meaning.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from typing import Literal, NamedTuple

from labeling.errors import InvalidRubric, MissingCompletion, RankOutOfRange, UnknownAlias

MIN_COMPLETIONS = 4
MAX_COMPLETIONS = 9
ALIASES = "ABCDEFGHI"

Preference = Literal["a", "b", "tie"]


class Comparison(NamedTuple):
    """Items ``a < b``, the one preferred, and the distance of their ranks."""

    a: int
    b: int
    preferred: Preference
    rank_gap: int


def check_ranks(ranks: Mapping[str, object], aliases: Collection[str]) -> dict[str, int]:
    """The ranks, known to cover exactly ``aliases`` with whole numbers in 1..K.

    Raises:
        UnknownAlias, MissingCompletion, RankOutOfRange: with the aliases at fault in ``data``.
    """
    _check_aliases(ranks, aliases)
    missing = sorted(set(aliases) - set(ranks))
    if missing:
        raise MissingCompletion(aliases=missing)
    checked = {a: r for a, r in ranks.items() if type(r) is int and 1 <= r <= len(aliases)}
    outside = sorted(set(ranks) - set(checked))
    if outside:
        raise RankOutOfRange(aliases=outside, low=1, high=len(aliases))
    return checked


def check_ratings(
    ratings: Mapping[str, object], aliases: Collection[str], *, low: int, high: int
) -> dict[str, int]:
    """The ratings, known to be whole numbers in ``low..high``; not every alias needs one.

    Raises:
        UnknownAlias, InvalidRubric: with the aliases at fault in ``data``.
    """
    _check_aliases(ratings, aliases)
    checked = {a: r for a, r in ratings.items() if type(r) is int and low <= r <= high}
    wrong = sorted(set(ratings) - set(checked))
    if wrong:
        raise InvalidRubric(f"A rating must be a whole number {low}..{high}.", aliases=wrong)
    return checked


def check_flags(
    flags: Mapping[str, object], aliases: Collection[str], *, known: Collection[str]
) -> dict[str, list[str]]:
    """The flags of each alias, known to be of the rubric; sorted, each once.

    Raises:
        UnknownAlias, InvalidRubric: with the aliases at fault in ``data``.
    """
    _check_aliases(flags, aliases)
    checked: dict[str, list[str]] = {}
    for alias, names in flags.items():
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise InvalidRubric("Flags must be a list of names.", aliases=[alias])
        unknown = sorted(set(names) - set(known))
        if unknown:
            raise InvalidRubric(f"Unknown flag {unknown[0]!r}.", aliases=[alias], flags=unknown)
        checked[alias] = sorted(set(names))
    return checked


def _check_aliases(given: Mapping[str, object], aliases: Collection[str]) -> None:
    unknown = sorted(set(given) - set(aliases))
    if unknown:
        raise UnknownAlias(aliases=unknown, expected=sorted(aliases))


def comparisons(rank_of: Mapping[int, int]) -> list[Comparison]:
    """All C(K, 2) pairwise comparisons of a ranking; ties are kept as ties.

    ``rank_of`` maps item ids to ranks. Pairs come ordered by (a, b) with a < b.
    """
    return [
        Comparison(a, b, _preferred(rank_of[a], rank_of[b]), abs(rank_of[a] - rank_of[b]))
        for a, b in itertools.combinations(sorted(rank_of), 2)
    ]


def _preferred(rank_a: int, rank_b: int) -> Preference:
    if rank_a == rank_b:
        return "tie"
    return "a" if rank_a < rank_b else "b"
