"""Simulated labelers: the ranking follows gold, the ties and errors follow the settings."""

from itertools import combinations, islice
from random import Random
from statistics import fmean

import pytest

from training.jobs.world import FLAWS, SimulatedLabeler, Task, draw_tasks, score
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
    }
    flags = SimulatedLabeler(seed=1).judge(task.messages, texts).flags
    assert flags["A"] == ["satisfies_constraint"]
    assert "fails_instruction" in flags["B"]
    assert "inappropriate_assistant" in flags["C"]
    assert "hallucination" in flags["D"]


def test_prompts_from_elsewhere_are_ranked_too() -> None:
    messages = [{"role": "user", "content": "Explain how volcanoes erupt."}]
    texts = {
        "A": "asdf",
        "B": "Volcanoes erupt when hot melted rock rises from deep below and bursts out.",
    }
    assert SimulatedLabeler(seed=1).judge(messages, texts).ranks == {"A": 2, "B": 1}
