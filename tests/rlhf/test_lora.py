"""Adapters: what is off does not act, merged they act alike, saved they are read elsewhere."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from tests.rlhf.conftest import (
    byte_tokenizer,
    events_of,
    prefers_a,
    prompts,
    random_reward_model,
)
from tests.rlhf.toys import token_values
from training.rlhf import lora, ppo, reward
from training.rlhf.errors import TrainingError
from training.rlhf.models import load_policy, load_renderer, read_card
from training.rlhf.rendering import Rendered, Renderer
from training.rlhf.roles import load_models
from training.rlhf.rollouts import logprobs_and_entropy
from training.rlhf.sample import fit_prompts
from training.rlhf.scoring import Scorer

PROBE = torch.arange(3, 43).reshape(2, 20)


def logits(model: Any, ids: Tensor = PROBE) -> Tensor:
    with torch.no_grad():
        return model(input_ids=ids).logits


def changed(body: Any, name: str) -> None:
    """Give an adapter something to say; a new one says nothing."""
    torch.manual_seed(len(name))
    for parameter in lora.parameters_of(body, name).values():
        parameter.data.add_(0.1 * torch.randn_like(parameter))


def adapted(folder: str, *names: str) -> Any:
    model = load_policy(folder, frozen=True)
    for name in names:
        lora.add_adapter(model.base_model, name, 4, 8.0)
        changed(model.base_model, name)
    return model


def test_an_adapter_acts_only_where_it_is_used(policy_folder: str) -> None:
    plain = logits(load_policy(policy_folder))
    model = adapted(policy_folder, "policy", "value")
    assert torch.equal(logits(model), plain)
    seen = []
    for name in ("policy", "value"):
        with lora.using(model.base_model, name):
            assert lora.adapters_on(model.base_model) == {name}
            seen.append(logits(model))
    assert not torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], plain)
    assert lora.adapters_on(model.base_model) == set()
    assert torch.equal(logits(model), plain)


def test_a_new_adapter_changes_nothing_yet(policy_folder: str) -> None:
    model = load_policy(policy_folder)
    plain = logits(model)
    lora.add_adapter(model.base_model, "policy", 4, 8.0)
    with lora.using(model.base_model, "policy"):
        assert torch.equal(logits(model), plain)


def test_no_role_is_played_under_the_adapter_of_another(policy_folder: str) -> None:
    body = adapted(policy_folder, "policy", "value").base_model
    with (
        lora.using(body, "policy"),
        pytest.raises(TrainingError, match="policy was left on"),
        lora.using(body, None),
    ):
        pass
    assert lora.adapters_on(body) == set()


def test_gradients_reach_one_adapter_and_nothing_else(policy_folder: str) -> None:
    model = adapted(policy_folder, "policy", "value")
    body = model.base_model
    with lora.using(body, "policy"):
        loss = model(input_ids=PROBE).logits.square().mean()
    loss.backward()  # after the block: switching off must not cut it
    own = set(map(id, lora.parameters_of(body, "policy").values()))
    assert len(own) == 2 * 7 * 2
    for parameter in model.parameters():
        assert (parameter.grad is not None) == (id(parameter) in own)


def test_the_same_seed_starts_the_same_adapter(policy_folder: str) -> None:
    starts = []
    for seed, disturbance in ((1, 5), (1, 6), (2, 6)):
        torch.manual_seed(disturbance)
        body = load_policy(policy_folder).base_model
        lora.add_adapter(body, "policy", 4, 8.0, seed)
        starts.append(torch.cat([p.flatten() for p in lora.parameters_of(body, "policy").values()]))
    assert torch.equal(starts[0], starts[1])
    assert not torch.equal(starts[0], starts[2])


def test_trap_30_merging_keeps_the_logits(policy_folder: str, tmp_path: Path) -> None:
    """Within float32 rounding, and through a library that knows nothing of adapters."""
    model = adapted(policy_folder, "policy", "value")
    plain = logits(model)
    with lora.using(model.base_model, "policy"):
        unmerged = logits(model)
    lora.merge(model.base_model, "policy")
    merged = logits(model)
    bound = 1e-5 * unmerged.abs().max()
    assert (merged - unmerged).abs().max() < bound < (unmerged - plain).abs().max()
    model.save_pretrained(tmp_path)
    elsewhere = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert "lora" not in " ".join(name for name, _ in elsewhere.named_parameters())
    assert torch.equal(logits(elsewhere), merged)


def test_a_saved_adapter_is_read_by_peft_and_here(policy_folder: str, tmp_path: Path) -> None:
    model = adapted(policy_folder, "policy")
    with lora.using(model.base_model, "policy"):
        expected = logits(model)
    head = {"lm_head.weight": torch.randn(262, 32)}
    lora.take(model, "policy", policy_folder).save(tmp_path / "bare")
    lora.take(model, "policy", policy_folder, **head).save(tmp_path / "head")
    theirs = PeftModel.from_pretrained(load_policy(policy_folder), tmp_path / "bare")
    assert torch.equal(logits(theirs), expected)
    headed = PeftModel.from_pretrained(load_policy(policy_folder), tmp_path / "head")
    assert not torch.equal(logits(headed), expected)
    ours = load_policy(policy_folder)
    more = lora.load_adapter(ours, "other", tmp_path / "head")
    assert torch.equal(more["lm_head.weight"], head["lm_head.weight"])
    with lora.using(ours.base_model, "other"):
        assert torch.equal(logits(ours), expected)


def test_an_adapter_of_another_body_is_refused(policy_folder: str, tmp_path: Path) -> None:
    model = adapted(policy_folder, "policy")
    lora.take(model, "policy", policy_folder).save(tmp_path)
    other = load_policy(policy_folder)
    del other.model.layers[1:]
    with pytest.raises(TrainingError, match="does not lie on the linear layers"):
        lora.load_adapter(other, "policy", tmp_path)


def test_the_hash_of_weights_follows_their_bytes_alone(policy_folder: str, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere"
    shutil.copytree(policy_folder, copy)
    (copy / "README.md").write_text("another card")
    assert lora.weights_sha256(str(copy)) == lora.weights_sha256(policy_folder) is not None
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert lora.weights_sha256(str(copy)) != lora.weights_sha256(policy_folder)
    assert lora.weights_sha256("some/hub-name") is None


def test_adapters_learn_faster_than_whole_models_but_not_without_bound() -> None:
    assert lora.learning_rate("ppo", 7_000_000_000) == pytest.approx(1e-5)
    assert lora.learning_rate("value", 1_000_000) == lora.HIGHEST_RATE


# --- PPO on adapters ----------------------------------------------------------------------

SMALL = {
    "steps": 3,
    "batch_size": 6,
    "minibatch_size": 3,
    "max_new_tokens": 6,
    "lora_rank": 4,
    "learning_rate": 1e-2,
    "value_learning_rate": 1e-2,
}


@pytest.fixture
def adapter_reward(policy_folder: str, tmp_path: Path) -> str:
    """A reward model that was trained as an adapter on the policy: merged, the adapter beside."""
    folder = tmp_path / "adapter-reward"
    model = random_reward_model(policy_folder).requires_grad_(False)
    lora.add_adapter(model.base_model, "reward", 3, 6.0)
    changed(model.base_model, "reward")
    adapter = lora.take(model, "reward", policy_folder, "SEQ_CLS")
    lora.merge(model.base_model, "reward")
    model.save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    adapter.save(folder / "adapter")
    card = {
        "adapter": {"folder": "adapter", "base_sha256": lora.weights_sha256(policy_folder)},
        "reward_mean": 0.5,
        "reward_std": 2.0,
    }
    (folder / "podium.json").write_text(json.dumps(card))
    return str(folder)


def cast_of(job: Any) -> tuple[Any, Any]:
    models = load_models(job, job.spec.params)
    rows = [(row, ()) for row in job.rows()]
    return models, fit_prompts(job, models.renderer, 128, rows, 6)


def said_of(models: Any, text: Rendered) -> dict[str, Tensor]:
    """What each role says of a text."""
    said = {"scorer": None, "value": token_values(models, [text])}
    with models.acting("scorer"):
        said["scorer"] = models.scorer.score([text])
    for role in ("policy", "reference"):
        with models.acting(role):
            said[role] = logprobs_and_entropy(getattr(models, role), [text], 0, 1.0)[0]
    return said


@pytest.mark.parametrize("shared", [False, True])
def test_traps_15_and_22_training_moves_policy_and_value_and_no_other_role(
    make_job: Any, adapter_reward: str, reward_folder: str, shared: bool
) -> None:
    name = adapter_reward if shared else reward_folder
    job = make_job("ppo", {"prompts": prompts(5)}, SMALL, reward_model=name)
    models, fitted = cast_of(job)
    assert events_of(job, "models") == [
        {"value_starts_as": "reward model", "bodies": 1 if shared else 2}
    ]
    assert models.reference is models.policy
    assert (models.value.base_model is models.policy.base_model) == shared
    assert models.value.base_model is models.scorer.model.base_model
    assert models.value.score is not models.scorer.model.score
    text = Rendered(fitted[0].prompt_ids, [80, 81, 2])
    before = said_of(models, text)
    assert torch.equal(before["policy"], before["reference"])
    alone = Scorer.load(name).score([text])
    assert torch.allclose(before["scorer"], alone, atol=1e-5)
    prefixes = [Rendered(text.prompt_ids, text.completion_ids[:n]) for n in range(3)]
    assert torch.allclose(before["value"][0], Scorer.load(name).score(prefixes), atol=1e-5)
    base = {n: p.clone() for n, p in models.policy.named_parameters() if ".lora_" not in n}
    learner = ppo.new_learner(models, job.spec.params)
    for _ in range(3):
        assert ppo.iterate(job, learner, fitted, job.spec.params)
    after = said_of(models, text)
    for role in ("reference", "scorer"):
        assert torch.equal(before[role], after[role]), role
    for role in ("policy", "value"):
        assert (before[role] - after[role]).abs().max() > 1e-3, role
    for n, parameter in models.policy.named_parameters():
        assert ".lora_" in n or torch.equal(parameter, base[n])
    for role in ("policy", "value"):
        assert all(p.abs().sum() > 0 for p in models.trainable(role).values()), role
    assert lora.adapters_on(models.policy.base_model) == set()


def test_a_reward_run_with_adapters_leaves_what_a_ppo_run_can_share(make_job: Any) -> None:
    settings = {"lora_rank": 2, "validation_share": 0.0}
    trained = make_job("reward", {"comparisons": prefers_a(6)}, settings, name="reward")
    reward.run(trained)
    name = str(trained.folder.artifacts / "model")
    job = make_job("ppo", {"prompts": prompts(5)}, SMALL, reward_model=name)
    models, fitted = cast_of(job)
    assert events_of(job, "models")[0]["bodies"] == 1
    text = Rendered(fitted[0].prompt_ids, [80, 81, 2])
    assert torch.allclose(
        said_of(models, text)["scorer"], Scorer.load(name).score([text]), atol=1e-4
    )
    learner = ppo.new_learner(models, job.spec.params)
    assert ppo.iterate(job, learner, fitted, job.spec.params)


def test_the_models_of_another_policy_share_no_body(
    make_job: Any, adapter_reward: str, policy_folder: str, tmp_path: Path
) -> None:
    other = load_policy(policy_folder)
    other.model.norm.weight.data.mul_(1.5)
    other.save_pretrained(tmp_path / "other")
    byte_tokenizer().save_pretrained(tmp_path / "other")
    job = make_job(
        "ppo",
        {"prompts": prompts(5)},
        SMALL,
        model=str(tmp_path / "other"),
        reward_model=adapter_reward,
    )
    models, _ = cast_of(job)
    assert events_of(job, "models")[0]["bodies"] == 2
    assert models.value.base_model is not models.policy.base_model


def test_trap_30_the_artifact_is_whole_and_its_adapter_is_the_same_policy(
    make_job: Any, policy_folder: str
) -> None:
    job = make_job("ppo", {"prompts": prompts(5)}, SMALL)
    ppo.run(job)
    folder = job.folder.artifacts / "model"
    whole = AutoModelForCausalLM.from_pretrained(folder)
    assert set(whole.state_dict()) == set(load_policy(policy_folder).state_dict())
    by_adapter = PeftModel.from_pretrained(load_policy(policy_folder), folder / "adapter")
    assert torch.allclose(logits(whole), logits(by_adapter), atol=1e-4)
    assert (logits(whole) - logits(load_policy(policy_folder))).abs().max() > 1e-2
    assert read_card(str(folder))["adapter"] == {
        "folder": "adapter",
        "base_sha256": lora.weights_sha256(policy_folder),
    }
    beside = PreTrainedTokenizerFast.from_pretrained(folder / "adapter")
    assert Renderer(beside).same_vocabulary(load_renderer(str(folder)))


def test_checkpoints_hold_what_learns_and_no_more(make_job: Any) -> None:
    job = make_job("ppo", {"prompts": prompts(5)}, SMALL | {"ema_decay": 0.9})
    models, _ = cast_of(job)
    ppo.save_state(ppo.new_learner(models, job.spec.params), job.folder.artifacts)
    value = load_file(job.folder.artifacts / "value.safetensors")
    policy = load_file(job.folder.artifacts / "policy.safetensors")
    assert "score.weight" in value
    assert all(".lora_" in name for name in policy)
    assert policy.keys() == load_file(job.folder.artifacts / "ema.safetensors").keys()
