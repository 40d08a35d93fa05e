"""Reward models on other bodies: encoders, other families of decoders, and what cannot be one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import AutoModelForSequenceClassification, BertConfig

from tests.rlhf.conftest import (
    byte_tokenizer,
    compared,
    metrics_of,
    prefers_a,
    said,
    tiny_config,
)
from training.rlhf import reward
from training.rlhf.errors import TrainingError
from training.rlhf.models import (
    context_length,
    load_renderer,
    load_reward_model,
    new_reward_model,
    read_card,
    scores_every_token,
)
from training.rlhf.rendering import CUT_OFF, Rendered, Renderer
from training.rlhf.score_heads import head_of
from training.rlhf.scoring import Scorer, raw_scores

SMALL = {
    "vocab_size": 262,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
}
# DistilBERT, GPT-2 and OPT have names of their own for the same sizes.
BODIES: dict[str, tuple[str, dict[str, Any]]] = {
    "Bert": ("MaskedLM", SMALL),
    "Roberta": ("MaskedLM", SMALL | {"pad_token_id": 1}),
    "ModernBert": ("MaskedLM", SMALL | {"cls_token_id": 1, "sep_token_id": 2}),
    "DebertaV2": ("MaskedLM", SMALL),
    "DistilBert": (
        "MaskedLM",
        {"vocab_size": 262, "dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 4},
    ),
    "GPTNeoX": ("CausalLM", SMALL),
    "Qwen2": ("CausalLM", SMALL | {"num_key_value_heads": 2}),
    "GPT2": ("LMHeadModel", {"vocab_size": 262, "n_embd": 32, "n_layer": 2, "n_head": 4}),
    "OPT": (
        "CausalLM",
        {
            "vocab_size": 262,
            "hidden_size": 32,
            "ffn_dim": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "word_embed_proj_dim": 32,
        },
    ),
}
ENCODERS = {"Bert", "Roberta", "ModernBert", "DebertaV2", "DistilBert"}
TEXTS = [
    Rendered([1, 9, 80, 4], [81, 0]),
    Rendered([1, 9, 2, 80], [4, 82, 83, 84, 85, 86, 2]),
    Rendered([1, 9], [2]),
]


def made(family: str, purpose: str, settings: dict[str, Any], folder: Path) -> str:
    """A random model of a few thousand weights with a byte tokenizer."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**settings)
    getattr(transformers, f"{family}For{purpose}".replace("ForLMHead", "LMHead"))(
        config
    ).save_pretrained(folder)
    encoder_tokenizer().save_pretrained(folder)
    return str(folder)


def encoder_tokenizer(**special: Any) -> Any:
    """As BERT's: a classification token opens, a separator ends, no bos, no eos, no template."""
    named = {"bos_token": None, "eos_token": None, "cls_token": "<bos>", "sep_token": "<end>"}
    return byte_tokenizer(template=None, **named | special)


@pytest.fixture(scope="module")
def bert_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    # BERT's own spread of 0.02 would leave so small a model with nearly equal texts.
    wide = SMALL | {"initializer_range": 0.1}
    return made("Bert", "MaskedLM", wide, tmp_path_factory.mktemp("bert"))


@pytest.mark.parametrize("family", BODIES)
def test_any_body_scores_a_text_by_itself(family: str, tmp_path: Path) -> None:
    model = new_reward_model(made(family, *BODIES[family], tmp_path / "base"))
    assert scores_every_token(model) == (family not in ENCODERS)
    assert raw_scores(model, TEXTS, 0).tolist() == [0, 0, 0]
    torch.nn.init.normal_(head_of(model).weight)
    scores = raw_scores(model, TEXTS, 0)
    assert scores.std() > 0
    alone = torch.cat([raw_scores(model, [text], 0) for text in TEXTS])
    assert torch.allclose(scores, alone, atol=1e-5, rtol=1e-4)
    model.save_pretrained(tmp_path / "reward")
    again = load_reward_model(str(tmp_path / "reward"))
    assert torch.allclose(raw_scores(again, TEXTS, 0), scores, atol=1e-5, rtol=1e-4)
    # The library reads a text alone as we do, from the very files.
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "reward").eval()
    theirs.config.pad_token_id = 0
    with torch.no_grad():
        read = [theirs(torch.tensor([t.ids])).logits[0, 0] for t in TEXTS[1:]]
    assert torch.allclose(torch.stack(read), scores[1:], atol=1e-5, rtol=1e-4)


def test_an_encoder_learns_the_order(make_job: Any, bert_folder: str) -> None:
    """From the random weights of a language model; its pooler is new and its head moves."""
    params = {"epochs": 4, "learning_rate": 3e-3, "batch_prompts": 4}
    job = make_job("reward", {"comparisons": prefers_a(24)}, params, model=bert_folder)
    reward.run(job)
    assert metrics_of(job)["accuracy"] > 0.9
    scorer = Scorer.load(str(job.folder.artifacts / "model"))
    assert head_of(scorer.model).weight.abs().min() > 0
    assert not scores_every_token(scorer.model)
    texts = [scorer.renderer.render(said("p1"), {"text": text}) for text in ("aaaa", "bbbb")]
    good, bad = scorer.score(texts).tolist()
    assert good > bad


def test_an_encoder_learns_with_adapters_and_keeps_none(make_job: Any, bert_folder: str) -> None:
    """On its base alone an adapter would not be the model that was trained: the pooler is new."""
    params = {"epochs": 4, "learning_rate": 1e-2, "batch_prompts": 4, "lora_rank": 4}
    job = make_job("reward", {"comparisons": prefers_a(24)}, params, model=bert_folder)
    reward.run(job)
    assert metrics_of(job)["accuracy"] > 0.9
    folder = job.folder.artifacts / "model"
    assert not (folder / "adapter").exists()
    assert "adapter" not in read_card(str(folder))
    scorer = Scorer.load(str(folder))
    assert not [name for name, _ in scorer.model.named_modules() if "lora" in name]
    texts = [scorer.renderer.render(said("p1"), {"text": text}) for text in ("aaaa", "bbbb")]
    good, bad = scorer.score(texts).tolist()
    assert good > bad


def test_the_tokenizer_of_an_encoder_opens_and_ends_with_its_own_tokens(bert_folder: str) -> None:
    renderer = load_renderer(bert_folder)
    whole = renderer.render(said("hi"), {"text": "yes"})
    assert renderer.text(whole.ids) == "<bos>User: hi\n\nAssistant:yes<end>"
    cut = renderer.render(said("hi"), {"text": "yes", "finish_reason": CUT_OFF})
    assert cut.ids == whole.ids[:-1]
    with pytest.raises(TrainingError, match="no end-of-sequence token and no separator"):
        Renderer(encoder_tokenizer(sep_token=None))


def test_a_policy_is_scored_by_a_model_with_another_vocabulary(
    policy_folder: str, bert_folder: str, tmp_path: Path
) -> None:
    model = new_reward_model(bert_folder)
    torch.nn.init.normal_(head_of(model).weight)
    scorer = Scorer(model, load_renderer(bert_folder))
    policy = load_renderer(policy_folder)
    completions = [{"text": "yes"}, {"text": "yes", "finish_reason": CUT_OFF}, {"text": ""}]
    conversations = [said("hi"), said("hi"), said("ho")]
    written = [policy.render(m, c) for m, c in zip(conversations, completions, strict=True)]
    own = [scorer.renderer.render(m, c) for m, c in zip(conversations, completions, strict=True)]
    scores = scorer.score_completions(conversations, written, policy)
    assert torch.allclose(scores, scorer.score(own), atol=1e-6)
    assert scores[0] != scores[1]
    room = 130 - len(scorer.renderer.render(said("hi"), {"text": ""}))
    long = policy.render(said("hi"), {"text": "x" * room})
    with pytest.raises(TrainingError, match="130 tokens for the reward model, which takes 128"):
        scorer.score_completions([said("hi")], [long], policy)


def test_with_the_same_vocabulary_the_very_ids_are_scored(reward_folder: str) -> None:
    scorer = Scorer.load(reward_folder)
    # Ids that no tokenizer would give for their text: two halves of a letter, say.
    odd = Rendered([1, 3, 80, 4], [3, 4, 2, 2])
    given = scorer.score_completions([said("q")], [odd], load_renderer(reward_folder))
    assert torch.equal(given, scorer.score([odd]))


@pytest.mark.parametrize(
    ("family", "purpose", "settings", "message"),
    [
        (
            "XLNet",
            "LMHeadModel",
            {"d_model": 32, "n_layer": 1, "n_head": 4, "d_inner": 64},
            "xlnet",
        ),
        ("FNet", "MaskedLM", SMALL, "fnet"),
        ("T5", "ConditionalGeneration", {"d_model": 32, "d_ff": 64, "num_layers": 1}, "t5"),
        ("Mamba", "CausalLM", {"hidden_size": 32, "num_hidden_layers": 1}, "of type mamba"),
    ],
)
def test_what_cannot_score_a_text_by_itself_is_refused_by_name(
    family: str, purpose: str, settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    """The first two see the padding, the third reads after end tokens, the last has no head."""
    folder = made(family, purpose, {"vocab_size": 262} | settings, tmp_path)
    with pytest.raises(TrainingError, match=message):
        new_reward_model(folder)


def test_a_classifier_of_something_else_gets_a_new_head(tmp_path: Path) -> None:
    config = BertConfig(**SMALL, num_labels=5)
    transformers.BertForSequenceClassification(config).save_pretrained(tmp_path)
    with pytest.raises(TrainingError, match="no score head"):
        load_reward_model(str(tmp_path))
    assert raw_scores(new_reward_model(str(tmp_path)), TEXTS, 0).tolist() == [0, 0, 0]


def test_a_body_that_is_not_in_the_files_is_noticed(tmp_path: Path) -> None:
    """The library fills what is missing with random numbers and goes on."""
    config = tiny_config(num_hidden_layers=1)
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path)
    tiny_config().save_pretrained(tmp_path)
    with pytest.raises(TrainingError, match=r"lacks weights of a LlamaForSequenceClassification"):
        new_reward_model(str(tmp_path))


def test_what_the_library_adds_follows_the_seed(bert_folder: str) -> None:
    def pooler(seed: int) -> torch.Tensor:
        return new_reward_model(bert_folder, seed=seed).bert.pooler.dense.weight

    state = torch.random.get_rng_state()
    assert torch.equal(pooler(3), pooler(3))
    assert not torch.equal(pooler(3), pooler(4))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_positions_that_a_body_does_not_use_are_not_counted(tmp_path: Path) -> None:
    folder = made("Roberta", "MaskedLM", BODIES["Roberta"][1], tmp_path)
    model = new_reward_model(folder)
    assert context_length(model) == 126
    raw_scores(model, [Rendered([5] * 100, [6] * 26)], 1)
    with pytest.raises((IndexError, RuntimeError)):
        raw_scores(model, [Rendered([5] * 100, [6] * 27)], 1)


def test_an_encoder_has_no_language_head_to_learn_along(make_job: Any, bert_folder: str) -> None:
    rows = [compared("p", ["a", "b"], [(0, 1)])]
    job = make_job("reward", {"comparisons": rows}, {"lm_coef": 1.0}, model=bert_folder)
    with pytest.raises(
        TrainingError, match="lm_coef and likelihood need a start with a language-modelling head"
    ):
        reward.run(job)
