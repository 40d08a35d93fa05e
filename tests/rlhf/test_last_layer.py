"""The last layer leaves out what is not read, and gives the same for what is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, MixtralConfig

from tests.rlhf.conftest import tiny_config
from tests.rlhf.test_prefix import DECODERS, GQA
from training.rlhf import last_layer

IDS = torch.tensor([[5, 9, 3, 7, 8, 4], [6, 2, 9, 9, 1, 3]])
READ = torch.tensor([[0, 0, 0, 1, 1, 0], [0, 0, 0, 0, 0, 1]]).bool()
PARTS = {"llama": 3, "qwen2": 3, "qwen3": 3, "cohere": 3, "granite": 3, "gemma2": 3, "gpt_neox": 1}


def body_of(name: str) -> Any:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(DECODERS[name]).eval().base_model


def states_and_gradients(body: nn.Module, read: Tensor | None) -> tuple[Tensor, list[Tensor]]:
    """Of the states that are read, and of every parameter that they depend on."""
    body.zero_grad()
    with last_layer.reading(body, read):
        states = body(input_ids=IDS, use_cache=False).last_hidden_state[READ]
    states.square().sum().backward()
    return states.detach(), [p.grad.clone() for p in body.parameters() if p.grad is not None]


@pytest.mark.parametrize("name", DECODERS)
def test_what_is_read_is_the_same_with_its_gradients(name: str) -> None:
    # In float64: how a product of other many rows rounds in float32 is the machine's own.
    body = body_of(name).double()
    whole, gradients = states_and_gradients(body, None)
    some, gradients_of_some = states_and_gradients(body, READ)
    torch.testing.assert_close(some, whole)
    for one, other in zip(gradients_of_some, gradients, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("name", PARTS)
def test_the_last_layer_sees_only_what_is_read(name: str) -> None:
    body = body_of(name)
    rows: list[int] = []
    mlps = [module for path, module in body.named_modules() if path.endswith(".mlp")]
    for mlp in mlps:
        first = next(module for module in mlp.modules() if isinstance(module, nn.Linear))
        first.register_forward_pre_hook(lambda _, inputs: rows.append(inputs[0][..., 0].numel()))
    last_layer._parts_of(body)
    rows.clear()
    with last_layer.reading(body, READ):
        body(input_ids=IDS, use_cache=False)
    assert rows == [IDS.numel(), int(READ.sum())]
    assert len(last_layer._parts_of(body)) == PARTS[name]
    rows.clear()
    body(input_ids=IDS, use_cache=False)
    assert rows == [IDS.numel()] * 2  # the hooks are gone


def test_a_mixture_of_experts_computes_all_of_its_mlp() -> None:
    """Its router takes texts, not tokens."""
    sizes = {"num_local_experts": 2, "num_experts_per_tok": 1, "pad_token_id": 0}
    config = MixtralConfig(**GQA | sizes | {"sliding_window": None})
    torch.manual_seed(0)
    body = AutoModelForCausalLM.from_config(config).eval().base_model
    whole, _ = states_and_gradients(body, None)
    some, _ = states_and_gradients(body, READ)
    torch.testing.assert_close(some, whole)


def test_nothing_read_is_nothing_computed_but_keys_and_values() -> None:
    body = body_of("llama")
    with last_layer.reading(body, torch.zeros_like(READ)):
        cache = body(input_ids=IDS, use_cache=True).past_key_values
    whole = body(input_ids=IDS, use_cache=True).past_key_values
    for one, other in zip(cache.layers, whole.layers, strict=True):
        torch.testing.assert_close(one.keys, other.keys)
        torch.testing.assert_close(one.values, other.values)


def test_a_part_that_looks_at_other_tokens_computes_all() -> None:
    class Mixing(nn.Module):
        def forward(self, hidden: Tensor) -> Tensor:
            return hidden.cumsum(-2)

    body = AutoModelForCausalLM.from_config(tiny_config(vocab_size=64)).eval().base_model
    body.layers[-1].mlp = Mixing()
    assert last_layer._parts_of(body) == []
    whole = body(input_ids=IDS).last_hidden_state
    with last_layer.reading(body, READ):
        torch.testing.assert_close(body(input_ids=IDS).last_hidden_state, whole)


def test_activations_that_are_made_again_are_made_of_all_tokens() -> None:
    body = body_of("llama")
    body.activation_checkpointing_enable()
    assert last_layer._parts_of(body) == []
