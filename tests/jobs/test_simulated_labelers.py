"""Simulated labelers: the ranking follows gold, the ties and errors follow the settings."""

from itertools import combinations, islice
from random import Random
from statistics import fmean

import pytest

from training.jobs.world import FLAWS, Habits, SimulatedLabeler, Task, draw_tasks, score
from training.jobs.world.labelers import disturbed, tied

TASKS = list(islice(draw_tasks(11), 80))


def answers_to(task: Task, seed: int = 0) -> dict[str, str]:
    """One good answer and three flawed ones, by alias."""
    rng = Random(seed)
    flaws = rng.sample(sorted(FLAWS), 3)
    return dict(zip("ABCD", [task.good(rng), *(task.flawed(f, rng) for f in flaws)], strict=True))


def gold(task: Task, texts: dict[str, str]) -> dict[str, float]:
    return {alias: score(task.messages, text).total for alias, text in texts.items()}


def turned_share(noise: float) -> float:
    """The share of the comparisons of four distinct groups that this noise turns round."""
    turned = []
    for seed in range(4000):
        drawn = [group[0] for group in disturbed([["1"], ["2"], ["3"], ["4"]], noise, Random(seed))]
        turned += [a > b for a, b in combinations(drawn, 2)]
    return fmean(turned)


def test_without_noise_the_ranking_is_that_of_gold() -> None:
    labeler = SimulatedLabeler(seed=1, just_noticeable=0)
    for task in TASKS[:50]:
        texts = answers_to(task)
        golds, ranks = gold(task, texts), labeler.judge(task.messages, texts).ranks
        for a, b in combinations(texts, 2):
            assert (ranks[a] < ranks[b]) == (golds[a] > golds[b])
            assert (ranks[a] == ranks[b]) == (golds[a] == golds[b])


def test_differences_below_the_just_noticeable_one_are_ties() -> None:
    task = next(task for task in TASKS if task.family.name == "open_qa")
    plain = task.good(Random(1))
    texts = {"A": plain, "B": plain, "C": f"{plain} You fool!"}
    assert SimulatedLabeler(seed=1).judge(task.messages, texts).ranks == {"A": 1, "B": 1, "C": 2}
    blind = SimulatedLabeler(seed=1, just_noticeable=100)
    assert set(blind.judge(task.messages, texts).ranks.values()) == {1}


def test_ties_do_not_chain_over_a_noticeable_difference() -> None:
    utilities = {"a": 1.0, "b": 0.8, "c": 0.6, "d": 0.4}
    assert tied(utilities, 0.25) == [["a", "b"], ["c", "d"]]


@pytest.mark.parametrize("noise", [0.0, 0.2, 0.5])
def test_the_same_labeler_says_the_same_again_whatever_the_aliases(noise: float) -> None:
    labeler = SimulatedLabeler(seed=4, noise=noise)
    for task in TASKS[:20]:
        texts = answers_to(task)
        first = labeler.judge(task.messages, texts)
        assert first == labeler.judge(task.messages, texts)
        renamed = dict(zip("QRST", reversed(texts.values()), strict=True))
        ranks = labeler.judge(task.messages, renamed).ranks
        by_text = {text: first.ranks[alias] for alias, text in texts.items()}
        assert {renamed[alias]: rank for alias, rank in ranks.items()} == by_text


def test_labelers_of_different_seeds_err_differently() -> None:
    task = TASKS[0]
    texts = answers_to(task)
    labelers = [SimulatedLabeler(seed=seed, noise=0.3) for seed in range(20)]
    assert len({str(one.judge(task.messages, texts).ranks) for one in labelers}) > 3


def test_noise_is_the_share_of_comparisons_turned_round() -> None:
    shares = [turned_share(noise) for noise in (0.0, 0.1, 0.25, 0.5)]
    assert shares[0] == 0
    assert shares == pytest.approx([0, 0.1, 0.25, 0.5], abs=0.02)


def test_disagreement_with_gold_grows_with_noise() -> None:
    def disagreement(noise: float) -> int:
        judged = []
        for number, task in enumerate(TASKS):
            texts = answers_to(task, number)
            labelers = [SimulatedLabeler(seed=number, noise=e) for e in (0, noise)]
            clean, noisy = (labeler.judge(task.messages, texts).ranks for labeler in labelers)
            judged += [
                (clean[a] - clean[b]) * (noisy[a] - noisy[b]) < 0 for a, b in combinations(texts, 2)
            ]
        return sum(judged)

    counts = [disagreement(noise) for noise in (0.0, 0.15, 0.35)]
    assert counts[0] == 0
    assert counts[0] < counts[1] < counts[2]


@pytest.mark.parametrize("noise", [-0.1, 0.6, float("nan")])
def test_noise_beyond_a_coin_is_refused(noise: float) -> None:
    with pytest.raises(ValueError, match=r"0\.\.0\.5"):
        SimulatedLabeler(seed=1, noise=noise)


@pytest.mark.parametrize("noise", [0.0, 0.4])
def test_ranks_and_ratings_are_in_range_and_agree(noise: float) -> None:
    labeler = SimulatedLabeler(seed=2, noise=noise)
    for number, task in enumerate(TASKS[:50]):
        texts = answers_to(task, number)
        judgement = labeler.judge(task.messages, texts)
        ranks, ratings = judgement.ranks, judgement.ratings
        assert set(ranks) == set(ratings) == set(judgement.flags) == set(texts)
        assert set(ranks.values()) == set(range(1, max(ranks.values()) + 1))
        assert all(1 <= rating <= 7 for rating in ratings.values())
        for a, b in combinations(texts, 2):
            assert (ranks[a] - ranks[b]) * (ratings[a] - ratings[b]) <= 0


def test_flags_name_the_faults() -> None:
    task = next(task for task in TASKS if task.family.name == "chat")
    rng = Random(1)
    texts = {
        "A": task.good(rng),
        "B": task.flawed("wrong", rng),
        "C": task.flawed("rude", rng),
        "D": task.flawed("invented", rng),
        "E": " ",
    }
    flags = SimulatedLabeler(seed=1).judge(task.messages, texts).flags
    assert flags["A"] == ["satisfies_constraint"]
    assert "fails_instruction" in flags["B"]
    assert "inappropriate_assistant" in flags["C"]
    assert "hallucination" in flags["D"]
    assert flags["E"] == ["fails_instruction"]


def test_prompts_from_elsewhere_are_ranked_too() -> None:
    messages = [{"role": "user", "content": "Explain how volcanoes erupt."}]
    texts = {
        "A": "asdf",
        "B": "Volcanoes erupt when hot melted rock rises from deep below and bursts out.",
    }
    assert SimulatedLabeler(seed=1).judge(messages, texts).ranks == {"A": 2, "B": 1}


# --- biases, fatigue, spam ------------------------------------------------------------------------


def equal_answers(task: Task) -> dict[str, str]:
    """Good answers whose gold is the same though their texts differ."""
    texts = {task.good(Random(seed)): None for seed in range(30)}
    golds = {text: score(task.messages, text).total for text in texts}
    best = max(golds.values())
    return dict(zip("ABCDEF", [text for text in texts if golds[text] == best], strict=False))


def test_the_first_answer_shown_gains_by_position_bias_and_the_last_loses() -> None:
    ordered = 0
    for task in TASKS:
        texts = equal_answers(task)
        if len(texts) < 3:
            continue
        fair, biased = (SimulatedLabeler(1, position_bias=bias) for bias in (0.0, 3.0))
        assert set(fair.judge(task.messages, texts).ranks.values()) == {1}
        ranks = [*biased.judge(task.messages, texts).ranks.values()]
        assert ranks == sorted(ranks)
        assert ranks[0] < ranks[-1]
        turned = dict(reversed(texts.items()))
        assert [*biased.judge(task.messages, turned).ranks.values()] == ranks
        ordered += 1
    assert ordered >= 10


def test_position_bias_never_overturns_a_larger_difference_of_gold() -> None:
    labeler = SimulatedLabeler(1, position_bias=1.0, just_noticeable=0)
    for number, task in enumerate(TASKS[:40]):
        texts = dict(reversed(answers_to(task, number).items()))
        golds, ranks = gold(task, texts), labeler.judge(task.messages, texts).ranks
        for a, b in combinations(texts, 2):
            if golds[a] > golds[b] + 1:
                assert ranks[a] < ranks[b]


def test_length_bias_is_in_points_for_twice_the_words() -> None:
    short, long = "one two three", "one two three four five six seven"
    for bias in (2.0, -2.0, 0.0):
        seen = SimulatedLabeler(1, length_bias=bias).perceived({short: 5.0, long: 5.0})
        assert seen[long] - seen[short] == pytest.approx(bias)
        assert seen[long] + seen[short] == pytest.approx(10)


def test_a_biased_labeler_prefers_the_longer_of_two_good_answers() -> None:
    messages = [{"role": "user", "content": "Explain how volcanoes erupt."}]
    text = "Volcanoes erupt when hot melted rock rises from deep below and bursts out."
    texts = {"A": text, "B": f"{text} Gas in the rock drives it up, and the ash falls far away."}
    fond, averse = (SimulatedLabeler(1, length_bias=bias) for bias in (3.0, -3.0))
    assert fond.judge(messages, texts).ranks == {"A": 2, "B": 1}
    assert averse.judge(messages, texts).ranks == {"A": 1, "B": 2}


def test_fatigue_adds_noise_with_every_task_up_to_a_coin() -> None:
    labeler = SimulatedLabeler(1, noise=0.1, fatigue=0.01)
    assert [labeler.noise_after(done) for done in (0, 10, 1000)] == pytest.approx([0.1, 0.2, 0.5])
    task = TASKS[0]
    texts = answers_to(task)
    fresh = SimulatedLabeler(1, noise=0.1).judge(task.messages, texts)
    assert labeler.judge(task.messages, texts) == fresh
    assert labeler.judge(task.messages, texts, 7) == labeler.judge(task.messages, texts, 7)
    tired = [labeler.judge(t.messages, answers_to(t, n), 40) for n, t in enumerate(TASKS)]
    rested = [labeler.judge(t.messages, answers_to(t, n), 0) for n, t in enumerate(TASKS)]
    assert sum(a != b for a, b in zip(tired, rested, strict=True)) > 20


def test_a_spammer_ranks_as_shown_without_reading() -> None:
    spammer = SimulatedLabeler(1, spam="shown")
    for task in TASKS[:10]:
        judgement = spammer.judge(task.messages, dict(reversed(answers_to(task).items())))
        assert judgement.ranks == {"D": 1, "C": 2, "B": 3, "A": 4}
        assert (judgement.ratings, judgement.flags) == ({}, {})


def test_a_spammer_at_random_is_unmoved_by_gold_and_says_the_same_again() -> None:
    ranks = []
    for number, task in enumerate(TASKS):
        texts = answers_to(task)
        judged = SimulatedLabeler(number, spam="random").judge(task.messages, texts).ranks
        assert sorted(judged.values()) == [1, 2, 3, 4]
        turned = dict(reversed(texts.items()))
        again = SimulatedLabeler(number, spam="random").judge(task.messages, turned).ranks
        assert len(set(texts.values())) < 4 or again == judged
        ranks.append(judged["A"])
    # "A" is the good answer: by chance its mean rank is 2.5, with a standard error of 0.125.
    assert fmean(ranks) == pytest.approx(2.5, abs=0.5)


@pytest.mark.parametrize(
    ("trait", "says"), [({"fatigue": -0.1}, "fatigue"), ({"spam": "lazy"}, "lazy")]
)
def test_traits_out_of_range_are_refused(trait: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        SimulatedLabeler(seed=1, **trait)


# --- demonstrations and habits --------------------------------------------------------------------


def test_a_demonstration_is_good_and_the_same_again() -> None:
    labelers = [SimulatedLabeler(seed=seed) for seed in range(8)]
    varied = 0
    for task in TASKS:
        texts = [labeler.demonstrate(task.messages) for labeler in labelers]
        assert texts == [labeler.demonstrate(task.messages) for labeler in labelers]
        assert all(text and score(task.messages, text).fully_right for text in texts)
        varied += len(set(texts)) > 1
    assert varied > len(TASKS) / 2


def test_nobody_demonstrates_what_the_world_does_not_know() -> None:
    messages = [{"role": "user", "content": "Explain how volcanoes erupt."}]
    assert SimulatedLabeler(seed=1).demonstrate(messages) is None


def test_habits_are_shares_of_the_tasks_and_stay_the_same() -> None:
    habits = Habits(seed=3, skips=0.25, drafts=0.5)
    rows = [(task.messages, list(answers_to(task).values())) for task in TASKS]
    skipped = [habits.skip_reason(*row) for row in rows]
    drafted = [habits.saves_draft(*row) for row in rows]
    assert skipped == [habits.skip_reason(m, texts[::-1]) for m, texts in rows]
    assert 8 <= sum(reason is not None for reason in skipped) <= 32
    assert 25 <= sum(drafted) <= 55
    idle = Habits(seed=3)
    assert not any(idle.skip_reason(*row) or idle.saves_draft(*row) for row in rows)


def test_reading_takes_longer_for_more_words() -> None:
    habits = Habits(seed=1, pace=10.0)
    prompt = [{"role": "user", "content": "word " * 40}]
    assert habits.reading_seconds(prompt, ["word " * 60]) == pytest.approx(10)
    assert habits.reading_seconds(prompt, ["word " * 260]) == pytest.approx(30)
    assert Habits(seed=1).reading_seconds(prompt, ["word " * 60]) == 0


@pytest.mark.parametrize(
    "habit", [{"pace": -1}, {"pace": float("inf")}, {"skips": 1.1}, {"drafts": float("nan")}]
)
def test_habits_out_of_range_are_refused(habit: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(habit))):
        Habits(seed=1, **habit)
