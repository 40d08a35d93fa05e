"""Prompts and completions in one pass: the same states and gradients as in two, and as whole."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor

from tests.rlhf.test_prefix import DECODERS, GROUPS, random_model
from training.rlhf import one_pass, prefix
from training.rlhf.heads import body_of

EQUAL = [(prompt, completions[:2]) for prompt, completions in GROUPS]
NAMES = [name for name in DECODERS if name not in {"bloom", "gemma2", "gpt_neo"}]


def states(model: Any, batch: dict[str, Tensor], read: Tensor) -> tuple[Tensor, Tensor]:
    """What is read, (M, d), and the gradient of all weights of a sum of it."""
    model.zero_grad()
    found = prefix.encode(body_of(model), batch, read)[read]
    (found * torch.linspace(-1, 1, found.numel()).view_as(found)).sum().backward()
    grads = [p.grad.flatten() for p in body_of(model).parameters() if p.grad is not None]
    return found.detach(), torch.cat(grads)


def last_tokens(batch: dict[str, Tensor]) -> Tensor:
    lengths = batch["attention_mask"].sum(1, keepdim=True)
    return torch.arange(batch["attention_mask"].shape[1]) == lengths - 1


@pytest.mark.parametrize("name", NAMES)
def test_these_models_take_one_pass(name: str) -> None:
    assert one_pass.possible(body_of(random_model(DECODERS[name])))


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_does_not_hide_that_it_comes_out_right(name: str) -> None:
    body = body_of(random_model(DECODERS[name]))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert one_pass.possible(body)


def test_adapters_take_part(monkeypatch: pytest.MonkeyPatch) -> None:
    config = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    model = get_peft_model(random_model(deepcopy(DECODERS["llama"])), config).double()
    assert one_pass.possible(body_of(model))
    batch = prefix.lay_out_groups(GROUPS, 0, share=True)
    once, gradient = states(model, batch, last_tokens(batch))
    monkeypatch.setattr(one_pass, "possible", lambda body: False)
    twice, expected = states(model, batch, last_tokens(batch))
    torch.testing.assert_close(once, twice, rtol=0, atol=1e-9)
    torch.testing.assert_close(gradient, expected, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("name", ["llama", "gpt2", "opt", "qwen3"])
@pytest.mark.parametrize("groups", [GROUPS, EQUAL], ids=["unequal", "equal"])
@pytest.mark.parametrize("wanted", ["last", "completions"])
def test_one_pass_gives_what_two_give(
    name: str, groups: Any, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = random_model(DECODERS[name]).double()
    batch = prefix.lay_out_groups(groups, 0, share=True)
    read = last_tokens(batch) if wanted == "last" else batch["completion_mask"].bool()
    once, gradient = states(model, batch, read)
    monkeypatch.setattr(one_pass, "possible", lambda body: False)
    twice, expected = states(model, batch, read)
    torch.testing.assert_close(once, twice, rtol=0, atol=1e-9)
    torch.testing.assert_close(gradient, expected, rtol=1e-7, atol=1e-7)


def test_a_model_that_attends_in_a_way_of_its_own_takes_two() -> None:
    assert not one_pass.possible(body_of(random_model(DECODERS["bloom"])))
    model = random_model(deepcopy(DECODERS["llama"]))
    model.set_attn_implementation("eager")
    assert not one_pass.possible(body_of(model))


def test_a_model_that_does_not_say_where_attention_looks_takes_two() -> None:
    """One whose layers do not hand on what the pass is told."""
    model = random_model(DECODERS["llama"])
    body, forward = body_of(model), body_of(model).forward
    body.forward = lambda *args, layout=None, **how: forward(*args, **how)
    assert not one_pass.possible(body)


def test_weights_spread_over_ranks_take_two(monkeypatch: pytest.MonkeyPatch) -> None:
    body = body_of(random_model(DECODERS["llama"]))
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    assert not one_pass.possible(body)


def test_the_model_is_left_as_it_was() -> None:
    model = random_model(DECODERS["llama"]).train()
    ids = torch.tensor([[1, 2, 3]])
    before = model(input_ids=ids).logits
    assert one_pass.possible(body_of(model))
    assert model.training
    assert model.config._attn_implementation == "sdpa"
    assert torch.equal(model(input_ids=ids).logits, before)


def test_dropout_does_not_hide_that_it_comes_out_right() -> None:
    config = DECODERS["gpt2"].__class__(**(DECODERS["gpt2"].to_dict() | {"resid_pdrop": 0.5}))
    model = random_model(config).train()
    state = torch.get_rng_state()
    assert one_pass.possible(body_of(model))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("rows", [[0, 0, 1, 1], [0, 1, 1, 1], [1, 1, 0, 0]])
def test_keys_and_values_are_repeated_with_their_gradients(rows: list[int]) -> None:
    keys = torch.randn(2, 1, 3, 4, dtype=torch.float64, requires_grad=True)
    found = one_pass.repeating(torch.tensor(rows), 2)(keys)
    assert torch.equal(found, keys[rows])
    back = torch.randn(4, 1, 3, 4, dtype=torch.float64)
    (found * back).sum().backward()
    assert keys.grad is not None
    torch.testing.assert_close(keys.grad[0], back[[row == 0 for row in rows]].sum(0))
    torch.testing.assert_close(keys.grad[1], back[[row == 1 for row in rows]].sum(0))
