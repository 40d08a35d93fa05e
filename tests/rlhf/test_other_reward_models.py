"""Reward models that read another template or context than the policy, or are damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaForCausalLM

from tests.rlhf.conftest import (
    TEMPLATE,
    byte_tokenizer,
    events_of,
    metrics_of,
    prompts,
    random_reward_model,
    said,
    tiny_config,
)
from training.rlhf import grpo, ppo, rejection, rloo
from training.rlhf.errors import TrainingError
from training.rlhf.models import load_policy, load_renderer
from training.rlhf.rendering import Rendered
from training.rlhf.sample import fit_prompts
from training.rlhf.scoring import Scorer

RUN = {"ppo": ppo.run, "rloo": rloo.run, "grpo": grpo.run, "rejection": rejection.run}
ONLINE = {"steps": 3, "batch_size": 4, "max_new_tokens": 6}
PARAMS = {
    "ppo": ONLINE | {"minibatch_size": 2},
    "rloo": ONLINE | {"n": 2},
    "grpo": ONLINE | {"n": 2},
    "rejection": {"n": 2, "epochs": 1, "max_new_tokens": 6},
}
NO_SYSTEM = TEMPLATE.replace("'tool'", "'system'")
# Reads three letters of the last message.
SHORT = "<bos>{{ messages[-1]['content'][:3] }}<assistant>"


def reward_model(folder: Path, template: str, context: int = 128) -> str:
    torch.manual_seed(3)
    base = folder / "base"
    LlamaForCausalLM(tiny_config(max_position_embeddings=context)).save_pretrained(base)
    byte_tokenizer(template=template).save_pretrained(base)
    random_reward_model(str(base)).save_pretrained(folder / "reward")
    byte_tokenizer(template=template).save_pretrained(folder / "reward")
    return str(folder / "reward")


@pytest.mark.parametrize("kind", RUN)
def test_prompts_that_it_cannot_read_are_dropped_at_the_start(
    make_job: Any, tmp_path: Path, kind: str
) -> None:
    rows = prompts(8)
    rows[3]["messages"] = [{"role": "system", "content": "s"}, *rows[3]["messages"]]
    rows[5]["messages"] = said("x" * 40)
    rewards = reward_model(tmp_path, NO_SYSTEM, context=32)
    job = make_job(kind, {"prompts": rows}, PARAMS[kind], reward_model=rewards)
    RUN[kind](job)
    told = [event for event in events_of(job, "data") if "reason" in event]
    assert told == [
        {"prompts_dropped": 1, "reason": reason, "prompts": [name]}
        for reason, name in (
            ("refused_by_template_of_reward_model", "p3"),
            ("too_long_for_reward_model", "p5"),
        )
    ]
    assert "reward_mean" in metrics_of(job)


def test_a_prompt_that_leaves_its_answer_no_room_is_dropped_at_the_start(
    make_job: Any, policy_folder: str, tmp_path: Path
) -> None:
    """And not found out by the first answer that is long."""
    renderer = load_renderer(policy_folder)
    scorer = Scorer.load(reward_model(tmp_path, NO_SYSTEM, context=24))
    rows = [{"prompt": f"p{n}", "messages": said("x" * n)} for n in (2, 20, 7)]
    used = len(scorer.renderer.prompt_ids(said("")))
    job = make_job("ppo", {"prompts": rows}, PARAMS["ppo"])
    kept = fit_prompts(job, renderer, 128, [(row, ()) for row in rows], 24 - used - 7, scorer)
    assert [prompt.id for prompt in kept] == ["p2", "p7"]
    [told] = events_of(job, "data")
    assert told == {"prompts_dropped": 1, "reason": "too_long_for_reward_model", "prompts": ["p20"]}


@pytest.mark.parametrize("kind", RUN)
def test_its_context_counts_in_its_own_tokens(make_job: Any, tmp_path: Path, kind: str) -> None:
    rows = [{"prompt": f"p{n}", "messages": said("x" * 30)} for n in range(4)]
    rewards = reward_model(tmp_path, SHORT, context=24)
    job = make_job(kind, {"prompts": rows}, PARAMS[kind], reward_model=rewards)
    RUN[kind](job)
    assert not any("reason" in event for event in events_of(job, "data"))


def test_none_left_says_why(make_job: Any, tmp_path: Path) -> None:
    rows = [{"prompt": "p", "messages": [{"role": "system", "content": "s"}]}]
    rewards = reward_model(tmp_path, NO_SYSTEM)
    job = make_job("ppo", {"prompts": rows}, PARAMS["ppo"], reward_model=rewards)
    with pytest.raises(TrainingError, match="1 refused_by_template_of_reward_model"):
        ppo.run(job)


def test_the_shortest_reader_of_the_same_vocabulary_sets_the_room(
    policy_folder: str, tmp_path: Path
) -> None:
    policy, renderer = load_policy(policy_folder), load_renderer(policy_folder)
    same = Scorer.load(reward_model(tmp_path / "same", TEMPLATE, context=24))
    other = Scorer.load(reward_model(tmp_path / "other", SHORT, context=24))
    assert same.room(renderer, policy) == 24
    assert other.room(renderer, policy) == 128
    assert other.room(renderer, policy, same.model) == 24


def test_a_text_that_still_does_not_fit_is_named_by_its_prompt(
    policy_folder: str, tmp_path: Path
) -> None:
    renderer = load_renderer(policy_folder)
    scorer = Scorer.load(reward_model(tmp_path, SHORT, context=24))
    text = renderer.render(said("question"), {"text": "y" * 20})
    with pytest.raises(TrainingError, match=r"prompt of 5 tokens .* 26 tokens .* takes 24"):
        scorer.score_completions([said("question")], [text], renderer)


@pytest.mark.parametrize("kind", RUN)
def test_scores_that_are_no_numbers_blame_the_reward_model(
    make_job: Any, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    load = Scorer.load

    def damaged(name: str, pessimism: float = 0.0) -> Scorer:
        scorer = load(name, pessimism)
        torch.nn.init.constant_(scorer.model.score.weight, float("nan"))
        return scorer

    monkeypatch.setattr(Scorer, "load", damaged)
    job = make_job(kind, {"prompts": prompts(4)}, PARAMS[kind])
    with pytest.raises(TrainingError, match="reward model gives scores that are not finite"):
        RUN[kind](job)


@pytest.mark.parametrize("broken", [float("inf"), float("nan")])
def test_a_broken_scale_is_told_too(reward_folder: str, broken: float) -> None:
    whole = Scorer.load(reward_folder)
    scorer = Scorer(whole.model, whole.renderer, mean=broken)
    with pytest.raises(TrainingError, match="not finite"):
        scorer.score([Rendered([1, 3, 80, 4], [81, 2])])
