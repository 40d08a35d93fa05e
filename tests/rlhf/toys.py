"""Toy models with known probabilities, and recorders of what a trainer does with them.

``bigram`` is a real Llama whose next-token logits are a given function of the last token alone, so
that expectations over its completions can be summed instead of sampled.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    GemmaConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    MistralConfig,
    OPTConfig,
    PretrainedConfig,
    Qwen2Config,
)

from tests.rlhf.conftest import SPECIAL, byte_tokenizer, said
from training.rlhf import prefix
from training.rlhf.batching import pad
from training.rlhf.models import load_reward_model
from training.rlhf.rendering import Rendered, Renderer
from training.rlhf.roles import Models
from training.rlhf.rollouts import batch_of, completion_values
from training.rlhf.sample import Prompt

VOCABULARY = len(SPECIAL) + 256
END = 2
ASSISTANT = 4
# Far enough below all others that such a token is never drawn, near enough for sound gradients.
NEVER = -30.0
POSSIBLE = 1e-9


def _config(kind: type[PretrainedConfig], **changes: Any) -> PretrainedConfig:
    settings = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 128,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": END,
    }
    return kind(**settings | changes)


def architecture(name: str, **changes: Any) -> PretrainedConfig:
    """A configuration of some thousand weights, wide enough at the start for logits to differ."""
    grouped = {"intermediate_size": 48, "num_key_value_heads": 2, "initializer_range": 0.2}
    gpt2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128, "initializer_range": 0.2}
    opt = {"ffn_dim": 48, "word_embed_proj_dim": 32, "init_std": 0.2}
    kinds: dict[str, tuple[type[PretrainedConfig], dict[str, Any]]] = {
        "llama": (LlamaConfig, grouped),
        "qwen2": (Qwen2Config, grouped),
        "gemma": (GemmaConfig, grouped | {"head_dim": 8}),
        "mistral": (MistralConfig, grouped | {"sliding_window": 4}),
        "neox": (GPTNeoXConfig, {"intermediate_size": 48, "initializer_range": 0.2}),
        "opt": (OPTConfig, opt),
        "gpt2": (GPT2Config, gpt2),
    }
    kind, settings = kinds[name]
    return _config(kind, **settings | changes)


ARCHITECTURES = ("llama", "qwen2", "gemma", "mistral", "neox", "opt", "gpt2")


def causal(name: str, **changes: Any) -> Any:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(architecture(name, **changes)).eval()


def saved(model: Any, folder: Path, tokenizer: Any = None) -> str:
    """The model and a tokenizer in ``folder``."""
    model.save_pretrained(folder)
    (tokenizer or byte_tokenizer()).save_pretrained(folder)
    return str(folder)


# --- a policy whose probabilities are known ------------------------------------------------------


def table(rows: Mapping[int, Mapping[int, float]]) -> Tensor:
    """(V, V) logits of the next token given the last; tokens without a row end at once."""
    logits = torch.full((VOCABULARY, VOCABULARY), NEVER)
    logits[:, END] = 0.0
    for last, following in rows.items():
        logits[last] = NEVER
        for token, logit in following.items():
            logits[last, token] = logit
    return logits


def bigram(logits: Tensor) -> Any:
    """A Llama whose logits after token t are ``logits[t]``, whatever came before."""
    model = LlamaForCausalLM(_one_hot_config())
    _one_hot(model.model)
    with torch.no_grad():
        model.lm_head.weight.copy_(logits.T / math.sqrt(VOCABULARY))
    return model.eval()


def tabular_rewards(values: Tensor, folder: Path) -> str:
    """The folder of a reward model that gives ``values[t]`` to a text that ends in token t."""
    config = _one_hot_config()
    config.num_labels = 1
    model = LlamaForSequenceClassification(config)
    _one_hot(model.model)
    with torch.no_grad():
        model.score.weight.copy_(values.unsqueeze(0) / math.sqrt(VOCABULARY))
    return saved(model, folder)


def _one_hot_config() -> LlamaConfig:
    config = _config(
        LlamaConfig,
        hidden_size=VOCABULARY,
        num_hidden_layers=1,
        num_attention_heads=1,
        head_dim=2,
        intermediate_size=2,
        rms_norm_eps=0.0,
    )
    assert isinstance(config, LlamaConfig)
    return config


@torch.no_grad()
def _one_hot(body: Any) -> None:
    """The layer adds nothing, so the last hidden state is the token, as a scaled unit vector."""
    body.embed_tokens.weight.copy_(torch.eye(VOCABULARY))
    for layer in body.layers:
        layer.self_attn.o_proj.weight.zero_()
        layer.mlp.down_proj.weight.zero_()


def outcomes(logits: Tensor, first: int, limit: int) -> list[tuple[list[int], float]]:
    """All completions after token ``first`` with their probabilities, by enumeration."""
    done: list[tuple[list[int], float]] = []
    going: list[tuple[list[int], float]] = [([], 1.0)]
    probabilities = logits.double().softmax(-1)
    for _ in range(limit):
        grown = []
        for ids, chance in going:
            row = probabilities[ids[-1] if ids else first]
            for token in (row > POSSIBLE).nonzero().flatten().tolist():
                grown.append(([*ids, token], chance * row[token].item()))
        done += [item for item in grown if item[0][-1] == END]
        going = [item for item in grown if item[0][-1] != END]
    return done + going


# --- the models of a step on such policies

A, B = 80, 81
RENDERER = Renderer(byte_tokenizer())
# a, b, then the end: always.
CHAIN = table({ASSISTANT: {A: 0.0}, A: {B: 0.0}, B: {END: 0.0}})
PI = table(
    {
        ASSISTANT: {A: 0.5, B: 0.0, END: -0.7},
        A: {A: -0.5, B: 0.4, END: 0.3},
        B: {A: 0.9, B: -0.3, END: 0.0},
    }
)
REF = table(
    {
        ASSISTANT: {A: 0.0, B: 0.6, END: -0.2},
        A: {A: 0.2, B: 0.0, END: -0.6},
        B: {A: 0.0, B: 0.3, END: 0.8},
    }
)


class Letters:
    """A reward that counts one token; stands in for a reward model."""

    mean, std = 0.0, 1.0

    def __init__(self, renderer: Renderer, token: int) -> None:
        self.renderer = renderer
        self.token = token

    def score(self, texts: Sequence[Rendered]) -> Tensor:
        return torch.tensor([float(t.completion_ids.count(self.token)) for t in texts])

    def score_completions(
        self, _conversations: object, texts: Sequence[Rendered], _renderer: Renderer
    ) -> Tensor:
        return self.score(texts)


MakeModels = Callable[..., Models]


@pytest.fixture(scope="module")
def worthless(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A value model to which every state is worth 0."""
    return tabular_rewards(torch.zeros(VOCABULARY), tmp_path_factory.mktemp("value"))


@pytest.fixture
def models_of(worthless: str) -> MakeModels:
    """The four models of a step; the reward counts A."""

    def make(policy: Any, reference: Any = None, renderer: Renderer = RENDERER) -> Models:
        return Models(
            policy=policy,
            reference=policy if reference is None else reference,
            value=load_reward_model(worthless, frozen=False),
            scorer=Letters(renderer, A),
            renderer=renderer,
        )

    return make


def prompt(ids: Sequence[int] = (1, 3, 90, ASSISTANT), limit: int = 3, name: str = "p") -> Prompt:
    return Prompt(name, said("x"), list(ids), [0], limit)


UNEVEN = [
    prompt([1, 3, *range(90, 90 + n), ASSISTANT], limit=8, name=f"{n}") for n in (0, 17, 3, 30)
]


# --- recorders -----------------------------------------------------------------------------------


class Gradients(list[Tensor]):
    """The flat gradient of each optimiser step, as it was before clipping.

    A step of PPO clips policy and value in turn, so they alternate.
    """


@pytest.fixture
def gradients(monkeypatch: pytest.MonkeyPatch) -> Gradients:
    """Every call of ``clip_grad_norm_`` is recorded and clips nothing."""
    seen = Gradients()

    def record(parameters: Any, *_: Any, **__: Any) -> Tensor:
        listed = [parameters] if isinstance(parameters, Tensor) else list(parameters)
        flat = [p.grad.detach().flatten().clone() for p in listed if p.grad is not None]
        seen.append(torch.cat(flat))
        return seen[-1].norm()

    monkeypatch.setattr(nn.utils, "clip_grad_norm_", record)
    return seen


@contextlib.contextmanager
def encoded(model: Any) -> Iterator[list[list[int]]]:
    """The token ids of every text that a reward model is given, in the order of calls."""
    rows: list[list[int]] = []

    def record(_module: Any, _args: Any, given: dict[str, Any]) -> None:
        rows.extend(texts_of(given))

    handle = model.register_forward_pre_hook(record, with_kwargs=True)
    try:
        yield rows
    finally:
        handle.remove()


def texts_of(batch: Mapping[str, Tensor]) -> list[list[int]]:
    """The whole texts of a batch of groups, prompts put back where they were shared."""
    own = [
        ids[mask.bool()].tolist()
        for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)
    ]
    if "prefix_ids" not in batch:
        return own
    shared = [
        ids[mask.bool()].tolist()
        for ids, mask in zip(batch["prefix_ids"], batch["prefix_mask"], strict=True)
    ]
    return [shared[of] + ids for of, ids in zip(batch["prefix_of"].tolist(), own, strict=True)]


def flat(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def pairs_of(ranks: Sequence[int]) -> list[tuple[int, int]]:
    """(winner, loser) of every two places that differ."""
    both = itertools.permutations(range(len(ranks)), 2)
    return [(a, b) for a, b in both if ranks[a] < ranks[b]]


def score_tokens(model: Any, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    """The mean of the heads at every token, (B, T), whichever side is padded."""
    batch = {"input_ids": input_ids, "attention_mask": attention_mask}
    scores: Tensor = model.score(prefix.encode(model.base_model, batch))
    return scores.mean(-1)


@torch.no_grad()
def token_values(models: Models, texts: Sequence[Rendered]) -> Tensor:
    """What the value model gives the completion tokens: (B, C), 0 on padding."""
    mask = pad([text.completion_ids for text in texts], 0)[1].bool()
    with models.acting("value"):
        values = completion_values(models, batch_of(texts, models.renderer.pad_id))
    return torch.zeros(mask.shape).masked_scatter(mask, values)
