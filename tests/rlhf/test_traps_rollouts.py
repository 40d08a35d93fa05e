"""Known traps of reinforcement learning from human feedback: episodes, KL and advantages.

The policies are bigram models, so that what is sampled can also be summed exactly.
"""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers import models as tokenizer_models
from torch import Tensor
from transformers import GenerationConfig, PreTrainedTokenizerFast

from tests.rlhf.conftest import SPECIAL, TEMPLATE, byte_tokenizer, prompts, said, tiny_config
from tests.rlhf.toys import (
    ASSISTANT,
    CHAIN,
    END,
    RENDERER,
    UNEVEN,
    A,
    B,
    Letters,
    MakeModels,
    bigram,
    causal,
    models_of,
    prompt,
    saved,
    table,
    worthless,
)
from training.jobs.params import PpoParams
from training.rlhf import grpo, online, ppo, rloo
from training.rlhf.errors import TrainingError
from training.rlhf.generate import Request, Sampling, generate
from training.rlhf.losses import (
    logprobs_of,
)
from training.rlhf.models import load_renderer
from training.rlhf.rendering import Rendered, Renderer
from training.rlhf.roles import Models
from training.rlhf.rollouts import collect, logprobs_and_entropy
from training.rlhf.sample import Prompt

assert models_of
assert worthless  # fixtures

# --- 3: tokens of the concatenation are not the concatenation of tokens


def merging_tokenizer() -> PreTrainedTokenizerFast:
    """Bytes and some merges, so that most texts can be spelt in several ways."""
    tokenizer = Tokenizer(tokenizer_models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["hello hell help o the then them é日本語"] * 9, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<end>",
        additional_special_tokens=SPECIAL[3:],
    )
    fast.chat_template = TEMPLATE
    return fast


MERGING = Renderer(merging_tokenizer())
TOKENS = st.integers(0, len(MERGING.tokenizer) - 1).filter(lambda token: token != END)


def test_trap_03_the_tokenizer_of_these_tests_joins_over_the_border() -> None:
    prompt_ids = MERGING.prompt_ids(said("x"))
    joined = MERGING.tokenizer("hel" + "lo", add_special_tokens=False)["input_ids"]
    parts = [MERGING.render(said("x"), {"text": t}).completion_ids[:-1] for t in ("hel", "lo")]
    assert joined != parts[0] + parts[1]
    assert MERGING.text(prompt_ids).endswith("<assistant>")


@settings(deadline=None)
@given(st.lists(TOKENS, max_size=12), st.sampled_from(["stop", "length"]))
def test_trap_03_sampled_ids_are_canonical_however_the_text_would_be_tokenized(
    ids: list[int], reason: str
) -> None:
    """As ``sample`` stores them, through JSON, to training and scoring."""
    row = {"text": MERGING.text(ids), "token_ids": ids, "finish_reason": reason}
    rendered = MERGING.render(said("hel"), json.loads(json.dumps(row)))
    assert rendered.completion_ids == ids + ([END] if reason == "stop" else [])
    assert rendered.prompt_ids == MERGING.prompt_ids(said("hel"))


@settings(deadline=None)
@given(st.text(max_size=20), st.text(max_size=20))
def test_trap_03_text_survives_ids_and_leaves_the_prompt_alone(asked: str, answer: str) -> None:
    rendered = MERGING.render(said(asked), {"text": answer, "finish_reason": "length"})
    assert rendered.prompt_ids == MERGING.prompt_ids(said(asked))
    assert MERGING.text(rendered.completion_ids) == answer
    again = MERGING.render(said(asked), {"text": answer, "finish_reason": "length"})
    stored = {"text": answer, "token_ids": rendered.completion_ids, "finish_reason": "length"}
    assert MERGING.render(said(asked), stored).ids == rendered.ids == again.ids


# --- 4: the penalty for a missing end


def returns_without_penalty_and_with(
    models: Models, asked: Prompt
) -> tuple[Tensor, Tensor, Rendered]:
    """Returns at the first token: with no value, no KL and gamma = lambda = 1, the reward."""
    found = []
    for penalty in (0.0, 5.0):
        params = PpoParams(missing_eos_penalty=penalty, kl_coef=0.0, gae_lambda=1.0)
        experience, _ = collect(models, [asked, asked], params, 0, 0, params.kl_coef)
        found.append(experience.returns[:, 0])
    return found[0], found[1], experience.texts[0]


@pytest.mark.parametrize(
    ("ids", "limit", "written", "pays"),
    [
        ((1, 3, ASSISTANT), 9, [A, B, END], False),
        ((1, 3, ASSISTANT), 3, [A, B, END], False),
        ((1, 3, ASSISTANT), 2, [A, B], True),
        ((1, 3, END, ASSISTANT), 2, [A, B], True),
        ((1, END, END, 3, END, ASSISTANT), 1, [A], True),
        ((1, 3, END, ASSISTANT), 3, [A, B, END], False),
    ],
)
def test_trap_04_only_a_completion_without_its_own_end_pays(
    models_of: MakeModels, ids: tuple[int, ...], limit: int, written: list[int], pays: bool
) -> None:
    models = models_of(bigram(CHAIN))
    free, fined, text = returns_without_penalty_and_with(models, prompt(ids, limit))
    assert text.completion_ids == written
    assert (free - fined).tolist() == [5.0 if pays else 0.0] * 2


def test_trap_04_the_tokenizer_says_what_ends(models_of: MakeModels) -> None:
    """Another end token than the model's configuration has: <system>, number 5."""
    renderer = Renderer(byte_tokenizer(eos_token="<system>"))
    policy = bigram(table({ASSISTANT: {A: 0.0}, A: {END: 0.0}, END: {5: 0.0}, 5: {A: 0.0}}))
    models = models_of(policy, renderer=renderer)
    free, fined, text = returns_without_penalty_and_with(models, prompt(limit=9))
    assert text.completion_ids == [A, END, 5]
    assert torch.equal(free, fined)
    free, fined, text = returns_without_penalty_and_with(models, prompt(limit=2))
    assert text.completion_ids == [A, END]
    assert (free - fined).tolist() == [5.0] * 2


def test_trap_04_a_turn_ends_as_the_models_own_template_closes_it(tmp_path: Path) -> None:
    """As Gemma's does: by a token that its tokenizer does not name, and its generation does."""
    template = TEMPLATE.replace("<end>", "<system>\n")
    folder = str(tmp_path)
    tiny_config().save_pretrained(folder)
    byte_tokenizer(template=template).save_pretrained(folder)
    assert load_renderer(folder).end_id == END
    GenerationConfig(eos_token_id=[END, 5]).save_pretrained(folder)
    renderer = load_renderer(folder)
    assert renderer.end_id == 5
    renderer.tokenizer.save_pretrained(folder)
    Path(folder, "generation_config.json").unlink()
    assert load_renderer(folder).end_id == 5  # as every artifact has it


@pytest.mark.parametrize("template", [None, TEMPLATE, "{{ raise_exception('no') }}"])
def test_trap_04_other_ends_leave_the_tokenizers_own(template: str | None) -> None:
    renderer = Renderer(byte_tokenizer(template=template), ends=[5, END])
    assert renderer.end_id == END


def test_trap_04_without_a_value_model_too() -> None:
    """RLOO and GRPO: the end token of the completion counts, whatever the prompt holds."""
    reward = online.reward_function(Letters(RENDERER, A), RENDERER, 5.0)
    rewards = reward(
        prompts=[said("x")] * 4,
        prompt_ids=[[1, 3, ASSISTANT], [1, END, ASSISTANT], [1, END, END], [1, 3, ASSISTANT]],
        completion_ids=[[A, END], [A, B], [A, A], [END]],
        log_metric=lambda *_: None,
    )
    assert rewards == [1.0, -4.0, -3.0, 0.0]


# --- 6 and 9: the first ratio


def dropping_gpt2() -> Any:
    """Dropout of a half, far above what a comparison of probabilities would forgive."""
    changes = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.5)
    return causal("gpt2", **changes)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_trap_06_the_ratio_is_one_before_the_first_step(
    models_of: MakeModels, temperature: float
) -> None:
    """With dropout in the configuration, left padding, and micro-batches unlike the rollout's."""
    policy = dropping_gpt2()
    params = PpoParams(
        temperature=temperature, batch_size=4, minibatch_size=3, learning_rate=1e-9, steps=1
    )
    models = models_of(policy)
    experience, measured = collect(models, UNEVEN, params, 0, 0, params.kl_coef)
    assert abs(measured["kl"]) < 1e-5
    for text, recorded in zip(experience.texts, experience.logprobs, strict=True):
        with torch.no_grad():
            logits = policy(torch.tensor([text.ids])).logits[0, len(text.prompt_ids) - 1 : -1]
        fresh = (
            (logits / temperature)
            .log_softmax(-1)
            .gather(1, torch.tensor(text.completion_ids).unsqueeze(1))
        )
        ratio = (fresh.squeeze(1) - recorded[: len(text.completion_ids)]).exp()
        assert (ratio - 1).abs().max() < 1e-4
    learner = ppo.new_learner(models, params)
    assert ppo.update(learner, experience, params, 0)["ratio_error"] < 1e-4


def test_trap_06_the_policy_stays_in_evaluation_mode_through_a_step(models_of: MakeModels) -> None:
    policy = dropping_gpt2()
    params = PpoParams(batch_size=4, minibatch_size=4, learning_rate=1e-4, steps=1)
    models = models_of(policy)
    learner = ppo.new_learner(models, params)
    experience, _ = collect(models, UNEVEN, params, 0, 0, params.kl_coef)
    ppo.update(learner, experience, params, 0)
    assert not any(module.training for module in policy.modules())


@pytest.mark.parametrize("kind", ["rloo", "grpo"])
def test_trap_06_without_a_value_model_too(
    make_job: Any, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TRL trains in training mode: each pass over the same ids must say the same nevertheless."""
    module = {"rloo": rloo, "grpo": grpo}[kind]
    trainer = {"rloo": rloo.OnlineRlooTrainer, "grpo": grpo.OnlineGrpoTrainer}[kind]
    compute = trainer._get_per_token_logps_and_entropies
    modes: list[bool] = []
    seen: dict[Any, list[Tensor]] = {}

    def record(self: Any, model: Any, ids: Tensor, *args: Any, **kwargs: Any) -> Any:
        found = compute(self, model, ids, *args, **kwargs)
        modes.append(model.training)
        for row, logprobs in zip(ids.tolist(), found[0].detach(), strict=True):
            seen.setdefault((model is self.ref_model, *row), []).append(logprobs)
        return found

    monkeypatch.setattr(trainer, "_get_per_token_logps_and_entropies", record)
    params = {"steps": 2, "batch_size": 4, "n": 2, "max_new_tokens": 6, "learning_rate": 1e-9}
    folder = saved(dropping_gpt2(), tmp_path / "dropping")
    module.run(make_job(kind, {"prompts": prompts(3)}, params, model=folder))
    assert True in modes
    assert max(map(len, seen.values())) > 1
    for passes in seen.values():
        assert all(torch.allclose(passes[0], other, atol=1e-4) for other in passes)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_trap_09_samples_and_logprobs_are_of_the_same_temperature(
    models_of: MakeModels, temperature: float
) -> None:
    logits = table({ASSISTANT: {A: 1.0, B: 0.0, END: -1.0}, A: {END: 0.0}, B: {END: 0.0}})
    chances = (logits[ASSISTANT] / temperature).softmax(-1)
    params = PpoParams(temperature=temperature)
    experience, _ = collect(
        models_of(bigram(logits)), [prompt(limit=1)] * 2000, params, 0, 0, params.kl_coef
    )
    written = torch.tensor([text.completion_ids[0] for text in experience.texts])
    for token in (A, B, END):
        share, chance = (written == token).float().mean().item(), chances[token].item()
        assert share == pytest.approx(chance, abs=4 * math.sqrt(chance * (1 - chance) / 2000))
    assert torch.allclose(experience.logprobs[:, 0], chances[written].log(), atol=1e-5)


# --- 10: the engine that writes and the trainer that reads


def test_trap_10_the_sampler_tells_the_logprobs_that_the_trainer_finds(
    models_of: MakeModels,
) -> None:
    """Token by token, end tokens included, at a temperature and with uneven prompts."""
    policy = causal("gpt2")
    how = Sampling(temperature=0.7, top_p=1.0, end_id=END, pad_id=0)
    requests = [Request(p.prompt_ids, [n, n + 10, n + 20], 12) for n, p in enumerate(UNEVEN)]
    answers = generate(policy, requests, how)
    written = [
        (request.prompt_ids, answer)
        for request, group in zip(requests, answers, strict=True)
        for answer in group
    ]
    ids = [[*a.token_ids, *([END] if a.ended else [])] for _, a in written]
    texts = [Rendered(list(p), i) for (p, _), i in zip(written, ids, strict=True)]
    found = logprobs_and_entropy(policy, texts, 0, 0.7)[0]
    told = torch.zeros_like(found)
    for row, (_, answer) in enumerate(written):
        own = [*(answer.logprobs or []), *([answer.end_logprob] if answer.ended else [])]
        told[row, : len(own)] = torch.tensor(own)
    assert (told - found).abs().max() < 1e-4
    inside = told != 0
    both = torch.stack([told[inside], found[inside]])
    assert torch.corrcoef(both)[0, 1] > 0.9999


@pytest.mark.parametrize("kind", ["rloo", "grpo"])
def test_trap_10_another_distribution_at_drawing_is_refused(
    make_job: Any, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sampler uses another temperature than the trainer thinks."""

    def hotter(model: Any, requests: Any, how: Sampling) -> Any:
        return generate(model, requests, dataclasses.replace(how, temperature=1.3))

    monkeypatch.setattr(online, "generate", hotter)
    params = {"steps": 1, "batch_size": 4, "n": 2, "max_new_tokens": 4}
    job = make_job(kind, {"prompts": prompts(2)}, params)
    with pytest.raises(TrainingError, match="different distributions"):
        {"rloo": rloo, "grpo": grpo}[kind].run(job)


def test_trap_17_logits_are_read_one_place_before_the_token() -> None:
    """Teacher-forced log-probabilities against the library's own loss on labels."""
    policy = causal("gpt2")
    texts = [Rendered(p.prompt_ids, list(range(90, 93 + n))) for n, p in enumerate(UNEVEN)]
    ours = logprobs_and_entropy(policy, texts, 0, 1.0)[0]
    for row, text in zip(ours, texts, strict=True):
        labels = [-100] * len(text.prompt_ids) + text.completion_ids
        loss = policy(torch.tensor([text.ids]), labels=torch.tensor([labels])).loss.item()
        assert -row.sum().item() / len(text.completion_ids) == pytest.approx(loss, abs=1e-5)
    logits = torch.tensor([[[0.0, 1.0, 2.0]]])
    assert logprobs_of(logits, torch.tensor([[2]])).item() == pytest.approx(
        2 - math.log(1 + math.e + math.e**2), abs=1e-6
    )
