"""What the experiments' pages claim, on figures whose truth is known."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.experiments import best_of_n, laws, methods, optimisation, pushed, reward_accuracy
from benchmarks.experiments.best_of_n import Curve
from benchmarks.experiments.methods import START, Seed
from benchmarks.experiments.policies import Measured
from benchmarks.experiments.pushed import Moment
from benchmarks.experiments.reward_accuracy import Found
from benchmarks.experiments.reward_models import NOISE, Setting
from benchmarks.experiments.statistics import Interval

NS = [1, 2, 4, 8]


def curve(gold: list[float]) -> Curve:
    rows = np.array([gold, gold])
    return Curve(NS, rows, rows, rows)


def test_the_peak_is_that_of_the_mean_and_what_is_lost_is_measured_where_the_others_peak() -> None:
    curves = [curve([0, 1, 3, 2]), curve([0, 2, 3, 1]), curve([0, 1, 2, 1.5])]
    assert best_of_n.peak_of(curves) == 4
    assert best_of_n.lost(curves).mean == pytest.approx((1 + 2 + 0.5) / 3)
    assert best_of_n.lost(curves).low > -1


def test_noise_alone_is_no_interior_maximum() -> None:
    """On a flat truth the interval says so nearly as often as it should."""
    random = np.random.default_rng(0)
    sure = [
        best_of_n.lost([curve(list(random.normal(size=4))) for _ in range(3)]).low > 0
        for _ in range(400)
    ]
    assert np.mean(sure) < 0.05


WEAK, BETWEEN, BEST = Setting(8, noise=0.25), Setting(8), Setting(16)
FALLS, RISES = Interval(1.0, 0.5, 1.5), Interval(0.1, -0.2, 0.4)


def test_an_interior_maximum_is_claimed_of_the_weak_reward_model_alone() -> None:
    claims = laws.turning({WEAK: FALLS, BETWEEN: RISES, BEST: RISES}, WEAK, "n = 8")
    assert "weak reward model (8 rankings, e = 0.25): holds (lost 1.00" in claims[0]
    assert "(16 rankings, e = 0.1) no turn is seen up to n = 8" in claims[1]
    assert "Of the 1 between them, 0 lose" in claims[2]
    claims = laws.turning({WEAK: RISES, BETWEEN: FALLS, BEST: FALLS}, WEAK, "n = 8")
    assert "does not hold" in claims[0]
    assert "turns (lost" in claims[1]
    assert "1 lose by an interval" in claims[2]
    assert claims[2].endswith("chance): 8 rankings, e = 0.1.")


def test_peaks_are_compared_by_rankings_by_size_and_by_errors() -> None:
    small, noisy = replace(BETWEEN, layers=1), replace(BETWEEN, noise=0.25)
    peaks = {BETWEEN: [1.0, 1.1], BEST: [2.0, 2.2], small: [0.5, 0.4], noisy: [1.5, 1.7]}
    by_rankings, by_size, by_errors = laws.ordered(peaks)
    assert "rankings: holds on the means (8: 1.05, 16: 2.10); in all +1.05" in by_rankings
    assert "size: holds on the means (1 layers: 0.45, 4 layers: 1.05)" in by_size
    assert "lower peak gold: does not hold on the means (8 rankings: +0.55" in by_errors


def moments(gold: list[float]) -> list[Moment]:
    return [Moment(step, 1.0, 0.0, value, 1.0, 9.0) for step, value in enumerate(gold)]


def test_what_a_pushed_policy_lost_is_measured_where_the_other_seeds_peak() -> None:
    traces = [moments([0, 1, -1]), moments([0, 2, 0]), moments([0, 3, 2])]
    assert pushed.lost(traces).mean == pytest.approx((2 + 2 + 1) / 3)


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
