"""Models of a few thousand random weights and a byte tokenizer, made here: no Hub, no downloads."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from training.jobs.events import EventWriter, read_events
from training.jobs.folder import JobFolder
from training.jobs.params import parse_params
from training.jobs.spec import JobSpec, needs_reward_model
from training.rlhf.job import Job
from training.rlhf.models import load_policy, load_renderer, new_reward_model
from training.rlhf.rendering import Renderer

TEMPLATE = (
    "<bos>{% for message in messages %}"
    "{% if message['role'] == 'tool' %}{{ raise_exception('no tools') }}{% endif %}"
    "<{{ message['role'] }}>{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}<end>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
SPECIAL = ["<pad>", "<bos>", "<end>", "<user>", "<assistant>", "<system>"]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def byte_tokenizer(*, template: str | None = TEMPLATE, **special: Any) -> PreTrainedTokenizerFast:
    """One token a byte, after the special ones."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate([*SPECIAL, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    named = {"pad_token": "<pad>", "bos_token": "<bos>", "eos_token": "<end>"} | special
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        additional_special_tokens=SPECIAL[3:],
        **{name: token for name, token in named.items() if token},
    )
    fast.chat_template = template
    return fast


def tiny_config(**changes: Any) -> LlamaConfig:
    settings = {
        "vocab_size": len(SPECIAL) + 256,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "initializer_range": 0.1,
    }
    return LlamaConfig(**settings | changes)


@pytest.fixture(scope="session")
def policy_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("policy")
    torch.manual_seed(0)
    LlamaForCausalLM(tiny_config()).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return str(folder)


def random_reward_model(folder: str) -> Any:
    """A reward model whose scores differ; a new one gives 0 to every text."""
    torch.manual_seed(1)
    model = new_reward_model(folder)
    torch.nn.init.normal_(model.score.weight, std=0.2)
    return model


@pytest.fixture(scope="session")
def reward_folder(policy_folder: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("reward")
    model = random_reward_model(policy_folder)
    model.save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.fixture
def policy(policy_folder: str) -> Any:
    return load_policy(policy_folder)


@pytest.fixture(scope="session")
def renderer(policy_folder: str) -> Renderer:
    return load_renderer(policy_folder)


def said(content: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": content}]


def compared(
    prompt: str, texts: Sequence[str], pairs: Sequence[tuple[int, int]], **more: Any
) -> dict[str, Any]:
    """A row of comparisons.jsonl with one ranking."""
    return {
        "prompt": prompt,
        "author": "",
        "messages": said(prompt),
        "completions": [
            {"text": text, "token_ids": None, "finish_reason": "stop"} for text in texts
        ],
        "rankings": [{"labeler": "ada", "pairs": [list(pair) for pair in pairs]}],
        **more,
    }


def prefers_a(count: int) -> list[dict[str, Any]]:
    """Comparisons in which the more letters ``a`` the better."""
    texts = ["aaaa", "aab", "abbb", "bbbb"]
    pairs = [(winner, loser) for winner in range(4) for loser in range(winner + 1, 4)]
    return [compared(f"p{n}", [t + str(n) for t in texts], pairs) for n in range(count)]


def prompts(count: int, indexes: Sequence[int] = ()) -> list[dict[str, Any]]:
    return [
        {"prompt": f"p{n}", "messages": said("x" * (1 + n % 3) + str(n)), "indexes": list(indexes)}
        for n in range(count)
    ]


def demonstrations(count: int) -> list[dict[str, Any]]:
    return [
        {"prompt": f"d{n}", "author": "", "messages": said(f"say {n % 8}"), "completion": "abab"}
        for n in range(count)
    ]


MakeJob = Callable[..., Job]


@pytest.fixture
def make_job(tmp_path: Path, policy_folder: str, reward_folder: str) -> MakeJob:
    """A job folder on disk with its spec, ready to run."""

    def make(
        kind: str,
        data: Mapping[str, Sequence[Mapping[str, Any]]],
        params: Mapping[str, Any] | None = None,
        *,
        name: str = "job",
        model: str = policy_folder,
        reward_model: str | None = reward_folder,
        seed: int = 7,
    ) -> Job:
        folder = JobFolder(tmp_path / name)
        folder.create()
        parsed = parse_params(kind, params or {})
        spec = JobSpec(
            run="1",
            kind=kind,
            seed=seed,
            model=model,
            reward_model=reward_model if needs_reward_model(kind, parsed) else None,
            params=parsed,
            data={key: folder.write_data(key, rows) for key, rows in data.items()},
        )
        folder.write_spec(spec)
        return Job(folder, spec, EventWriter(folder.events))

    return make


def metrics_of(job: Job) -> dict[str, Any]:
    result = job.folder.read_result()
    assert result is not None
    return dict(result["metrics"])


def events_of(job: Job, phase: str) -> list[dict[str, Any]]:
    """The metrics of the events of one phase."""
    return [dict(e.metrics) for e in read_events(job.folder.events)[0] if e.phase == phase]
