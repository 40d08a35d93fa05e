"""Shared prompts: the states and gradients of texts encoded whole, on several architectures."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    BloomConfig,
    CohereConfig,
    DistilBertConfig,
    FalconH1Config,
    Gemma2Config,
    GPT2Config,
    GPTNeoConfig,
    GPTNeoXConfig,
    GraniteConfig,
    MambaConfig,
    MistralConfig,
    ModernBertConfig,
    OPTConfig,
    PreTrainedConfig,
    Qwen2Config,
    Qwen3Config,
    T5Config,
)

from tests.rlhf.conftest import tiny_config
from training.rlhf import heads, prefix
from training.rlhf.losses import entropy_of, logprobs_of

SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GQA = SIZES | {"num_key_value_heads": 2, "head_dim": 8}
SMALL = {"vocab_size": 64, "n_layer": 2, "n_head": 4, "bos_token_id": 1, "eos_token_id": 2}
DECODERS: dict[str, PreTrainedConfig] = {
    "llama": tiny_config(vocab_size=64),
    "gpt2": GPT2Config(n_embd=32, n_positions=64, **SMALL),
    "gpt_neox": GPTNeoXConfig(**SIZES),
    # Its windows are cut out of the cache by columns.
    "gpt_neo": GPTNeoConfig(
        num_layers=2,
        num_heads=4,
        attention_types=[[["global", "local"], 1]],
        window_size=4,
        **{name: SIZES[name] for name in ("vocab_size", "hidden_size", "max_position_embeddings")},
    ),
    "opt": OPTConfig(ffn_dim=64, word_embed_proj_dim=32, **SIZES),
    "bloom": BloomConfig(hidden_size=32, **SMALL),
    "qwen2": Qwen2Config(**GQA),
    "qwen3": Qwen3Config(**GQA),
    "cohere": CohereConfig(**GQA),
    "granite": GraniteConfig(logits_scaling=3.0, **GQA),
    "gemma2": Gemma2Config(**GQA),
}
# Prompts and completions of unequal lengths; the second prompt has fewer completions.
GROUPS = [
    ([3, 4, 5, 6, 7, 8, 9, 10], [[9, 10, 11], [12, 13], [14]]),
    ([20, 21, 22], [[9, 10], [11, 12, 13, 14]]),
]
TEMPERATURE = 0.7


def random_model(config: PreTrainedConfig) -> Any:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    return model


def logprobs(model: Any, batch: dict[str, Tensor]) -> Tensor:
    hidden = prefix.encode(heads.body_of(model), batch)
    mask = batch["completion_mask"][:, 1:]
    ids = batch["input_ids"][:, 1:]
    return heads.token_logprobs(model, hidden[:, :-1], ids, TEMPERATURE, mask).sum(1)


def one_by_one(model: Any) -> Tensor:
    found = []
    for prompt, completions in GROUPS:
        for completion in completions:
            logits = model(input_ids=torch.tensor([prompt + completion])).logits[0]
            each = logprobs_of(logits[len(prompt) - 1 : -1], torch.tensor(completion), TEMPERATURE)
            found.append(each.sum())
    return torch.stack(found)


def gradients(model: Any, values: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    (values * torch.arange(1.0, 1 + len(values))).sum().backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", DECODERS)
def test_shared_or_not_it_is_the_same_model(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Chunks of seven tokens, so that recomputation in the backward pass is part of it.
    monkeypatch.setitem(heads.LOGITS_AT_ONCE, "cpu", 7 * 64)
    model = random_model(DECODERS[name])
    expected = one_by_one(model)
    expected_gradients = gradients(model, expected)
    largest = max(float(g.norm()) for g in expected_gradients.values())
    for share in (False, True):
        batch = prefix.lay_out_groups(GROUPS, 0, share=share)
        assert ("prefix_ids" in batch) is share
        if share and not prefix.can_share(model):
            continue
        values = logprobs(model, batch)
        assert torch.allclose(values, expected, atol=2e-5), share
        for parameter, gradient in gradients(model, values).items():
            error = float((gradient - expected_gradients[parameter]).norm())
            assert error < 1e-5 * largest, (share, parameter)


def test_what_shares_and_what_cannot() -> None:
    def shares(config: PreTrainedConfig) -> bool:
        return prefix.can_share(type("Model", (), {"config": config})())

    assert all(shares(config) for name, config in DECODERS.items() if name != "gemma2")
    encoders = [BertConfig(), DistilBertConfig(), ModernBertConfig(), T5Config()]
    windows = [DECODERS["gemma2"], MistralConfig(sliding_window=16)]
    states = [MambaConfig(), FalconH1Config()]
    assert not any(shares(config) for config in [*encoders, *windows, *states])


def test_recomputed_activations_allow_no_cache() -> None:
    model = random_model(DECODERS["llama"])
    assert prefix.can_share(model)
    model.activation_checkpointing_enable()
    assert not prefix.can_share(model)


def test_nothing_is_shared_where_it_saves_little() -> None:
    long = [([3, 4], [[5] * 30, [6] * 30])]
    assert "prefix_ids" not in prefix.lay_out_groups(long, 0, share=True)
    assert "prefix_ids" in prefix.lay_out_groups(GROUPS, 0, share=True)


def test_padding_counts_in_what_sharing_saves() -> None:
    """One long prompt pads all texts of its batch, though of the tokens it is a small part."""
    groups = [([3] * n, [[5] * 300] * 4) for n in (600, *[15] * 15)]
    shared, whole = (prefix.encoded_tokens(groups, share=share) for share in (True, False))
    assert whole == 64 * 900
    assert shared == 64 * 301 + 16 * 599
    assert "prefix_ids" in prefix.lay_out_groups(groups, 0, share=True)


def test_the_masks_name_the_completion_tokens() -> None:
    for share in (False, True):
        batch = prefix.lay_out_groups(GROUPS, 0, share=share)
        rows = zip(batch["input_ids"], batch["completion_mask"], strict=True)
        found = [ids[mask.bool()].tolist() for ids, mask in rows]
        assert found == [c for _, completions in GROUPS for c in completions]


def test_an_empty_prompt_is_no_prefix() -> None:
    groups: list[Any] = [([], [[5, 6], [7, 8, 9]])]
    batch = prefix.lay_out_groups(groups, 0, share=True)
    assert "prefix_ids" not in batch
    assert batch["attention_mask"].sum(1).tolist() == [2, 3]


def test_the_entropy_is_that_of_the_whole_logits() -> None:
    model = random_model(DECODERS["llama"])
    batch = prefix.lay_out_groups(GROUPS, 0, share=False)
    hidden = prefix.encode(heads.body_of(model), batch)
    _, entropy = heads.token_logprobs_and_entropy(model, hidden, batch["input_ids"], TEMPERATURE)
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    real = batch["attention_mask"].bool()
    assert torch.allclose(entropy[real], entropy_of(logits, TEMPERATURE)[real], atol=1e-5)


def test_a_head_that_is_not_understood_is_refused() -> None:
    model = random_model(DECODERS["granite"])
    model.config.logits_scaling = 3.0
    forward = model.forward

    def odd(*args: Any, **kwargs: Any) -> Any:
        output = forward(*args, **kwargs)
        output.logits = output.logits + torch.arange(64.0)
        return output

    model.forward = odd
    with pytest.raises(heads.TrainingError, match="not known here"):
        heads.head_of(model)


def test_an_empty_mask_costs_and_gives_nothing() -> None:
    model = random_model(DECODERS["llama"])
    hidden, targets = torch.randn(2, 3, 32), torch.zeros(2, 3, dtype=torch.long)
    found = heads.token_logprobs(model, hidden, targets, mask=torch.zeros(2, 3))
    assert torch.equal(found, torch.zeros(2, 3))
