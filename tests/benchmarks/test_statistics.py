"""What the experiments compute from scores, against closed forms and exhaustive enumeration."""

import itertools
import math
import statistics

import numpy as np
import pytest

from benchmarks.experiments.statistics import (
    best_of,
    by_prompt,
    kl_of_best_of,
    over_prompts,
    over_seeds,
    win_rates,
)


def test_an_interval_over_seeds_is_students() -> None:
    found = over_seeds([1.0, 2.0, 3.0])
    assert found.mean == 2.0
    # t(0.975, 2) = 4.303, standard error 1 / sqrt(3)
    assert found.high - found.mean == pytest.approx(4.303 / math.sqrt(3), rel=1e-3)
    assert found.mean - found.low == pytest.approx(found.high - found.mean)


def test_many_seeds_come_close_to_the_normal() -> None:
    values = [float(n % 2) for n in range(400)]
    half = over_seeds(values).high - 0.5
    assert half == pytest.approx(1.96 * statistics.stdev(values) / 20, rel=1e-6)


def test_of_one_seed_no_interval_is_claimed() -> None:
    found = over_seeds([0.7])
    assert found.mean == 0.7
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert found.shown() == "0.70"


def test_no_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one seed"):
        over_seeds([])


def test_the_bootstrap_over_prompts_has_the_width_of_the_normal() -> None:
    values = np.random.default_rng(1).normal(size=400)
    found = over_prompts([np.array([value]) for value in values], draws=4000)
    expected = 1.96 * values.std() / 20
    assert found.mean == pytest.approx(values.mean())
    assert (found.high - found.low) / 2 == pytest.approx(expected, rel=0.08)


def test_answers_to_one_prompt_are_drawn_together() -> None:
    """Four copies of each row tell nothing new: the interval may not shrink by half."""
    values = np.random.default_rng(2).normal(size=100)
    alone = over_prompts([np.array([value]) for value in values], draws=2000)
    copied = over_prompts([np.full(4, value) for value in values], draws=2000)
    assert copied.high - copied.low == pytest.approx(alone.high - alone.low, rel=1e-6)


def test_a_prompt_that_was_asked_twice_is_drawn_as_one() -> None:
    """Of it nothing is told twice, whatever stands between."""
    values = [np.array([value]) for value in np.random.default_rng(3).normal(size=100)]
    names = [str(number) for number in range(100)]
    alone = over_prompts(by_prompt(names, values))
    twice = over_prompts(by_prompt(names * 2, values * 2))
    assert [len(rows) for rows in by_prompt(names * 2, values * 2)] == [2] * 100
    assert (twice.low, twice.high) == pytest.approx((alone.low, alone.high))


def test_the_bootstrap_follows_from_its_seed() -> None:
    rows = [np.array([value]) for value in np.random.default_rng(4).normal(size=30)]
    assert over_prompts(rows, seed=1) == over_prompts(rows, seed=1)
    assert over_prompts(rows, seed=1) != over_prompts(rows, seed=2)


def test_a_tie_is_half_a_win() -> None:
    assert win_rates([[1.0]], [[1.0]]) == [0.5]
    assert win_rates([[2.0], [1.0]], [[1.0], [2.0]]).tolist() == [1.0, 0.0]


def test_every_pair_of_answers_to_a_prompt_counts() -> None:
    ours, theirs = [[3.0, 1.0]], [[2.0, 1.0, 0.0]]
    # 3 beats all three; 1 loses, ties and wins.
    assert win_rates(ours, theirs)[0] == pytest.approx((3 + 0 + 0.5 + 1) / 6)
    assert win_rates(ours, ours)[0] == 0.5


def test_lists_of_unequal_length_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        win_rates([[1.0]], [[1.0], [2.0]])


@pytest.mark.parametrize(("n", "nats"), [(1, 0.0), (2, math.log(2) - 0.5), (16, 1.835)])
def test_kl_of_the_best_of_n(n: int, nats: float) -> None:
    assert kl_of_best_of(n) == pytest.approx(nats, abs=1e-3)


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_the_best_of_n_is_the_mean_over_all_subsets(n: int) -> None:
    proxy, gold = np.random.default_rng(3).normal(size=(2, 1, 5))
    chosen = [
        gold[0, max(subset, key=lambda i: proxy[0, i])]
        for subset in itertools.combinations(range(5), n)
    ]
    assert best_of(proxy, gold, n)[0] == pytest.approx(statistics.fmean(chosen))


def test_draws_that_score_alike_are_chosen_alike() -> None:
    proxy, gold = np.array([[1.0, 1.0, 0.0]]), np.array([[10.0, 0.0, 5.0]])
    # Of the three pairs one holds both of the best (either is chosen), two hold one of them.
    assert best_of(proxy, gold, 2)[0] == pytest.approx((5 + 10 + 0) / 3)


def test_large_n_does_not_overflow() -> None:
    proxy = np.arange(2000.0)[None]
    found = best_of(proxy, proxy, 1000)[0]
    # The expected largest of n of 0..N-1 is n (N + 1) / (n + 1) - 1.
    assert found == pytest.approx(1000 * 2001 / 1001 - 1)


@pytest.mark.parametrize("n", [0, 4])
def test_the_best_of_more_than_there_are_is_refused(n: int) -> None:
    with pytest.raises(ValueError, match=r"n must lie in 1\.\.3"):
        best_of(np.zeros((1, 3)), np.zeros((1, 3)), n)
