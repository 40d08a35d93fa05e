"""What the experiments' pages claim, on figures whose truth is known."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.experiments import kl_coef, laws, methods, optimisation, reward_accuracy
from benchmarks.experiments.methods import START, Seed
from benchmarks.experiments.policies import Measured
from benchmarks.experiments.pushed import Moment
from benchmarks.experiments.reward_accuracy import Found
from benchmarks.experiments.reward_models import NOISE, Setting
from benchmarks.experiments.statistics import Interval

WEAK, FEW, MANY = Setting(8, noise=0.25), Setting(8), Setting(16)
JITTER = np.array([[0.0], [0.1], [-0.1]])


def golds(*places: float) -> np.ndarray:
    """Three seeds that differ a little, and come to the same course."""
    return np.array(places) * (1 + JITTER)


def test_the_peak_is_where_the_others_have_theirs() -> None:
    gold = np.array([[0, 1, 3, 2], [0, 2, 3, 1], [0, 4.5, 2, 1.5]])
    assert laws.highest(gold) == 2
    assert laws.peaks(gold) == [1, 2, 2]
    assert laws.lost(gold).mean == pytest.approx((-1 + 1 + 0.5) / 3)
    assert laws.risen(gold).mean == pytest.approx(5 / 3)


def test_noise_alone_is_no_interior_maximum() -> None:
    """On a flat truth the interval says so nearly as often as it should."""
    random = np.random.default_rng(0)
    sure = [laws.lost(random.normal(size=(3, 4))).low > 0 for _ in range(400)]
    assert np.mean(sure) < 0.05


def test_what_rises_and_falls_has_a_maximum_and_what_only_falls_or_rises_has_none() -> None:
    course = {WEAK: golds(0, 1, 3, 1), FEW: golds(0, 1, 2, 3), MANY: golds(0, -1, -2, -3)}
    weak, best, others = laws.turning(course, WEAK, "n = 8")
    assert (
        "weak reward model (8 rankings, e = 0.25) gold rises and falls again up to n = 8: " in weak
    )
    assert f": {laws.HOLDS} (3.00" in weak
    assert "best taught (16 rankings, e = 0.1)" in best
    assert laws.HOLDS not in best
    assert "Of the 1 others it holds for 0" in others
    turned = {WEAK: golds(0, 0, 0, 0), FEW: golds(0, 3, 1), MANY: golds(0, 1, 2)}
    assert laws.turning(turned, WEAK, "n = 4")[2].endswith("30): 8 rankings, e = 0.1.")


def test_of_one_seed_nothing_is_claimed() -> None:
    course = {WEAK: golds(0, 3, 1)[:1], FEW: golds(0, 1, 2)[:1]}
    assert all(laws.ONE_SEED in claim for claim in laws.turning(course, WEAK, "n = 4")[:2])


@pytest.mark.parametrize(
    ("low", "mean", "expected"),
    [(0.1, 0.5, laws.HOLDS), (-0.1, 0.5, laws.PERHAPS), (-1.0, -0.5, laws.FAILS)],
)
def test_what_chance_may_have_done_is_not_said_to_hold(
    low: float, mean: float, expected: str
) -> None:
    assert laws.verdict(Interval(mean, low, 2 * mean - low)) == expected


def test_peaks_are_compared_by_rankings_by_size_and_by_errors() -> None:
    small = replace(FEW, layers=1)
    course = {FEW: golds(0, 1), MANY: golds(0, 2), small: golds(0, 1.02), WEAK: golds(0, 0.1)}
    by_rankings, by_size, by_errors, *in_the_end = laws.ordered(course)
    assert f"rankings: {laws.HOLDS} (8: 1.00, 16: 2.00; in all +1.00" in by_rankings
    assert f"size: {laws.FAILS} (1 layers: 1.02, 4 layers: 1.00; in all -0.02" in by_size
    assert f"than at 0.25: {laws.HOLDS} (8 rankings: +0.90" in by_errors
    assert [claim.partition(" with ")[0] for claim in in_the_end] == [
        "Gold in the end rises",
        "Gold in the end rises",
        "Gold in the end is higher",
    ]


def moments(gold: list[float]) -> list[Moment]:
    return [Moment(step, 1.0, 0.0, value, 1.0, 9.0) for step, value in enumerate(gold)]


def test_a_collapse_is_a_loss_that_ends_below_the_start() -> None:
    falls = [moments([0, 1 + shift, -1]) for shift in (0, 0.1, -0.1)]
    rises = [moments([0, 1 + shift, 2]) for shift in (0, 0.1, -0.1)]
    told = kl_coef.verdict({0.0: falls, 0.05: rises, 0.2: rises})
    assert told.count(f": {laws.HOLDS} (") == 2
    told = kl_coef.verdict({0.0: rises, 0.05: rises, 0.2: falls})
    assert told.count(f": {laws.FAILS} (") == 2


def test_the_highest_point_is_told_only_where_there_is_one() -> None:
    assert optimisation.highest(1.0, 0.5, spent=20) == f"{np.exp(2):.1f}"
    assert "beyond" in optimisation.highest(1.0, 0.5, spent=5)
    assert "beyond" in optimisation.highest(1.0, -0.5, spent=20)
    assert "none" in optimisation.highest(-0.2, -0.1, spent=20)


def test_the_fit_explains_all_of_a_curve_of_its_own_form_and_less_of_another() -> None:
    kls = [0.5, 1.0, 2.0, 4.0, 8.0, 16.0]
    d = np.sqrt(kls)
    gold = d * (1 - 0.5 * np.log(d))
    exact = [Moment(0, kl, 0, float(g), 1, 9) for kl, g in zip(kls, gold, strict=True)]
    assert optimisation.fit(exact) == pytest.approx((1.0, 0.5, 1.0))
    shifted = [replace(moment, gold=moment.gold + 5) for moment in exact]
    assert optimisation.fit(shifted)[2] < 0.9


def reward_found(clean: float, error: float, *, seed: int = 0) -> Found:
    """A model right about ``clean`` of 20 prompts' pairs; of its labels ``error`` are wrong."""
    random = np.random.default_rng(seed)
    right = [(random.random(36) < clean).astype(float) for _ in range(20)]
    sound = [(random.random(36) >= error).astype(float) for _ in range(20)]
    noisy = [np.where(s > 0, r, 1 - r) for r, s in zip(right, sound, strict=True)]
    asked = [f"{seed}-{number}" for number in range(20)]
    return Found(right, noisy, sound, {}, asked, ["note"] * 20, 1, 1)


def test_errors_that_fall_evenly_give_the_accuracy_of_the_formula_whatever_their_rate() -> None:
    runs = [reward_found(0.8, 0.2, seed=seed) for seed in range(3)]
    asked = [text for one in runs for text in one.asked]
    gap = reward_accuracy._gap(asked, [(one.clean, one.noisy, one.sound) for one in runs])
    assert gap.low < 0 < gap.high
    assert runs[0].ceiling == pytest.approx(0.8, abs=0.05)


def test_the_reach_is_judged_at_the_usual_rate_of_errors_alone() -> None:
    usual, noisy = Setting(8, noise=NOISE), Setting(8, noise=0.4)
    low, high = ([reward_found(of, 0.1, seed=seed) for seed in range(3)] for of in (0.7, 0.99))
    assert "is not reached" in reward_accuracy._verdict({usual: low, noisy: high})
    assert "is reached" in reward_accuracy._verdict({usual: high, noisy: low})


def measured(gold: list[list[float]], base_loss: float = 1.0) -> Measured:
    return Measured(gold, 0.0, 0.0, 9.0, 1.0, base_loss, 1.0)


def test_a_win_is_against_the_rivals_and_a_gain_over_the_start() -> None:
    start, rival = measured([[1.0, 3.0]]), measured([[5.0, 5.0]])
    better = measured([[4.0, 4.0]])
    found = {START: start} | dict.fromkeys(methods.REACHING, better)
    seeds = [Seed(0.8, ["one"], found, {START: rival})] * 2
    assert methods.wins_by_seeds(seeds, "PPO").mean == 0
    assert methods.gains(seeds, "PPO").mean == pytest.approx(2.0)
    assert "win rate 0.000 (not reached), gain 2.00 (reached)" in methods.reach(seeds)
