"""The reward model: what it learns, how it is scaled, and that a score is the text's alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.rlhf.conftest import (
    compared,
    demonstrations,
    events_of,
    metrics_of,
    prefers_a,
    said,
)
from tests.rlhf.toys import score_tokens
from training.rlhf import reward
from training.rlhf.batching import pad
from training.rlhf.comparisons import load_comparisons
from training.rlhf.errors import TrainingError
from training.rlhf.models import (
    load_reward_model,
    new_reward_model,
    read_card,
)
from training.rlhf.rendering import Rendered
from training.rlhf.score_heads import at_last_token
from training.rlhf.scoring import Scorer, raw_scores
from training.rlhf.splitting import split

PARAMS = {"epochs": 4, "learning_rate": 3e-3, "batch_prompts": 4}


def test_a_score_does_not_depend_on_padding_or_company(reward_folder: str) -> None:
    model = load_reward_model(reward_folder)
    # One text ends with the padding token's id and one holds the end token inside.
    sequences = [[1, 3, 80, 4, 81, 0], [1, 3, 2, 80, 4, 82, 83, 2], [1, 3, 4, 2]]
    texts = [Rendered(ids[:2], ids[2:]) for ids in sequences]
    alone = torch.cat([raw_scores(model, [text], 0) for text in texts])
    assert torch.allclose(raw_scores(model, texts, 0), alone, atol=1e-5)
    for side in ("left", "right"):
        ids, mask = pad([*sequences, [1] * 30], 0, side)
        scores = at_last_token(score_tokens(model, ids, mask), mask)
        assert torch.allclose(scores[:3], alone, atol=1e-5), side


def test_a_new_head_has_no_opinion(policy_folder: str, reward_folder: str) -> None:
    sequences = [Rendered([1, 3, 80, 4], [81, 2]), Rendered([1, 3, 4], [2])]
    assert raw_scores(new_reward_model(policy_folder), sequences, 0).tolist() == [0, 0]
    kept = raw_scores(new_reward_model(reward_folder), sequences, 0)
    assert torch.equal(kept, raw_scores(load_reward_model(reward_folder), sequences, 0))
    assert kept.abs().min() > 0


def test_it_learns_the_order_and_reports_held_out_pairs(make_job: Any) -> None:
    job = make_job("reward", {"comparisons": prefers_a(24)}, PARAMS)
    reward.run(job)
    metrics = metrics_of(job)
    assert metrics["accuracy"] > 0.9
    assert metrics["train_accuracy"] > 0.9
    assert metrics["prompts"] + metrics["validation_prompts"] == 24
    assert metrics["validation_prompts"] == 4
    assert metrics["pairs"] == 6 * metrics["prompts"]
    losses = [m["loss"] for m in events_of(job, "train")]
    assert losses[-1] < losses[0]


def test_the_scale_is_stored_and_applied(make_job: Any) -> None:
    data = {"comparisons": prefers_a(8), "demonstrations": demonstrations(3)}
    job = make_job("reward", data, PARAMS)
    reward.run(job)
    folder = str(job.folder.artifacts / "model")
    card = read_card(folder)
    scorer = Scorer.load(folder)
    texts = [
        scorer.renderer.render(row["messages"], {"text": row["completion"]})
        for row in demonstrations(3)
    ]
    assert scorer.score(texts).mean().item() == pytest.approx(0, abs=1e-4)
    raw = raw_scores(scorer.model, texts, 0)
    expected = (raw - card["reward_mean"]) / card["reward_std"]
    assert torch.allclose(scorer.score(texts), expected)


def test_without_demonstrations_the_completions_set_the_scale(make_job: Any) -> None:
    job = make_job("reward", {"comparisons": prefers_a(3)}, PARAMS)
    reward.run(job)
    scorer = Scorer.load(str(job.folder.artifacts / "model"))
    texts = [
        scorer.renderer.render(row["messages"], completion)
        for row in prefers_a(3)
        for completion in row["completions"]
    ]
    scores = scorer.score(texts)
    assert scores.mean().item() == pytest.approx(0, abs=1e-4)
    assert scores.std(unbiased=False).item() == pytest.approx(1, abs=1e-4)


def test_with_few_prompts_accuracy_is_unknown_rather_than_flattering(make_job: Any) -> None:
    job = make_job("reward", {"comparisons": prefers_a(3)}, PARAMS)
    reward.run(job)
    assert metrics_of(job)["accuracy"] is None
    assert metrics_of(job)["validation_prompts"] == 0


def test_the_artifact_holds_no_pickle_and_a_card(make_job: Any) -> None:
    job = make_job("reward", {"comparisons": prefers_a(4)}, PARAMS | {"epochs": 1})
    reward.run(job)
    names = {path.name for path in (job.folder.artifacts / "model").iterdir()}
    assert {"model.safetensors", "podium.json", "README.md", "tokenizer.json"} <= names
    assert not [n for n in names if Path(n).suffix in {".bin", ".pt", ".pkl", ".pth"}]
    assert not list(job.folder.checkpoints.iterdir())


def test_a_policy_is_not_taken_for_a_reward_model(policy_folder: str) -> None:
    with pytest.raises(TrainingError, match="no score head"):
        Scorer.load(policy_folder)


def test_unusable_comparisons_are_counted(make_job: Any) -> None:
    rows = [
        compared("good", ["a", "b"], [(0, 1)]),
        compared("same", ["a", "a"], [(0, 1)]),
        compared("unranked", ["a", "b"], []),
        compared("long", ["a" * 200, "b"], [(0, 1)]),
    ]
    job = make_job("reward", {"comparisons": rows}, {"epochs": 1})
    reward.run(job)
    [counts] = events_of(job, "data")[:1]
    assert counts["prompts"] == 1
    assert counts["prompts_without_pairs"] == 3
    assert counts["completions_too_long"] == 1
    with pytest.raises(TrainingError, match="no prompt has two different completions"):
        reward.run(make_job("reward", {"comparisons": rows[1:]}, name="none"))


def test_what_held_out_labelers_said_of_training_prompts_is_counted(make_job: Any) -> None:
    rows = prefers_a(4)
    for row in rows[:3]:
        pairs = row["rankings"][0]["pairs"]
        row["rankings"].append({"labeler": "eve", "held_out": True, "pairs": pairs[:2]})
    rows[0]["rankings"].pop(0)
    params = PARAMS | {"epochs": 1, "validation_share": 0.0}
    job = make_job("reward", {"comparisons": rows}, params)
    reward.run(job)
    assert events_of(job, "data")[1] == {
        "part": "split",
        "training": 3,
        "validation": 0,
        "pairs_of_held_out_labelers": 6,
        "prompts_of_held_out_labelers_alone": 1,
    }


GOOD = compared("good", ["a", "b"], [(0, 1)])


def changed(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in (GOOD | fields).items() if value is not ...}


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        (["no object"], "is no JSON object"),
        (changed(prompt=...), "prompt must be a text"),
        (changed(messages=...), "messages must be a list of messages"),
        (changed(messages=None), "messages must be a list of messages"),
        (changed(messages="hello"), "messages must be a list of messages"),
        (changed(messages=[{"role": "user"}]), "messages must be a list of messages"),
        (changed(completions=...), "completions must be a list of objects"),
        (changed(completions=["a", "b"]), "completions must be a list of objects"),
        (changed(completions=[{"text": "a"}, {"text": None}]), r"completions\[1\]\.text must be"),
        (
            changed(completions=[{"text": "a", "token_ids": "a"}, {"text": "b"}]),
            r"completions\[0\]\.token_ids must be a list of whole numbers",
        ),
        (changed(rankings=...), "rankings must be a list of objects"),
        (changed(rankings={"pairs": []}), "rankings must be a list of objects"),
        (changed(rankings=[{}]), r"rankings\[0\]\.pairs must be a list of pairs"),
        (changed(rankings=[{"pairs": [[0, 1, 1]]}]), r"rankings\[0\]\.pairs must be"),
        (changed(rankings=[{"pairs": [["0", "1"]]}]), r"rankings\[0\]\.pairs must be"),
        (changed(rankings=[{"pairs": [], "ties": "1"}]), r"rankings\[0\]\.ties must be"),
    ],
)
def test_a_row_that_is_not_of_the_format_is_named(
    row: Any, fault: str, make_job: Any, renderer: Any
) -> None:
    job = make_job("reward", {"comparisons": [GOOD, row]})
    with pytest.raises(TrainingError, match=rf"row 2 of comparisons\.jsonl:? {fault}"):
        load_comparisons(job, renderer, 100)


def test_what_may_be_left_out_of_a_row_may_be(make_job: Any, renderer: Any) -> None:
    row = {
        "prompt": "p",
        "messages": said("p"),
        "completions": [{"text": "a"}, {"text": "b"}],
        "rankings": [{"pairs": [[0, 1]]}],
    }
    [found] = load_comparisons(make_job("reward", {"comparisons": [row]}), renderer, 100)
    assert found.pairs == [(0, 1)]


def test_a_prompt_is_held_out_though_each_was_ranked_often() -> None:
    rows = [{"author": "", "messages": said(f"q{n % 4}"), "n": n} for n in range(12)]
    kept, held_out = split(rows, 0.1, seed=1)
    assert (len(kept), len(held_out)) == (9, 3)


def test_the_split_keeps_conversations_and_authors_together() -> None:
    rows = [
        {"author": f"a{n % 8}", "messages": said(f"{n // 2}"), "prompt": f"p{n}"} for n in range(64)
    ]
    kept, held_out = split(rows, 0.2, seed=1)
    assert held_out
    assert not {r["author"] for r in kept} & {r["author"] for r in held_out}
    same_words = [{"author": "", "messages": said(f"{n // 2}")} for n in range(20)]
    kept, held_out = split(same_words, 0.2, seed=1)
    assert 2 <= len(held_out) <= 6
    assert not {str(r["messages"]) for r in kept} & {str(r["messages"]) for r in held_out}


@pytest.mark.parametrize(("count", "held_out"), [(3, 0), (4, 1), (40, 6)])
def test_one_prompt_is_held_out_from_four_on(count: int, held_out: int) -> None:
    rows = [{"author": "", "messages": said(str(n))} for n in range(count)]
    assert len(split(rows, 0.15, seed=3)[1]) == held_out
