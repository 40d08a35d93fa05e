"""What a reward model's accuracy is worth: intervals, ceilings, calibration, labelers."""

from __future__ import annotations

import itertools
import json
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.rlhf.conftest import compared, events_of, metrics_of, prefers_a, said
from training.rlhf import reports, reward
from training.rlhf.comparisons import Comparison, Judgement
from training.rlhf.labelers import (
    LEAST_WEIGHT,
    agreements,
    error_rate,
    error_rates,
    reliability,
)
from training.rlhf.models import read_card
from training.rlhf.rendering import Rendered


def judged(
    winner: int, loser: int, labeler: str = "ada", gap: int = 1, among: int = 2
) -> Judgement:
    return Judgement(winner, loser, labeler, gap, among, held_out=False)


PROMPTS = itertools.count()


def comparison(
    *judgements: Judgement, lengths: tuple[int, ...] = (1, 1, 1), asked: str = ""
) -> Comparison:
    """Of a prompt of its own, unless it is told what was ``asked``."""
    texts = [Rendered([1], [5] * length) for length in lengths]
    messages = said(asked or f"prompt {next(PROMPTS)}")
    return Comparison("p", "", messages, texts, list(judgements))


# --- labelers -------------------------------------------------------------------------------------


def test_agreement_is_with_others_about_the_same_pair() -> None:
    found = agreements(
        comparison(
            judged(0, 1, "ada"),
            judged(0, 1, "ada"),
            judged(1, 0, "ben"),
            judged(0, 1, "cho"),
            judged(1, 2, "cho"),
        )
    )
    assert found == [0.5, 0.5, 0.0, pytest.approx(2 / 3), None]


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.164, 0.5])
def test_the_error_rate_undoes_the_agreement(rate: float) -> None:
    assert error_rate(1 - 2 * rate * (1 - rate)) == pytest.approx(rate, abs=1e-6)


def test_the_ceiling_is_that_of_instructgpts_labelers() -> None:
    """72.6 % agreement: no model can score above 83.6 %."""
    assert 1 - error_rate(0.726) == pytest.approx(0.836, abs=5e-4)
    assert error_rate(0.4) == 0.5


def crowd(rates: dict[str, float], pairs: int) -> list[Comparison]:
    """Each labeler judges each pair, wrong as often as ``rates`` says."""
    luck = random.Random(5)
    found = []
    for _ in range(pairs):
        judgements = []
        for labeler, rate in rates.items():
            wrong = luck.random() < rate
            judgements.append(judged(int(wrong), int(not wrong), labeler))
        found.append(comparison(*judgements))
    return found


def test_each_labelers_errors_are_found() -> None:
    rates = {"ada": 0.05, "ben": 0.1, "cho": 0.2, "dan": 0.45}
    found = error_rates(crowd(rates, 2000))
    assert found == {name: pytest.approx(rate, abs=0.03) for name, rate in rates.items()}


def test_two_labelers_have_the_errors_that_their_agreement_tells() -> None:
    data = crowd({"ada": 0.15, "ben": 0.15}, 500)
    agreement = sum(c.judgements[0].winner == c.judgements[1].winner for c in data) / 500
    found = error_rates(data)
    assert found["ada"] == found["ben"] == pytest.approx(error_rate(agreement), abs=1e-3)


def test_careless_labelers_weigh_less() -> None:
    rates = {"ada": 0.05, "ben": 0.05, "cho": 0.05, "dan": 0.45}
    found = reliability(crowd(rates, 400))
    assert sum(found.weights.values()) / 4 == pytest.approx(1)
    assert found.weights["dan"] / found.weights["ada"] == pytest.approx(0.1 / 0.9, abs=0.08)
    assert found.weights["ada"] == pytest.approx(found.weights["ben"], rel=0.1)
    # Two of the first agree in 1 - 2 * 0.05 * 0.95, and one of them and the last in 0.5.
    assert found.agreement == pytest.approx((0.905 + 0.505) / 2, abs=0.03)
    assert found.judged_twice == 1600


def test_a_few_judgements_are_not_taken_for_a_character() -> None:
    """Somebody who agreed once, or disagreed once, weighs nearly as much as the others."""
    base = crowd({"ada": 0.1, "ben": 0.1}, 200)
    for winner in (0, 1):
        asked = comparison(judged(0, 1, "ada"), judged(winner, 1 - winner, "eve"))
        weights = reliability([*base, asked]).weights
        assert weights["eve"] / weights["ben"] == pytest.approx(1, abs=0.15)
        assert (weights["eve"] < weights["ben"]) == (winner == 1)


def test_the_weights_are_one_on_average_over_pairs() -> None:
    data = [*crowd({"ada": 0.0, "dan": 0.3}, 50), *crowd({"ada": 0.0}, 200)]
    found = reliability(data)
    pairs = [j.labeler for c in data for j in c.judgements]
    assert sum(found.weights[labeler] for labeler in pairs) / len(pairs) == pytest.approx(1)
    assert min(found.weights.values()) > LEAST_WEIGHT / 2


@pytest.mark.parametrize("rates", [{"ada": 0.2}, {"ada": 0.5, "ben": 0.5}])
def test_without_a_sign_of_reliability_all_weigh_the_same(rates: dict[str, float]) -> None:
    data = crowd(rates, 21) if len(rates) == 1 else [comparison(judged(0, 1), judged(1, 0, "ben"))]
    found = reliability(data)
    assert list(found.weights.values()) == [pytest.approx(1)] * len(rates)
    assert found.agreement == (None if len(rates) == 1 else 0.0)


# --- measures -------------------------------------------------------------------------------------


def test_the_interval_is_over_prompts_not_pairs() -> None:
    """Ten prompts of ten equal pairs say as much as ten pairs, not as a hundred."""
    right = np.repeat([1.0, 0.0] * 5, 10)
    clustered = reports.interval(right, np.repeat(np.arange(10), 10), 1)
    apart = reports.interval(right, np.arange(100), 1)
    widths = [high - low for low, high in (clustered, apart)]
    assert widths[0] == pytest.approx(2 * 1.96 * math.sqrt(0.25 / 10), abs=0.08)
    assert widths[1] == pytest.approx(2 * 1.96 * math.sqrt(0.25 / 100), abs=0.03)
    assert clustered == reports.interval(right, np.repeat(np.arange(10), 10), 1)
    assert reports.interval(right, np.zeros(100), 1) == (None, None)


def test_calibration_of_a_model_that_knows_its_chances() -> None:
    """Labels drawn with the model's own chances: predicted and observed agree."""
    luck = np.random.default_rng(3)
    difference = luck.normal(0, 2, 40_000)
    first_wins = luck.random(40_000) < 1 / (1 + np.exp(-difference))
    lead = np.where(first_wins, difference, -difference)
    found = reports.calibration(lead)
    assert found["error"] < 0.01
    assert len(found["bins"]) == 10
    assert sum(row["pairs"] for row in found["bins"]) == 40_000
    assert reports.calibration(3 * lead)["error"] > 0.05


def test_calibration_by_hand() -> None:
    logit = math.log(0.72 / 0.28)
    found = reports.calibration(np.array([logit, logit, logit, -logit, 0.0, 100.0]))
    assert found["bins"] == [
        {"from": 0.5, "to": 0.55, "pairs": 1, "predicted": 0.5, "observed": 0.5},
        {"from": 0.7, "to": 0.75, "pairs": 4, "predicted": pytest.approx(0.72), "observed": 0.75},
        {"from": 0.95, "to": 1.0, "pairs": 1, "predicted": pytest.approx(1), "observed": 1.0},
    ]
    assert found["error"] == pytest.approx(4 / 6 * 0.03)


def test_every_part_by_hand() -> None:
    first = comparison(
        judged(0, 1, "ada", gap=1, among=3),
        judged(0, 2, "ada", gap=2, among=3),
        judged(1, 2, "ada", gap=1, among=3),
        judged(0, 1, "ben", gap=1, among=2),
        lengths=(3, 2, 3),
    )
    second = comparison(judged(1, 0, "cho"), lengths=(4, 1))
    found = reports.report(
        [first, second], [2.0, 1.0, 3.0, 0.0, 0.0], [first, second], ["ada", "ben"], 0
    )
    assert found["all"]["pairs"] == 5
    assert found["all"]["prompts"] == 2
    assert found["all"]["accuracy"] == pytest.approx(2.5 / 5)
    assert found["all"]["agreement"] == 1
    assert found["all"]["noise_ceiling"] == 1
    assert found["all"]["judged_twice"] == 2

    def accuracies(part: str, key: str) -> dict[Any, Any]:
        return {row[key]: pytest.approx(row["accuracy"]) for row in found[part]}

    assert accuracies("by_rank_gap", "gap") == {1: 2.5 / 4, 2: 0}
    assert accuracies("by_labeler", "labeler") == {"ada": 1 / 3, "ben": 1, "cho": 0.5}
    assert accuracies("by_labeler_seen", "seen") == {True: 0.5, False: 0.5}
    assert accuracies("by_completions", "completions") == {3: 1 / 3, 2: 0.75}
    assert accuracies("by_length", "length") == {
        "winner shorter": 0.25,
        "equal": 0,
        "winner longer": 1,
    }
    ceilings = {row["labeler"]: row["noise_ceiling"] for row in found["by_labeler"]}
    assert ceilings == {"ada": pytest.approx(1), "ben": pytest.approx(1), "cho": None}
    gaps = {row["gap"]: row["noise_ceiling"] for row in found["by_rank_gap"]}
    assert gaps == {1: 1, 2: None}


def test_rounds_that_asked_the_same_are_one_prompt() -> None:
    """Four prompts, each ranked in six rounds, are four draws of the bootstrap, not 24."""
    data = [comparison(judged(0, 1), asked=f"q{n % 4}") for n in range(24)]
    scores = [score for n in range(24) for score in ((1, 0, 0) if n % 4 else (0, 1, 0))]
    found = reports.report(data, scores, data, ["ada"], 0)["all"]
    assert (found["pairs"], found["prompts"]) == (24, 4)
    assert found["accuracy"] == 0.75
    assert found["accuracy_low"] <= 0.25


def test_a_noisy_model_stays_below_the_ceiling_that_is_printed() -> None:
    """A model that is always right meets labels that are wrong in one case of five."""
    data = crowd({"ada": 0.2, "ben": 0.2}, 3000)
    scores = [score for _ in data for score in (1.0, 0.0, 0.0)]
    found = reports.report(data, scores, data, ["ada"], 0)["all"]
    assert found["accuracy"] == pytest.approx(0.8, abs=0.02)
    assert found["noise_ceiling"] == pytest.approx(found["accuracy"], abs=0.02)


# --- in a run -------------------------------------------------------------------------------------


def ranked_by(labelers: dict[str, bool], count: int) -> list[dict[str, Any]]:
    """As ``prefers_a``; who is held out ranks the other way round."""
    rows = []
    for row in prefers_a(count):
        pairs = row["rankings"][0]["pairs"]
        rankings = [
            {
                "labeler": labeler,
                "pairs": [[b, a] for a, b in pairs] if held_out else pairs,
                "ties": 2,
                **({"held_out": True} if held_out else {}),
            }
            for labeler, held_out in labelers.items()
        ]
        rows.append({**row, "rankings": rankings})
    return rows


PARAMS = {"epochs": 4, "learning_rate": 3e-3, "batch_prompts": 4}


def test_held_out_labelers_are_measured_on_and_not_learnt_from(make_job: Any) -> None:
    rows = ranked_by({"ada": False, "ben": False, "eve": True}, 24)
    job = make_job("reward", {"comparisons": rows}, PARAMS)
    reward.run(job)
    metrics = metrics_of(job)
    folder = job.folder.artifacts / "model"
    held_out = json.loads((folder / "report.json").read_text())["held_out"]
    by_labeler = {row["labeler"]: row for row in held_out["by_labeler"]}
    assert by_labeler["ada"]["accuracy"] > 0.9
    assert by_labeler["eve"]["accuracy"] < 0.1
    assert not by_labeler["eve"]["seen"]
    assert {row["seen"]: row["accuracy"] > 0.5 for row in held_out["by_labeler_seen"]} == {
        True: True,
        False: False,
    }
    # Of three, two agree: 1/3 of the pairs of labelers.
    assert held_out["all"]["agreement"] == pytest.approx(1 / 3)
    assert metrics["noise_ceiling"] == 0.5
    assert metrics["pairs"] == 12 * metrics["prompts"]
    assert metrics["validation_pairs"] == 18 * metrics["validation_prompts"]
    assert metrics["accuracy_low"] <= metrics["accuracy"] <= metrics["accuracy_high"]
    card = (folder / "README.md").read_text()
    assert "## Held-out accuracy" in card
    assert "| labeler eve |" in card
    [counts] = events_of(job, "data")[:1]
    assert counts["ties_dropped"] == 24 * 6
    assert read_card(str(folder))["metrics"]["accuracy"] == metrics["accuracy"]


def test_held_out_labelers_alone_teach_nobody(make_job: Any) -> None:
    job = make_job("reward", {"comparisons": ranked_by({"eve": True}, 4)}, PARAMS)
    with pytest.raises(reward.TrainingError, match="held-out labelers alone"):
        reward.run(job)


def test_without_held_out_prompts_the_report_says_nothing_of_them(make_job: Any) -> None:
    job = make_job("reward", {"comparisons": prefers_a(3)}, PARAMS)
    reward.run(job)
    found = json.loads((job.folder.artifacts / "model" / "report.json").read_text())
    assert found["held_out"] is None
    assert found["training"]["accuracy"] == metrics_of(job)["train_accuracy"]
    names = ("accuracy", "accuracy_low", "accuracy_high", "noise_ceiling", "calibration_error")
    assert [metrics_of(job)[name] for name in names] == [None] * 5


def test_labeler_weights_are_told_and_used(make_job: Any) -> None:
    """Two who agree and one who turns every pair round: their weights go into the rows."""
    rows = []
    for row in prefers_a(12):
        pairs = row["rankings"][0]["pairs"]
        turned = [[b, a] for a, b in pairs]
        rankings = [{"labeler": name, "pairs": pairs} for name in ("ada", "ben", "cho")]
        rows.append({**row, "rankings": [*rankings, {"labeler": "dan", "pairs": turned}]})
    job = make_job("reward", {"comparisons": rows}, PARAMS | {"labeler_weights": True})
    reward.run(job)
    [told] = events_of(job, "labelers")
    weights = dict(zip(told["labelers"], told["weights"], strict=True))
    assert weights["dan"] < 0.2 * weights["ada"]
    assert weights["ada"] == pytest.approx(weights["cho"])
    assert told["agreement"] == pytest.approx(0.5)
    losses = [m["loss"] for m in events_of(job, "train")]
    plain = make_job("reward", {"comparisons": rows}, PARAMS, name="plain")
    reward.run(plain)
    assert not events_of(plain, "labelers")
    assert losses[-1] < 0.8 * [m["loss"] for m in events_of(plain, "train")][-1]


def test_labeler_weights_without_double_judgements_say_so(make_job: Any) -> None:
    params = PARAMS | {"labeler_weights": True, "epochs": 1}
    job = make_job("reward", {"comparisons": prefers_a(4)}, params)
    reward.run(job)
    [told] = events_of(job, "labelers")
    assert told["weights"] == [1.0]
    assert "no pair was judged twice" in told["note"]


def test_rank_gaps_come_from_the_ranking_itself(make_job: Any, renderer: Any) -> None:
    """1, 2, 2, 4 by competition: the tied are neighbours of both others."""
    from training.rlhf.comparisons import load_comparisons

    order = [0, 1, 1, 3]
    pairs = [(a, b) for a, b in itertools.permutations(range(4), 2) if order[a] < order[b]]
    rows = [compared("p", ["a", "b", "c", "d"], pairs), compared("q", ["a", "b"], [(1, 0)])]
    job = make_job("reward", {"comparisons": rows})
    ranked, two = load_comparisons(job, renderer, 100)
    found = {(j.winner, j.loser): (j.gap, j.distance) for j in ranked.judgements}
    assert found == {
        (0, 1): (1, 0.0),
        (0, 2): (1, 0.0),
        (0, 3): (3, 1.0),
        (1, 3): (2, 0.5),
        (2, 3): (2, 0.5),
    }
    assert [j.distance for j in two.judgements] == [0.0]
    assert two.best == [1]
    assert ranked.best == [0]


def test_a_ranking_of_completions_that_are_not_there_is_refused(make_job: Any) -> None:
    for pairs in ([(0, 2)], [(1, 1)], [(-1, 0)]):
        job = make_job("reward", {"comparisons": [compared("seven", ["a", "b"], pairs)]})
        with pytest.raises(reward.TrainingError, match="prompt seven compares"):
            reward.run(job)


def test_the_report_is_written_as_text_and_numbers_only(tmp_path: Path) -> None:
    data = crowd({"ada": 0.2, "ben": 0.2}, 30)
    found = reports.report(data, [1.0, 0.0, 0.0] * 30, data, ["ada"], 0)
    (tmp_path / "README.md").write_text("card\n")
    reports.write(tmp_path, {"held_out": found, "training": None})
    assert json.loads((tmp_path / "report.json").read_text())["held_out"] == found
    assert (tmp_path / "README.md").read_text().startswith("card\n\n## Held-out accuracy\n")
