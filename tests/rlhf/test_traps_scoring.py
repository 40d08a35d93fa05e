"""Known traps of reward models: where a score is read, and on what scale."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification

from tests.rlhf.conftest import (
    byte_tokenizer,
    demonstrations,
    metrics_of,
    prefers_a,
    prompts,
)
from tests.rlhf.toys import ASSISTANT, END, architecture, score_tokens, texts_of, token_values
from training.rlhf import (
    ppo,
    reward,
    roles,
    rollouts,
)
from training.rlhf.batching import pad
from training.rlhf.errors import TrainingError
from training.rlhf.models import (
    load_policy,
    load_reward_model,
    new_reward_model,
)
from training.rlhf.prefix import can_share, lay_out_groups
from training.rlhf.rendering import Rendered, Renderer
from training.rlhf.score_heads import at_last_token
from training.rlhf.scoring import Scorer, raw_scores

REWARD = {"epochs": 2, "learning_rate": 3e-3, "batch_prompts": 4, "validation_share": 0.0}

# --- 1: the token at which a score is read

# Prompts with the end token inside, as im_end templates have; completions that end with the padding
# token's id, without an end, with two, and with nothing but it.
PROMPTS = [[1, 3, 90, ASSISTANT], [1, 3, END, 91, END, 92, 93, 94, 95, 96, 97, 98, ASSISTANT]]
COMPLETIONS = [[80, 81, END], [80], [82, 83, 84, 0], [85, END, END], [END], [86, 0, 0, END]]
TEXTS = [Rendered(p, c) for p in PROMPTS for c in COMPLETIONS]


@pytest.fixture(scope="module", params=["llama", "gpt2", "neox", "mistral"])
def folder(request: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A reward model as the library writes it, with a head that tells texts apart."""
    torch.manual_seed(0)
    config = architecture(request.param, num_labels=1)
    model = AutoModelForSequenceClassification.from_config(config)
    torch.nn.init.normal_(model.score.weight, std=0.5)
    path = tmp_path_factory.mktemp(request.param)
    model.save_pretrained(path)
    byte_tokenizer().save_pretrained(path)
    return str(path)


@torch.no_grad()
def alone(folder: str) -> Tensor:
    """The library's own score of each text without any padding, one at a time."""
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    model.config.get_text_config().pad_token_id = None
    return torch.cat([model(torch.tensor([text.ids])).logits[0] for text in TEXTS])


@pytest.mark.parametrize("pad_token", ["<pad>", None])
def test_trap_01_score_position_ignores_padding_and_end_tokens_in_the_prompt(
    folder: str, pad_token: str | None
) -> None:
    """The same score alone, in company, and when the padding token is the end token."""
    expected = alone(folder)
    assert expected.unique().numel() == len(TEXTS)
    scorer = Scorer(load_reward_model(folder), Renderer(byte_tokenizer(pad_token=pad_token)))
    assert scorer.renderer.pad_id == (END if pad_token is None else 0)
    assert torch.allclose(scorer.score(TEXTS), expected, atol=2e-5)
    single = torch.cat([scorer.score([text]) for text in TEXTS])
    assert torch.allclose(single, expected, atol=2e-5)
    order = torch.randperm(len(TEXTS), generator=torch.Generator().manual_seed(1))
    company = [Rendered([1, 3] + [90] * 70, [80] * 20), *[TEXTS[i] for i in order]]
    assert torch.allclose(scorer.score(company)[1:], expected[order], atol=2e-5)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("pad_id", [0, END])
def test_trap_01_appended_padding_moves_nothing(folder: str, side: str, pad_id: int) -> None:
    model, expected = load_reward_model(folder), alone(folder)
    for extra in (0, 1, 40):
        longest = [pad_id] * (max(map(len, TEXTS)) + extra)
        ids, mask = pad([*(text.ids for text in TEXTS), longest], pad_id, side)
        with torch.no_grad():
            scores = at_last_token(score_tokens(model, ids, mask), mask)[: len(TEXTS)]
        assert torch.allclose(scores, expected, atol=2e-5), extra


@pytest.mark.parametrize("pad_id", [0, END])
def test_trap_01_a_shared_prompt_moves_nothing(folder: str, pad_id: int) -> None:
    """The batch of the trainer, prompts encoded once, with gradients as without sharing."""
    model = load_reward_model(folder, frozen=False)
    if not can_share(model):
        assert model.config.sliding_window
        return
    found = []
    for share in (True, False):
        batch = lay_out_groups([(p, COMPLETIONS) for p in PROMPTS], pad_id, share=share)
        assert ("prefix_ids" in batch) == share
        assert texts_of(batch) == [text.ids for text in TEXTS]
        model.zero_grad()
        scores = model(**batch)[:, 0]
        assert torch.allclose(scores, alone(folder), atol=2e-5)
        (scores * torch.linspace(-1, 1, len(scores))).sum().backward()
        grads = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        found.append(torch.cat(grads))
    assert (found[0] - found[1]).norm() < 1e-4 * found[1].norm()


# --- 13: the scale of scores


def test_trap_13_demonstrations_score_zero_and_the_scale_goes_with_the_model(make_job: Any) -> None:
    data = {"comparisons": prefers_a(8), "demonstrations": demonstrations(5)}
    job = make_job("reward", data, REWARD)
    reward.run(job)
    model = job.folder.artifacts / "model"
    scorer = Scorer.load(str(model))
    shown = [
        scorer.renderer.render(r["messages"], {"text": r["completion"]}) for r in demonstrations(5)
    ]
    ranked = [
        scorer.renderer.render(r["messages"], c) for r in prefers_a(8) for c in r["completions"]
    ]
    assert abs(scorer.score(shown).mean().item()) < 1e-3
    assert scorer.score(ranked).std(unbiased=False).item() == pytest.approx(1, abs=1e-3)
    card = json.loads((model / "podium.json").read_text())
    assert (card["reward_mean"], card["reward_std"]) != (0.0, 1.0)


def test_trap_13_a_model_made_here_without_its_scale_is_refused(make_job: Any) -> None:
    """Taken for 0 and 1, a lost scale would change what kl_coef means, without a word."""
    job = make_job("reward", {"comparisons": prefers_a(4)}, REWARD)
    reward.run(job)
    card = job.folder.artifacts / "model" / "podium.json"
    kept = json.loads(card.read_text())
    for name in ("reward_mean", "reward_std"):
        card.write_text(json.dumps({k: v for k, v in kept.items() if k != name}))
        with pytest.raises(TrainingError, match=r"scale|reward_"):
            Scorer.load(str(card.parent))


@pytest.mark.parametrize("level", [4.0, -4.0])
def test_trap_13_whitening_leaves_the_sign_of_the_reward_to_the_value_model(
    make_job: Any, reward_folder: str, level: float
) -> None:
    """Advantages are white; what the value model learns of is not."""
    job = make_job("ppo", {"prompts": prompts(4)}, {"kl_coef": 0.0, "gae_lambda": 1.0})
    policy, scorer = load_policy(job.spec.model), Scorer.load(reward_folder)
    scorer.mean -= level * 1.0
    fitted = ppo.fit_prompts(job, scorer.renderer, 128, [(r, ()) for r in job.rows()], 5)
    value = load_reward_model(reward_folder, frozen=False)
    models = roles.Models(policy, policy, value, scorer, scorer.renderer)
    params = ppo.PpoParams(kl_coef=0.0, gae_lambda=1.0, missing_eos_penalty=0.0)
    experience, measured = rollouts.collect(models, fitted, params, 0, 0, params.kl_coef)
    inside = experience.returns[experience.mask]
    assert (math.copysign(1, level) * inside > 0).all()
    assert measured["reward_mean"] * level > 0
    assert experience.advantages[experience.mask].mean().item() == pytest.approx(0, abs=1e-5)


# --- 14: save, load, score


@pytest.mark.parametrize("extra", [{}, {"lora_rank": 2}, {"heads": 3}], ids=str)
def test_trap_14_a_saved_model_scores_as_it_did(
    make_job: Any, extra: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit, scale included; and the head is neither new nor lost to an adapter."""
    kept: dict[str, Any] = {}
    save = reward.artifacts.save_model

    def record(job: Any, model: Any, renderer: Any, metrics: Any, **record: Any) -> Any:
        kept["raw"] = raw_scores(model, TEXTS, renderer.pad_id)
        kept["card"] = record
        return save(job, model, renderer, metrics, **record)

    monkeypatch.setattr(reward.artifacts, "save_model", record)
    data = {"comparisons": prefers_a(6), "demonstrations": demonstrations(3)}
    job = make_job("reward", data, REWARD | extra)
    reward.run(job)
    folder = str(job.folder.artifacts / "model")
    loaded = load_reward_model(folder)
    assert torch.equal(raw_scores(loaded, TEXTS, 0), kept["raw"])
    scorer = Scorer.load(folder)
    card = kept["card"]
    expected = (kept["raw"] - card["reward_mean"]) / card["reward_std"]
    assert torch.allclose(scorer.score(TEXTS), expected, atol=1e-5)
    fresh = new_reward_model(job.spec.model, extra.get("heads", 1), job.spec.seed)
    assert not torch.equal(loaded.score.weight, fresh.score.weight)
    assert kept["raw"].std() > 0
    again = new_reward_model(folder, extra.get("heads", 1))
    assert torch.equal(raw_scores(again, TEXTS, 0), kept["raw"])


# --- 15: the value model starts as the reward model and is another


@pytest.mark.parametrize("extra", [{}, {"lora_rank": 2}], ids=str)
def test_trap_15_value_starts_at_the_score_and_leaves_it_alone(
    make_job: Any, extra: dict[str, Any]
) -> None:
    """The last value is of the text before its end token: append one more to see the score."""
    params = {"value_learning_rate": 1e-2, "batch_size": 4, "minibatch_size": 4} | extra
    job = make_job("ppo", {"prompts": prompts(3)}, params)
    models = roles.load_models(job, job.spec.params)
    models.scorer.mean, models.scorer.std = 0.7, 1.9

    def scores() -> Tensor:
        with models.acting("scorer"):
            return models.scorer.score(TEXTS)

    longer = [Rendered(t.prompt_ids, [*t.completion_ids, 80]) for t in TEXTS]
    values = token_values(models, longer)
    last = torch.tensor([len(t.completion_ids) for t in TEXTS])
    assert torch.allclose(values[torch.arange(len(TEXTS)), last], scores(), atol=2e-5)
    addresses = [
        {p.untyped_storage().data_ptr() for p in weights}
        for weights in (
            models.trainable("value").values(),
            models.trainable("policy").values(),
            models.scorer.model.score.parameters(),
        )
    ]
    assert len(set.union(*addresses)) == sum(map(len, addresses))
    before = scores()
    learner = ppo.new_learner(models, job.spec.params)
    fitted = ppo.fit_prompts(job, models.renderer, 128, [(r, ()) for r in job.rows()], 5)
    ppo.iterate(job, learner, fitted, job.spec.params)
    assert torch.equal(scores(), before)
    assert not torch.allclose(token_values(models, longer), values, atol=1e-3)


# --- 23: the reward model in use


def test_trap_23_the_reward_model_scores_in_evaluation_mode(tmp_path: Path) -> None:
    torch.manual_seed(0)
    dropout = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.5)
    model = AutoModelForSequenceClassification.from_config(
        architecture("gpt2", num_labels=1, **dropout)
    )
    torch.nn.init.normal_(model.score.weight)
    model.save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    scorer = Scorer.load(str(tmp_path))
    assert not any(module.training for module in scorer.model.modules())
    assert not any(p.requires_grad for p in scorer.model.parameters())
    assert torch.equal(scorer.score(TEXTS), scorer.score(TEXTS))
    assert not any(module.training for module in scorer.model.modules())


def test_trap_23_after_training_scores_are_without_dropout(make_job: Any, tmp_path: Path) -> None:
    """Accuracy and scale that are reported and stored come from evaluation mode too."""
    torch.manual_seed(0)
    dropout = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.3)
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_config(architecture("gpt2", **dropout)).save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    data = {"comparisons": prefers_a(8), "demonstrations": demonstrations(4)}
    job = make_job("reward", data, REWARD, model=str(tmp_path))
    reward.run(job)
    scorer = Scorer.load(str(job.folder.artifacts / "model"))
    rows = demonstrations(4)
    texts = [scorer.renderer.render(r["messages"], {"text": r["completion"]}) for r in rows]
    assert abs(scorer.score(texts).mean().item()) < 1e-3
    assert metrics_of(job)["train_accuracy"] is not None


def test_trap_23_a_bfloat16_body_has_a_float32_head(folder: str) -> None:
    """Scores finer than bfloat16 can tell apart, and those of the body's states in float32."""
    model = load_reward_model(folder)
    model.base_model.to(torch.bfloat16)
    ids, mask = pad([text.ids for text in TEXTS], 0)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        scores = score_tokens(model, ids, mask)
    assert scores.dtype == torch.float32
    hidden = model.base_model(
        input_ids=ids, attention_mask=mask, position_ids=(mask.cumsum(-1) - 1).clamp(min=0)
    ).last_hidden_state
    by_hand = (hidden.double() @ model.score.weight.double().T).squeeze(-1)
    real = mask.bool()
    assert torch.allclose(scores[real].double(), by_hand[real], atol=1e-5)
    assert not torch.equal(scores[real], scores[real].bfloat16().float())
