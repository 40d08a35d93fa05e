"""Rankings as pure data."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.errors import MissingCompletion, RankOutOfRange, UnknownAlias
from labeling.ordering import ALIASES, check_ranks, comparisons


def rankings(low: int = 4, high: int = 9) -> st.SearchStrategy[dict[int, int]]:
    return st.integers(low, high).flatmap(
        lambda k: st.lists(st.integers(1, k), min_size=k, max_size=k).map(
            lambda ranks: dict(enumerate(ranks, start=100))
        )
    )


def test_a_strict_ranking_of_four_gives_six_comparisons():
    pairs = comparisons({10: 2, 11: 1, 12: 4, 13: 3})
    assert [(p.a, p.b, p.preferred, p.rank_gap) for p in pairs] == [
        (10, 11, "b", 1),
        (10, 12, "a", 2),
        (10, 13, "a", 1),
        (11, 12, "a", 3),
        (11, 13, "a", 2),
        (12, 13, "b", 1),
    ]


def test_equal_ranks_stay_ties():
    assert [p.preferred for p in comparisons({1: 1, 2: 1, 3: 2})] == ["tie", "a", "a"]


@given(rankings())
def test_every_pair_comes_once_and_agrees_with_the_ranks(rank_of):
    pairs = comparisons(rank_of)
    assert [(p.a, p.b) for p in pairs] == list(itertools.combinations(sorted(rank_of), 2))
    for pair in pairs:
        gap = rank_of[pair.b] - rank_of[pair.a]
        assert pair.rank_gap == abs(gap)
        assert pair.preferred == ("tie" if gap == 0 else "a" if gap > 0 else "b")


@given(rankings())
def test_relabeling_ranks_without_changing_their_order_changes_no_preference(rank_of):
    dense = {rank: n for n, rank in enumerate(sorted(set(rank_of.values())), start=1)}
    relabeled = {item: dense[rank] for item, rank in rank_of.items()}
    assert [p.preferred for p in comparisons(rank_of)] == [
        p.preferred for p in comparisons(relabeled)
    ]


@pytest.mark.parametrize(
    ("ranks", "error", "aliases"),
    [
        ({"A": 1, "B": 2, "C": 3, "D": 4, "Z": 1}, UnknownAlias, ["Z"]),
        ({"A": 1, "B": 2, "C": 3}, MissingCompletion, ["D"]),
        ({}, MissingCompletion, ["A", "B", "C", "D"]),
        ({"A": 0, "B": 2, "C": 3, "D": 4}, RankOutOfRange, ["A"]),
        ({"A": 1, "B": 2, "C": 3, "D": 5}, RankOutOfRange, ["D"]),
        ({"A": 1, "B": 2.0, "C": "3", "D": True}, RankOutOfRange, ["B", "C", "D"]),
    ],
)
def test_a_ranking_that_does_not_fit_is_refused_with_the_aliases_at_fault(ranks, error, aliases):
    with pytest.raises(error) as refused:
        check_ranks(ranks, ALIASES[:4])
    assert refused.value.data["aliases"] == aliases
