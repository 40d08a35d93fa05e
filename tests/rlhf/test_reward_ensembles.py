"""Reward models of several heads: each learns from its own draw, and together they doubt."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from tests.rlhf.conftest import (
    metrics_of,
    prefers_a,
    said,
)
from training.rlhf import reward
from training.rlhf.comparisons import (
    Comparison,
    load_comparisons,
)
from training.rlhf.errors import TrainingError
from training.rlhf.models import load_reward_model, new_reward_model, read_card
from training.rlhf.score_heads import head_of
from training.rlhf.scoring import Scorer, raw_head_scores

PARAMS = {"epochs": 4, "learning_rate": 3e-3, "batch_prompts": 4}


def test_heads_start_apart_and_follow_the_seed(policy_folder: str) -> None:
    first, again = new_reward_model(policy_folder, 64, 3), new_reward_model(policy_folder, 64, 3)
    weights = head_of(first).weight
    assert torch.equal(weights, head_of(again).weight)
    assert not torch.equal(weights, head_of(new_reward_model(policy_folder, 64, 4)).weight)
    assert weights.std().item() == pytest.approx(1 / math.sqrt(33), rel=0.05)


def asked(content: str, name: str = "") -> Comparison:
    return Comparison(name or content, "", said(content), [], [])


def test_each_head_sees_its_own_draw_of_the_prompts() -> None:
    comparisons = [asked(f"p{n}") for n in range(200)]
    counts = torch.tensor(reward.resamples(comparisons, 5, 1))
    assert counts.shape == (200, 5)
    assert counts.sum(0).tolist() == [200] * 5
    # A prompt is left out by a head with probability 1/e.
    assert (counts == 0).float().mean().item() == pytest.approx(math.exp(-1), abs=0.05)
    assert counts.tolist() == reward.resamples(comparisons, 5, 1)
    assert reward.resamples(comparisons, 1, 1) is None


def test_what_a_head_leaves_out_is_left_out_in_every_round() -> None:
    """40 conversations, each asked about in two rounds and one in a third, under new ids."""
    rounds = [asked(f"p{n}", name=f"{turn}-{n}") for turn in range(2) for n in range(40)]
    counts = reward.resamples([*rounds, asked("p7", name="2-7")], 3, 1)
    assert counts[:40] == counts[40:80]
    assert counts[80] == counts[7]
    assert torch.tensor(counts[:40]).sum(0).tolist() == [40] * 3


def test_an_ensemble_scores_with_less_where_its_heads_disagree(make_job: Any) -> None:
    job = make_job("reward", {"comparisons": prefers_a(24)}, PARAMS | {"heads": 4})
    reward.run(job)
    folder = str(job.folder.artifacts / "model")
    assert metrics_of(job)["accuracy"] > 0.9
    card = read_card(folder)
    assert card["heads"] == 4
    plain, wary = Scorer.load(folder), Scorer.load(folder, pessimism=2.0)
    texts = [
        plain.renderer.render(row["messages"], completion)
        for row in prefers_a(24)
        for completion in row["completions"]
    ]
    raw = raw_head_scores(plain.model, texts, 0)
    assert raw.shape == (96, 4)
    heads = (raw - card["reward_mean"] - torch.tensor(card["reward_shifts"])) / card["reward_std"]
    assert torch.allclose(plain.score(texts), heads.mean(1), atol=1e-5)
    assert torch.allclose(
        wary.score(texts), heads.mean(1) - 2 * heads.var(1, unbiased=False), atol=1e-4
    )
    # One unit for all heads, and levels that do not count as disagreement.
    trained = [index for index in range(96) if index // 4 < 20]
    spread = heads.std(0, unbiased=False)
    assert spread.max() / spread.min() < 1.2
    assert heads.mean(0).abs().max() < 0.2
    assert plain.score([texts[i] for i in trained]).std(unbiased=False) == pytest.approx(1, abs=0.1)


def test_the_loudest_head_does_not_outvote_the_others(
    policy_folder: str, make_job: Any, renderer: Any
) -> None:
    """One unit for all heads: each orders texts as before, and none counts for more."""
    job = make_job("reward", {"comparisons": prefers_a(6)})
    comparisons = load_comparisons(job, renderer, 100)
    texts = [text for comparison in comparisons for text in comparison.texts]
    model = new_reward_model(policy_folder, heads=3)
    with torch.no_grad():
        head_of(model).weight.mul_(torch.tensor([[1.0], [30.0], [0.1]]))
    before = raw_head_scores(model, texts, 0)
    scale = reward.normalise(job, model, renderer, comparisons, 100)
    after = raw_head_scores(model, texts, 0)
    spread = after.std(0, unbiased=False)
    assert torch.allclose(spread, spread[:1].expand(3), rtol=1e-4)
    assert torch.equal(before.argsort(0), after.argsort(0))
    heads = (after - scale.mean - torch.tensor(scale.shifts)) / scale.std
    assert heads.mean(0).abs().max() < 1e-4
    assert heads.mean(1).std(unbiased=False) == pytest.approx(1, abs=1e-4)


def test_the_unit_of_many_rankings_is_told_by_some(
    make_job: Any, renderer: Any, policy_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From all over the data, and hardly another than that of all."""
    job = make_job("reward", {"comparisons": prefers_a(40)})
    comparisons = load_comparisons(job, renderer, 100)
    model = new_reward_model(policy_folder)
    whole = reward.normalise(job, model, renderer, comparisons, 100)
    seen: list[int] = []
    monkeypatch.setattr(
        reward,
        "raw_head_scores",
        lambda model, texts, pad: seen.append(len(texts)) or raw_head_scores(model, texts, pad),
    )
    monkeypatch.setattr(reward, "PROMPTS_FOR_SCALE", 10)
    some = reward.normalise(job, model, renderer, comparisons, 100)
    assert seen[0] == 10 * len(comparisons[0].texts)
    assert some.std == pytest.approx(whole.std, rel=0.3)


def test_pessimism_needs_somebody_to_disagree(reward_folder: str) -> None:
    with pytest.raises(TrainingError, match=r"has one: train one with params\.heads of 2"):
        Scorer.load(reward_folder, pessimism=0.5)


def test_a_reward_model_goes_on_with_the_heads_it_has(make_job: Any, reward_folder: str) -> None:
    job = make_job(
        "reward", {"comparisons": prefers_a(4)}, PARAMS | {"heads": 3}, model=reward_folder
    )
    with pytest.raises(TrainingError, match="with 1 score heads, and params ask for 3"):
        reward.run(job)


def test_a_classifier_with_several_labels_is_no_ensemble(policy_folder: str, tmp_path: Any) -> None:
    model = new_reward_model(policy_folder, heads=3)
    model.save_pretrained(tmp_path)
    with pytest.raises(TrainingError, match="no score head"):
        load_reward_model(str(tmp_path))
