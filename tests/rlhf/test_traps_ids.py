"""Known traps of the ids: what is scored is what was trained on, as labelers saw it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.rlhf.conftest import (
    byte_tokenizer,
    compared,
    demonstrations,
    prompts,
    said,
)
from tests.rlhf.toys import ASSISTANT, END, encoded, texts_of
from training.rlhf import (
    dpo,
    engines,
    grpo,
    online,
    ppo,
    rejection,
    reward,
    rloo,
    roles,
    rollouts,
    sample,
    sft,
)
from training.rlhf.generate import generate
from training.rlhf.models import (
    load_policy,
    load_renderer,
    load_reward_model,
)
from training.rlhf.packing import labelled
from training.rlhf.rendering import Rendered, Renderer
from training.rlhf.scoring import Scorer

# --- 2: the ids that are scored are those that were trained on


def trained_on(monkeypatch: pytest.MonkeyPatch, trainer: type) -> list[list[int]]:
    """The whole texts of all batches that the trainer takes a loss of, from now on."""
    seen: list[list[int]] = []
    compute = trainer.compute_loss  # type: ignore[attr-defined]

    def record(self: Any, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        seen.extend(texts_of(inputs))
        return compute(self, model, inputs, *args, **kwargs)

    monkeypatch.setattr(trainer, "compute_loss", record)
    return seen


def test_trap_02_what_is_scored_is_what_was_trained_on(
    make_job: Any, reward_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Episodes of PPO are ranked and trained on: reward, DPO and SFT see the ids that were scored.

    What the reward model encodes is recorded at its body, not taken from anyone's word.
    """
    job = make_job("ppo", {"prompts": prompts(4)}, {"max_new_tokens": 40})
    policy, scorer = load_policy(job.spec.model), Scorer.load(reward_folder)
    fitted = ppo.fit_prompts(job, scorer.renderer, 128, [(row, ()) for row in job.rows()], 40)
    models = roles.Models(
        policy, policy, load_reward_model(reward_folder, frozen=False), scorer, scorer.renderer
    )
    with encoded(scorer.model) as scored:
        experience, _ = rollouts.collect(
            models, fitted * 6, job.spec.params, 3, 0, job.spec.params.kl_coef
        )
    episodes = [text.ids for text in experience.texts]
    assert {ids[-1] == END for ids in episodes} == {True, False}
    assert sorted(scored) == sorted(episodes)
    rows = [row_of(fitted[n], experience.texts[n::4], models) for n in range(4)]
    for kind, module, trainer in (
        ("reward", reward, reward.KwiseRewardTrainer),
        ("dpo", dpo, dpo.KwiseDpoTrainer),
    ):
        seen = trained_on(monkeypatch, trainer)
        params = {"epochs": 1} | ({"validation_share": 0.0} if kind == "reward" else {})
        module.run(make_job(kind, {"comparisons": rows}, params, name=kind))
        assert sorted(seen) == sorted(episodes)


def row_of(prompt: Any, texts: Sequence[Rendered], models: Any) -> dict[str, Any]:
    """As a sample run stores completions and a labeler ranks them."""
    completions = []
    for text in texts:
        ended = text.completion_ids[-1] == END
        ids = text.completion_ids[:-1] if ended else text.completion_ids
        completions.append(
            {
                "text": models.renderer.text(ids),
                "token_ids": ids,
                "finish_reason": "stop" if ended else "length",
            }
        )
    pairs = [(a, b) for a in range(len(texts)) for b in range(a + 1, len(texts))]
    row = compared(prompt.id, [], pairs, messages=prompt.messages)
    return json.loads(json.dumps({**row, "completions": completions}))


def test_trap_02_without_token_ids_all_stages_still_agree(
    make_job: Any, reward_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Imported texts: bos and template before, the end after, in SFT, reward model and scorer."""
    scorer = Scorer.load(reward_folder)
    texts = [
        scorer.renderer.render(row["messages"], {"text": row["completion"]})
        for row in demonstrations(8)
    ]
    assert all(t.ids[0] == 1 and t.ids[-1] == END and t.ids.count(1) == 1 for t in texts)
    with encoded(scorer.model) as scored:
        for text in texts:
            scorer.score([text])
    assert scored == [text.ids for text in texts]
    seen: list[list[int]] = []
    original = sft.SFTTrainer.compute_loss

    def record(self: Any, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        if model.training:
            seen.extend(split_rows(inputs))
        return original(self, model, inputs, *args, **kwargs)

    monkeypatch.setattr(sft.SFTTrainer, "compute_loss", record)
    params = {"epochs": 1, "validation_share": 0.0}
    sft.run(make_job("sft", {"demonstrations": demonstrations(8)}, params))
    assert sorted(seen) == sorted(text.ids for text in texts)


@pytest.mark.parametrize("kind", ["rloo", "grpo", "rejection"])
def test_trap_02_what_was_drawn_is_what_is_scored(
    make_job: Any, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TRL decodes and tokenises anew; here the ids that were drawn reach the reward model."""
    drawn: list[list[int]] = []
    scored: list[list[int]] = []
    score = Scorer.score

    def draw(model: Any, requests: Any, how: Any, *args: Any, **kwargs: Any) -> Any:
        answers = generate(model, requests, how, *args, **kwargs)
        for request, group in zip(requests, answers, strict=True):
            for a in group:
                end = [how.end_id] if a.ended else []
                drawn.append([*request.prompt_ids, *a.token_ids, *end])
        return answers

    def record(self: Scorer, texts: Sequence[Rendered]) -> Tensor:
        scored.extend(text.ids for text in texts)
        return score(self, texts)

    for module in (online, sample, engines):
        if hasattr(module, "generate"):
            monkeypatch.setattr(module, "generate", draw)
    monkeypatch.setattr(Scorer, "score", record)
    few = {"max_new_tokens": 40, "n": 6}
    more = {"epochs": 1} if kind == "rejection" else {"steps": 1, "batch_size": 24}
    job = make_job(kind, {"prompts": prompts(4)}, few | more)
    {"rloo": rloo, "grpo": grpo, "rejection": rejection}[kind].run(job)
    assert len(drawn) == 24
    assert {ids[-1] == END for ids in drawn} == {True, False}
    assert sorted(scored) == sorted(drawn)


def split_rows(inputs: Any) -> list[list[int]]:
    """Texts of a batch of TRL's collator, by where the labels begin and padding starts."""
    mask = inputs.get("attention_mask")
    rows = inputs["input_ids"]
    masks = torch.ones_like(rows) if mask is None else mask
    return [ids[m.bool()].tolist() for ids, m in zip(rows, masks, strict=True)]


# --- 28: what labelers saw


def test_trap_28_the_rendering_is_this_to_the_id(policy_folder: str) -> None:
    """Bytes come after the six special tokens; ``a`` is 70. Nothing else may come in."""
    renderer = load_renderer(policy_folder)
    messages = [
        {"role": "system", "content": "ab"},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c\n"},
    ]
    golden = [1, 5, 70, 71, 3, 70, 4, 71, 2, 3, 72, 204, 4]
    a, b, c = (renderer.tokenizer.convert_tokens_to_ids(x) for x in ("a", "b", "c"))
    newline = renderer.tokenizer.convert_tokens_to_ids("Ċ")
    assert (a, b, c, newline) == (70, 71, 72, 204)
    done = {"text": "ba", "token_ids": None, "finish_reason": "stop"}
    cut = done | {"finish_reason": "length"}
    assert renderer.render(messages, done).ids == [*golden, 71, 70, 2]
    assert renderer.render(messages, cut).ids == [*golden, 71, 70]
    assert renderer.text(golden) == ("<bos><system>ab<user>a<assistant>b<end><user>c\n<assistant>")


@settings(deadline=None, max_examples=30)
@given(st.text(max_size=12), st.text(max_size=12))
def test_trap_28_stages_render_alike(question: str, answer: str) -> None:
    """A demonstration, a comparison and a sampled completion of one text are the same ids."""
    renderer = Renderer(byte_tokenizer())
    shown = renderer.render(said(question), {"text": answer})
    ranked = renderer.render(
        said(question), {"text": answer, "token_ids": None, "finish_reason": "stop"}
    )
    stored = shown.completion_ids[:-1]
    sampled = renderer.render(
        said(question), {"text": answer, "token_ids": stored, "finish_reason": "stop"}
    )
    assert shown == ranked == sampled
    row = labelled(shown)
    assert row["input_ids"] == shown.ids
    assert row["labels"] == [-100] * len(shown.prompt_ids) + shown.completion_ids
    assert shown.prompt_ids[0] == 1
    assert shown.prompt_ids[-1] == ASSISTANT
