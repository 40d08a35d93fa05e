"""Quality figures against published values, closed forms, and labelers whose noise is known."""

from __future__ import annotations

import random

import krippendorff
import numpy as np
import pytest
from scipy.stats import kendalltau

from labeling.quality import agreement, bias, reliability
from labeling.quality.bootstrap import interval_of_ratio
from labeling.quality.figures import figures_of
from labeling.quality.rows import MIN_TASKS, RankingRow, by_task


def row(ranks, *, task=0, labeler=0, shown=None, lengths=None, guidelines=None):
    shown = tuple(shown or range(len(ranks)))
    return RankingRow(
        task, labeler, guidelines, tuple(ranks), shown, tuple(lengths or [1] * len(ranks))
    )


def simulated(tasks, noise, *, overlap=3, k=4, seed=3):
    """Labelers who rank by quality, or, with the probability of their noise, at random."""
    draw = random.Random(seed)
    rows = []
    for task in range(tasks):
        quality = [draw.random() for _ in range(k)]
        for labeler in draw.sample(range(len(noise)), overlap):
            random_one = draw.random() < noise[labeler]
            score = [draw.random() for _ in range(k)] if random_one else quality
            ranks = [1 + sum(other > own for other in score) for own in score]
            shown = draw.sample(range(k), k)
            lengths = [draw.randint(10, 500) for _ in range(k)]
            rows.append(row(ranks, task=task, labeler=labeler, shown=shown, lengths=lengths))
    return rows


def named(figures, name, **scope):
    wanted = {"labeler": None, "guidelines": None} | scope
    (found,) = [
        f for f in figures if f.name == name and (f.labeler, f.guidelines) == tuple(wanted.values())
    ]
    return found


# --- agreement ------------------------------------------------------------------------------------


def test_pairwise_agreement_of_the_same_the_reverse_and_a_tie():
    assert agreement.pairwise(row([1, 2, 3, 4]), row([1, 2, 3, 4])) == (6, 6)
    assert agreement.pairwise(row([1, 2, 3, 4]), row([4, 3, 2, 1])) == (0, 6)
    # One pair turned round of six; a gap in the ranks means nothing.
    assert agreement.pairwise(row([1, 2, 3, 4]), row([2, 1, 3, 9])) == (5, 6)
    assert agreement.pairwise(row([1, 2, 3, 4]), row([1, 1, 1, 1])) == (3, 6)


def test_tau_b_is_the_textbook_one():
    # Kendall's own example of two judges (1948, chapter 1): ten objects, 13 of 45 pairs disagree.
    x, y = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10), (7, 2, 3, 1, 5, 6, 4, 8, 10, 9)
    inversions = sum(y[a] > y[b] for a in range(10) for b in range(a + 1, 10))
    assert agreement.tau_b(row(x), row(y)) == (pytest.approx(1 - 2 * inversions / 45), 1)
    # With ties, by hand: 4 concordant, 1 discordant, 5 pairs untied on one side, 6 on the other.
    ours, _ = agreement.tau_b(row([1, 1, 2, 3]), row([1, 2, 4, 3]))
    assert ours == pytest.approx((4 - 1) / np.sqrt(5 * 6))
    assert agreement.tau_b(row([1, 1, 1, 1]), row([1, 2, 3, 4])) == (0, 0)


def test_alpha_is_krippendorffs_published_one():
    # Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), example C: 4 observers,
    # 12 units, missing data; alpha is .815 for ordinal data.
    missing = np.nan
    observers = np.array(
        [
            [1, 2, 3, 3, 2, 1, 4, 1, 2, missing, missing, missing],
            [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, missing, 3],
            [missing, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, missing],
            [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, missing],
        ]
    )
    units = (observers.T[:, :, None] == agreement.PLACES).sum(axis=1)
    assert agreement.alpha(units) == pytest.approx(0.815, abs=5e-4)
    direct = krippendorff.alpha(observers, level_of_measurement="ordinal")
    assert agreement.alpha(units) == pytest.approx(direct)


def test_alpha_takes_ranks_with_gaps_for_the_places_they_stand_for():
    gaps = agreement.place_counts([row([1, 4, 4, 9]), row([1, 2, 3, 4])])
    dense = agreement.place_counts([row([1, 2, 2, 3]), row([1, 2, 3, 4])])
    assert (gaps == dense).all()
    assert (
        gaps[1].tolist()
        == (agreement.PLACES == 2.5)
        .astype(int)
        .__add__((agreement.PLACES == 2).astype(int))
        .tolist()
    )


def test_all_in_agreement_is_one_and_chance_is_none():
    alike = [row([1, 2, 3, 4], task=t, labeler=one) for t in range(20) for one in range(3)]
    figures = figures_of(alike)
    assert named(figures, "pairwise_agreement")[3:6] == (1, 1, 1)
    assert named(figures, "kendall_tau_b").value == pytest.approx(1)
    assert named(figures, "krippendorff_alpha").value == pytest.approx(1)
    chance = figures_of(simulated(150, [1, 1, 1]))
    for name, expected in [
        ("pairwise_agreement", 0.5), ("kendall_tau_b", 0), ("krippendorff_alpha", 0),
    ]:  # fmt: skip
        figure = named(chance, name)
        # One interval of twenty misses: not by much.
        assert figure.low - 0.02 < expected < figure.high + 0.02
        assert figure.value == pytest.approx(expected, abs=0.08)


# --- reliability ----------------------------------------------------------------------------------

NOISE = [0.05, 0.1, 0.2, 0.4, 0.6, 0.9]


@pytest.mark.parametrize(("overlap", "near"), [(2, 0.13), (3, 0.09), (5, 0.06)])
def test_reliability_finds_how_noisy_each_labeler_is(overlap, near):
    figures = figures_of(simulated(250, NOISE, overlap=overlap))
    for labeler, noise in enumerate(NOISE):
        figure = named(figures, "reliability", labeler=labeler)
        # Whoever ranks at random turns half of the pairs the right way round.
        assert figure.value == pytest.approx(1 - noise / 2, abs=near), (labeler, figure)
        assert figure.low <= figure.value + 1e-3
        assert figure.value - 1e-3 <= figure.high


def test_redrawing_starts_from_what_crowd_kit_fits():
    votes = reliability.votes_of(by_task(simulated(200, NOISE)).values())
    once = np.ones(200, dtype=int)
    assert reliability.redrawn_skills(votes, once) == pytest.approx(
        reliability.skills(votes), abs=0.02
    )


def test_a_task_drawn_twice_weighs_twice_and_one_not_drawn_nothing():
    rows = simulated(60, NOISE, overlap=3)
    tasks = list(by_task(rows).values())
    times = np.array([2 if n % 2 else 0 for n in range(60)])
    drawn = [task for task, count in zip(tasks, times, strict=True) for _ in range(count)]
    whole, copied = reliability.votes_of(tasks), reliability.votes_of(drawn)
    ours = dict(zip(whole.labelers, reliability.redrawn_skills(whole, times), strict=True))
    copies = reliability.redrawn_skills(copied, np.ones(len(drawn), dtype=int))
    for labeler, skill in zip(copied.labelers, copies, strict=True):
        assert ours[labeler] == pytest.approx(skill, abs=1e-9)


# --- bias -----------------------------------------------------------------------------------------


def test_position_bias_of_whoever_always_prefers_the_first():
    first_shown = row([3, 1, 2, 4], shown=[1, 0, 2, 3])
    assert bias.position(first_shown) == (0.5, 1)
    assert bias.position(row([3, 1, 2, 4], shown=[3, 0, 2, 1])) == (-0.5, 1)
    assert bias.position(row([1, 1, 1, 1])) == (0, 1)


def test_length_bias_is_the_correlation_with_length():
    assert bias.length(row([1, 2, 3, 4], lengths=[40, 30, 20, 10])) == (pytest.approx(1), 1)
    assert bias.length(row([4, 3, 2, 1], lengths=[40, 30, 20, 10])) == (pytest.approx(-1), 1)
    assert bias.length(row([1, 2, 3, 4], lengths=[5, 5, 5, 5])) == (0, 0)


def test_biases_are_found_where_they_are_and_not_where_they_are_not():
    fair = figures_of(simulated(200, [0, 0, 0]))
    for name in ("position_bias", "length_bias"):
        figure = named(fair, name)
        assert figure.low < 0 < figure.high
    lazy = [
        row([1 + shown.index(n) for n in range(4)], task=task, shown=shown, lengths=[1, 2, 3, 4])
        for task in range(50)
        for shown in [random.Random(task).sample(range(4), 4)]
    ]
    assert named(figures_of(lazy), "position_bias").value == 0.5


# --- intervals and scopes -------------------------------------------------------------------------


def test_the_interval_covers_the_truth_as_often_as_it_says():
    draw = np.random.default_rng(1)
    hits = 0
    for _ in range(200):
        # Tasks of different size, whose judgements hang together.
        counts = draw.integers(1, 12, size=80).astype(float)
        sums = counts * (draw.random(80) < 0.7)
        low, high = interval_of_ratio(sums, counts, draws=300)
        hits += low <= 0.7 <= high
    assert 0.88 <= hits / 200 <= 0.99


def test_the_same_rows_give_the_same_figures():
    rows = simulated(40, NOISE)
    assert figures_of(rows) == figures_of(list(reversed(rows)))


def test_too_few_shared_tasks_give_no_number():
    figures = figures_of(simulated(MIN_TASKS - 1, [0, 0, 0]))
    assert all(figure.value is None for figure in figures)
    assert named(figures, "pairwise_agreement").tasks == MIN_TASKS - 1
    enough = figures_of(simulated(MIN_TASKS, [0, 0, 0]))
    assert named(enough, "pairwise_agreement").value == 1


def test_figures_of_a_labeler_and_of_guidelines_are_of_these_rows_alone():
    good = [
        row([1, 2, 3, 4], task=t, labeler=one, guidelines=1) for t in range(12) for one in (1, 2)
    ]
    bad = [row(r, task=t, labeler=one, guidelines=2) for t in range(12, 24)
           for one, r in ((1, [1, 2, 3, 4]), (3, [4, 3, 2, 1]))]  # fmt: skip
    figures = figures_of([*good, *bad])
    assert named(figures, "pairwise_agreement").value == 0.5
    assert named(figures, "pairwise_agreement", guidelines=1).value == 1
    assert named(figures, "pairwise_agreement", guidelines=2).value == 0
    assert named(figures, "pairwise_agreement", labeler=1).value == 0.5
    assert named(figures, "pairwise_agreement", labeler=2).value == 1
    assert named(figures, "pairwise_agreement", labeler=3).value == 0


def test_nothing_at_all_is_no_error():
    assert figures_of([]) == []


def test_tau_agrees_with_scipy_on_random_rankings():
    draw = random.Random(5)
    for _ in range(50):
        a, b = ([draw.randint(1, 6) for _ in range(6)] for _ in range(2))
        expected = kendalltau(a, b).statistic
        if not np.isnan(expected):
            assert agreement.tau_b(row(a), row(b))[0] == pytest.approx(expected)
