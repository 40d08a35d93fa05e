"""What the experiments' pages claim, on figures whose truth is known."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.experiments import best_of_n, methods, optimisation, reward_accuracy
from benchmarks.experiments.best_of_n import Curve
from benchmarks.experiments.methods import START, Seed
from benchmarks.experiments.optimisation import Moment
from benchmarks.experiments.policies import Measured
from benchmarks.experiments.reward_accuracy import Found
from benchmarks.experiments.reward_models import NOISE, Setting

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


def test_a_curve_that_falls_in_every_seed_is_told_from_one_that_does_not() -> None:
    weak, strong = Setting(8), Setting(16)
    falls = [curve([0, 1, 3 + shift, 1]) for shift in (0, 0.1, -0.1)]
    rises = [curve([0, 1, 2, 3 + shift]) for shift in (0, 0.1, -0.1)]
    claims = "\n".join(best_of_n._interior({weak: falls, strong: rises}, strong))
    assert "weak reward models: holds: 8 rankings, 4 layers" in claims
    assert "on 16 rankings, no turn is seen up to n = 8" in claims
    assert "turns (lost" in "\n".join(best_of_n._interior({weak: falls}, weak))


def moments(gold: list[float]) -> list[Moment]:
    return [Moment(step, 1.0, 0.0, value, 1.0, 9.0) for step, value in enumerate(gold)]


def test_what_a_pushed_policy_lost_is_measured_where_the_other_seeds_peak() -> None:
    traces = [moments([0, 1, -1]), moments([0, 2, 0]), moments([0, 3, 2])]
    assert optimisation.lost(traces).mean == pytest.approx((2 + 2 + 1) / 3)


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
    return Found(right, noisy, sound, {}, ["note"] * 20, 1, 1)


def test_errors_that_fall_evenly_give_the_accuracy_of_the_formula_whatever_their_rate() -> None:
    runs = [reward_found(0.8, 0.2, seed=seed) for seed in range(3)]
    gap = reward_accuracy._gap([(one.clean, one.noisy, one.sound) for one in runs])
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
    seeds = [Seed(0.8, found, {START: rival})] * 2
    assert methods.wins_by_seeds(seeds, "PPO").mean == 0
    assert methods.gains(seeds, "PPO").mean == pytest.approx(2.0)
    assert "win rate 0.000 (not reached), gain 2.00 (reached)" in methods.reach(seeds)
