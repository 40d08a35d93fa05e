"""Known traps of models: positions and padding, adapters, vocabularies of another size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    LlamaForCausalLM,
)

from tests.rlhf.conftest import (
    byte_tokenizer,
    compared,
    demonstrations,
    prefers_a,
    prompts,
    said,
    tiny_config,
)
from tests.rlhf.toys import ARCHITECTURES, END, causal, saved, texts_of
from training.rlhf import dpo, ppo, prefix, reward, rollouts, sample, sft
from training.rlhf.batching import pad, positions
from training.rlhf.errors import TrainingError
from training.rlhf.generate import Request, Sampling, generate
from training.rlhf.heads import body_of
from training.rlhf.rendering import Rendered
from training.rlhf.scoring import Scorer

UNEVEN = [
    Rendered([1, 3, *range(90, 90 + n), 4], [80 + k for k in range(1 + n % 5)] + [END])
    for n in (0, 19, 2, 31, 7)
]


@pytest.fixture(params=ARCHITECTURES)
def model(request: Any) -> Any:
    return causal(request.param)


@torch.no_grad()
def logits_alone(model: Any, ids: list[int]) -> Tensor:
    """The library's logits of one text: no padding, no mask, no positions given."""
    logits: Tensor = model(torch.tensor([ids])).logits[0]
    return logits


# --- 18: padding without positions


def test_trap_18_left_padding_leaves_logits_alone(model: Any) -> None:
    ids, mask = pad([text.ids for text in UNEVEN], 0, "left")
    with torch.no_grad():
        together = model(input_ids=ids, attention_mask=mask, position_ids=positions(mask)).logits
    for row, text in enumerate(UNEVEN):
        alone = logits_alone(model, text.ids)
        assert torch.allclose(together[row, -len(text) :], alone, atol=2e-5)


def test_trap_18_a_batch_has_the_logprobs_of_its_texts(model: Any) -> None:
    together, entropy = rollouts.logprobs_and_entropy(model, UNEVEN, 0, 0.7)
    for row, text in enumerate(UNEVEN):
        count, first = len(text.completion_ids), len(text.prompt_ids)
        every = (logits_alone(model, text.ids)[first - 1 : -1] / 0.7).log_softmax(-1)
        own = every.gather(1, torch.tensor(text.completion_ids).unsqueeze(1)).squeeze(1)
        assert torch.allclose(together[row, :count], own, atol=5e-5)
        assert torch.allclose(entropy[row, :count], -(every.exp() * every).sum(-1), atol=5e-5)
        assert not together[row, count:].any()


GROUPS = [
    ([1, 3, *range(90, 110), 4], [[80, 81, END], [82], [83, 84, 85, 86, END]]),
    ([1, 3, END, 91, 4], [[87, END], [88, 89]]),
    ([1], [[80], [81, END]]),
]


def test_trap_18_a_shared_prompt_is_as_if_it_were_not(model: Any) -> None:
    """Hidden states and gradients of texts with a common prompt against each text alone."""
    if not prefix.can_share(model):
        assert getattr(model.config, "sliding_window", None)
        return
    batch = prefix.lay_out_groups(GROUPS, 0, share=True)
    assert "prefix_ids" in batch
    texts = [p + c for p, completions in GROUPS for c in completions]
    assert texts_of(batch) == texts
    hidden = prefix.encode(body_of(model), batch)
    mask = batch["attention_mask"].bool()
    torch.manual_seed(0)
    weights = torch.randn(hidden.shape[-1])
    (hidden[mask] @ weights).sum().backward()
    shared = gradient(model)
    model.zero_grad()
    alone = torch.zeros(())
    for row, text in enumerate(texts):
        whole = body_of(model)(torch.tensor([text])).last_hidden_state[0]
        own = whole[-int(mask[row].sum()) :]
        assert torch.allclose(hidden[row][mask[row]], own, atol=2e-5)
        alone = alone + (own @ weights).sum()
    alone.backward()
    assert (shared - gradient(model)).norm() < 1e-4 * shared.norm()


def gradient(model: Any) -> Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def test_trap_18_the_cache_writes_what_a_full_pass_would(model: Any) -> None:
    """Greedy, several a prompt, prompts of any length in one batch; and the told logprobs."""
    how = Sampling(temperature=0.0, top_p=1.0, end_id=-1, pad_id=0)
    requests = [Request(text.prompt_ids, [0, 1][: 1 + n % 2], 6) for n, text in enumerate(UNEVEN)]
    for request, answers in zip(requests, generate(model, requests, how), strict=True):
        for answer in answers:
            ids = answer.token_ids
            logits = logits_alone(model, [*request.prompt_ids, *ids])
            ahead = logits[len(request.prompt_ids) - 1 : -1]
            assert ahead.argmax(-1).tolist() == ids
            own = ahead.log_softmax(-1)[torch.arange(len(ids)), torch.tensor(ids)]
            assert torch.allclose(torch.tensor(answer.logprobs), own, atol=5e-5)


# --- 30: adapters

LORA = {"lora_rank": 3, "lora_alpha": 12.0}
PPO = {
    "steps": 3,
    "batch_size": 6,
    "minibatch_size": 3,
    "max_new_tokens": 5,
    "learning_rate": 1e-2,
    "value_learning_rate": 1e-2,
}


def test_trap_30_a_merged_policy_is_its_base_with_the_adapter_on(make_job: Any) -> None:
    """The artifact read by transformers alone, and its adapter by peft on the base model."""
    job = make_job("ppo", {"prompts": prompts(5)}, PPO | LORA)
    ppo.run(job)
    folder = job.folder.artifacts / "model"
    base = AutoModelForCausalLM.from_pretrained(job.spec.model)
    untouched = logits_alone(base, UNEVEN[1].ids)
    adapted = PeftModel.from_pretrained(base, str(folder / "adapter")).eval()
    merged = AutoModelForCausalLM.from_pretrained(folder)
    for text in UNEVEN:
        expected = logits_alone(adapted, text.ids)
        assert torch.allclose(logits_alone(merged, text.ids), expected, atol=1e-4)
    assert not torch.allclose(logits_alone(merged, UNEVEN[1].ids), untouched, atol=1e-2)


def test_trap_30_a_merged_reward_model_is_its_base_with_adapter_and_head(make_job: Any) -> None:
    params = {"epochs": 2, "learning_rate": 1e-2, "batch_prompts": 4}
    job = make_job("reward", {"comparisons": prefers_a(8)}, params | LORA)
    reward.run(job)
    folder = job.folder.artifacts / "model"
    scorer = Scorer.load(str(folder))
    base = AutoModelForSequenceClassification.from_pretrained(job.spec.model, num_labels=1)
    adapted = PeftModel.from_pretrained(base, str(folder / "adapter")).eval()
    merged = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    scores = scorer.score(UNEVEN)
    for model in (adapted, merged):
        model.config.pad_token_id = None
        raw = torch.cat([logits_alone(model, text.ids) for text in UNEVEN])
        assert torch.allclose((raw - scorer.mean) / scorer.std, scores, atol=1e-3)
    assert scores.std() > 0.01


@pytest.mark.parametrize("kind", ["sft", "ppo", "reward"])
def test_trap_30_an_artifact_is_whole_for_the_library(make_job: Any, kind: str) -> None:
    """Tokenizer, chat template, special tokens and weights, without a line of this program."""
    module, data, params = {
        "sft": (sft, {"demonstrations": demonstrations(6)}, {"epochs": 1}),
        "ppo": (ppo, {"prompts": prompts(4)}, PPO | LORA | {"steps": 1}),
        "reward": (reward, {"comparisons": prefers_a(4)}, {"epochs": 1} | LORA),
    }[kind]
    job = make_job(kind, data, params)
    module.run(job)
    folder = job.folder.artifacts / "model"
    tokenizer, original = AutoTokenizer.from_pretrained(folder), byte_tokenizer()
    for conversation in (said("hi"), [*said("a"), {"role": "assistant", "content": "b"}]):
        rendered = [t.apply_chat_template(conversation)["input_ids"] for t in (tokenizer, original)]
        assert rendered[0] == rendered[1]
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id) == (END, 0)
    auto = AutoModelForSequenceClassification if kind == "reward" else AutoModelForCausalLM
    model, told = auto.from_pretrained(folder, output_loading_info=True)
    assert not told["missing_keys"]
    assert not told["unexpected_keys"]
    assert torch.isfinite(logits_alone(model, [1, 3, 90, 4])).all()


# --- 32: vocabularies and embeddings of different sizes


def with_added_tokens(count: int) -> Any:
    tokenizer = byte_tokenizer()
    tokenizer.add_tokens([f"<new{n}>" for n in range(count)])
    return tokenizer


@pytest.mark.parametrize("kind", ["sft", "reward", "dpo", "ppo", "sample"])
def test_trap_32_tokens_beyond_the_embedding_are_refused(
    make_job: Any, tmp_path: Path, kind: str, reward_folder: str
) -> None:
    """Four tokens were added and the embedding was not enlarged: an error, in words."""
    torch.manual_seed(0)
    model = saved(LlamaForCausalLM(tiny_config()), tmp_path / "short", with_added_tokens(4))
    text = "one <new3>"
    module, data = {
        "sft": (sft, {"demonstrations": [shown(text, n) for n in range(4)]}),
        "reward": (reward, {"comparisons": [compared(text, ["a", text], [(0, 1)])]}),
        "dpo": (dpo, {"comparisons": [compared(text, ["a", text], [(0, 1)])]}),
        "ppo": (ppo, {"prompts": [{"prompt": "p", "messages": said(text)}]}),
        "sample": (sample, {"prompts": [{"prompt": "p", "messages": said(text), "indexes": [0]}]}),
    }[kind]
    with pytest.raises(TrainingError, match=r"embedding|vocabulary|tokens"):
        module.run(make_job(kind, data, model=model))


def shown(text: str, number: int) -> dict[str, Any]:
    return {
        "prompt": f"d{number}",
        "author": "",
        "messages": said(f"{text} {number}"),
        "completion": text,
    }


@pytest.fixture
def padded(tmp_path: Path) -> str:
    """Room for 320 tokens where the tokenizer has 266; a multiple of 64, as trainers make it."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(tiny_config(vocab_size=320))
    return saved(model, tmp_path / "padded", with_added_tokens(4))


def test_trap_32_added_tokens_come_through(padded: str, make_job: Any, renderer: Any) -> None:
    """A text with an added token is trained on, written and read back as that one token."""
    tokenizer = AutoTokenizer.from_pretrained(padded)
    added = tokenizer.convert_tokens_to_ids("<new3>")
    assert added == len(tokenizer) - 1 == 265
    rows = [shown("x<new3>y", n) for n in range(8)]
    params = {"epochs": 40, "learning_rate": 5e-3, "batch_size": 8, "validation_share": 0.0}
    job = make_job("sft", {"demonstrations": rows}, params, model=padded)
    sft.run(job)
    tuned = str(job.folder.artifacts / "model")
    asked = [{"prompt": "p", "messages": said("x<new3>y 3"), "indexes": [0]}]
    drawn = make_job(
        "sample",
        {"prompts": asked},
        {"temperature": 0.0, "max_new_tokens": 8},
        model=tuned,
        name="sample",
    )
    sample.run(drawn)
    [row] = sample.read_completions(drawn.folder.artifacts / sample.COMPLETIONS)
    assert row["text"] == "x<new3>y"
    assert added in row["token_ids"]


STEPS = {
    "sft": (sft, {"demonstrations": demonstrations(8)}, {"epochs": 2, "batch_size": 4}),
    "reward": (reward, {"comparisons": prefers_a(8)}, {"epochs": 2, "batch_prompts": 2}),
    "dpo": (dpo, {"comparisons": prefers_a(8)}, {"epochs": 2, "batch_size": 4}),
    "ppo": (ppo, {"prompts": prompts(4)}, PPO),
}


@pytest.mark.parametrize("kind", list(STEPS))
def test_trap_32_every_weight_moves(
    padded: str, make_job: Any, kind: str, record_moves: Callable[[], dict[str, bool]]
) -> None:
    module, data, params = STEPS[kind]
    reward_model = make_reward(padded, make_job) if kind == "ppo" else None
    module.run(
        make_job(
            kind,
            data,
            params | {"learning_rate": 1e-2},
            name="run",
            model=padded,
            **({"reward_model": reward_model} if reward_model else {}),
        )
    )
    moved = record_moves()
    assert len(moved) > 20
    assert [name for name, has in moved.items() if not has] == []


@pytest.mark.parametrize("kind", ["reward", "ppo"])
def test_trap_32_every_weight_of_an_adapter_moves(
    padded: str, make_job: Any, kind: str, record_moves: Callable[[], dict[str, bool]]
) -> None:
    module, data, params = STEPS[kind]
    reward_model = make_reward(padded, make_job) if kind == "ppo" else None
    module.run(
        make_job(
            kind,
            data,
            params | LORA | {"learning_rate": 1e-2},
            name="run",
            model=padded,
            **({"reward_model": reward_model} if reward_model else {}),
        )
    )
    moved = record_moves()
    # Two matrices beside each of seven linear layers in two layers, and the head.
    roles = 2 if kind == "ppo" else 1
    assert len(moved) == roles * 2 * 7 * 2 + 1
    assert [name for name, has in moved.items() if not has] == []


def make_reward(policy: str, make_job: Any) -> str:
    params = {"epochs": 1, "learning_rate": 1e-2}
    job = make_job("reward", {"comparisons": prefers_a(4)}, params, name="rm", model=policy)
    reward.run(job)
    return str(job.folder.artifacts / "model")


@pytest.fixture
def record_moves(monkeypatch: pytest.MonkeyPatch) -> Callable[[], dict[str, bool]]:
    """Whether each weight that an optimiser of the last run was given has moved since."""
    given: list[list[tuple[torch.nn.Parameter, Tensor]]] = []
    start = torch.optim.AdamW.__init__

    def record(self: Any, parameters: Any, *args: Any, **kwargs: Any) -> None:
        listed = list(parameters)
        weights = [
            p for entry in listed for p in (entry["params"] if isinstance(entry, dict) else [entry])
        ]
        given.append([(p, p.detach().clone()) for p in weights if p.requires_grad])
        start(self, listed, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "__init__", record)

    def moved() -> dict[str, bool]:
        # The reward model of a PPO run was trained before, by an optimiser of its own.
        last = given[-2:] if len(given) > 1 else given
        return {
            f"{number} {index}": not torch.equal(parameter, before)
            for number, weights in enumerate(last)
            for index, (parameter, before) in enumerate(weights)
        }

    return moved
