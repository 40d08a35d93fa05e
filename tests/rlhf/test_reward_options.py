"""What can be asked of a reward model besides the plain loss: each option does what it says."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch.nn.functional import logsigmoid
from transformers import AutoModelForSequenceClassification, LlamaForCausalLM
from trl import RewardConfig

from tests.rlhf.conftest import (
    byte_tokenizer,
    compared,
    events_of,
    metrics_of,
    prefers_a,
    random_reward_model,
    tiny_config,
)
from training.jobs.params import RewardParams
from training.rlhf import language, lora, reward, trainers
from training.rlhf.checkpoints import newest
from training.rlhf.comparisons import (
    Collator,
    load_comparisons,
    to_rows,
    tokens_per_prompt,
)
from training.rlhf.errors import Interrupted, TrainingError
from training.rlhf.losses import pairwise_loss
from training.rlhf.models import load_policy, load_reward_model, new_reward_model, read_card
from training.rlhf.rendering import Rendered
from training.rlhf.score_heads import FIELDS
from training.rlhf.scoring import Scorer, raw_scores
from training.rlhf.trainers import dataset

PARAMS = {"epochs": 4, "learning_rate": 3e-3, "batch_prompts": 4}
SCORES = torch.tensor([1.0, 0.4, -0.2])
PAIRS = torch.tensor([[0, 1], [1, 2], [0, 2]])
THIRDS = torch.full((3,), 1 / 3)


def uneven(count: int) -> list[dict[str, Any]]:
    """Prompts with two, three and four completions."""
    rows = []
    for row in prefers_a(count):
        k = 2 + len(rows) % 3
        pairs = [pair for pair in row["rankings"][0]["pairs"] if max(pair) < k]
        completions = row["completions"][:k]
        rows.append(
            {**row, "completions": completions, "rankings": [{"labeler": "ada", "pairs": pairs}]}
        )
    return rows


# --- the loss -------------------------------------------------------------------------------------


def test_margin_and_smoothing_by_hand() -> None:
    lead = [0.6, 0.6, 1.2]
    margins = torch.tensor([0.0, 0.5, 2.0])
    plain = pairwise_loss(SCORES, PAIRS, THIRDS)
    assert plain.item() == pytest.approx(
        sum(math.log(1 + math.exp(-d)) for d in lead) / 3, abs=1e-6
    )
    with_margin = pairwise_loss(SCORES, PAIRS, THIRDS, margins)
    assert with_margin.item() == pytest.approx(
        sum(math.log(1 + math.exp(m - d)) for d, m in zip(lead, (0, 0.5, 2), strict=True)) / 3,
        abs=1e-6,
    )
    smoothed = pairwise_loss(SCORES, PAIRS, THIRDS, label_smoothing=0.2)
    turned = pairwise_loss(SCORES, PAIRS.flip(1), THIRDS)
    assert smoothed.item() == pytest.approx(0.8 * plain.item() + 0.2 * turned.item(), abs=1e-6)


def test_smoothing_has_its_optimum_at_the_odds_it_supposes() -> None:
    lead = torch.tensor(math.log(0.8 / 0.2), requires_grad=True)
    scores = torch.stack([lead, torch.tensor(0.0)])
    pairwise_loss(scores, PAIRS[:1], torch.ones(1), label_smoothing=0.2).backward()
    assert lead.grad == pytest.approx(0, abs=1e-6)


def test_heads_learn_side_by_side() -> None:
    heads = torch.stack([SCORES, -SCORES], 1)
    both = pairwise_loss(heads, PAIRS, THIRDS)
    apart = [pairwise_loss(heads[:, h], PAIRS, THIRDS) for h in range(2)]
    assert torch.allclose(both, sum(apart) / 2)
    resampled = torch.stack([2 * THIRDS, 0 * THIRDS], 1)
    assert torch.allclose(pairwise_loss(heads, PAIRS, resampled), apart[0])


@pytest.mark.parametrize(
    "options", [{"margin": 1.5}, {"label_smoothing": 0.3}, {"labeler_weights": True}]
)
def test_an_option_is_in_the_trained_loss(options: Any, make_job: Any, renderer: Any) -> None:
    """The first step of a run, before anything is learnt: all scores are 0."""
    rows = prefers_a(4)
    for row in rows[:2]:
        row["rankings"].append({"labeler": "ben", "pairs": row["rankings"][0]["pairs"]})
    params = {"epochs": 1, "batch_prompts": 4, "validation_share": 0.0} | options
    job = make_job("reward", {"comparisons": rows}, params)
    reward.run(job)
    first = events_of(job, "train")[0]["loss"]
    if "margin" in options:
        # Six pairs of four ranks: three neighbours, two a rank apart, and the first and the last.
        expected = sum(math.log(1 + math.exp(m)) for m in (0, 0, 0, 0.75, 0.75, 1.5)) / 6
        assert first == pytest.approx(expected, abs=1e-5)
    else:
        assert first == pytest.approx(math.log(2), abs=1e-5)
    rest = events_of(job, "labelers")
    assert bool(rest) == ("labeler_weights" in options)


# --- the batch ------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize("at_once", [1, 3, 8])
def test_trap_12_micro_batches_do_not_change_the_step(
    at_once: int, share: bool, policy_folder: str, make_job: Any, renderer: Any, tmp_path: Path
) -> None:
    """8 prompts of 1 to 6 pairs, cut evenly and unevenly: one gradient, that of the mean."""
    given = uneven(8)
    for row in given[:3]:
        row["rankings"][0]["pairs"][0].reverse()
    rows = load_comparisons(make_job("reward", {"comparisons": given}), renderer, 100)
    model = random_reward_model(policy_folder)
    taken: dict[str, torch.Tensor] = {}

    class Spy(reward.KwiseRewardTrainer):
        def _clip_grad_norm(self, model: Any) -> Any:
            taken.update({n: p.grad.clone() for n, p in model.named_parameters()})
            return super()._clip_grad_norm(model)

    trainer = Spy(
        model=model,
        args=RewardConfig(
            output_dir=str(tmp_path), per_device_train_batch_size=at_once, max_steps=1,
            gradient_accumulation_steps=-(-8 // at_once), use_cpu=True, bf16=False,
            gradient_checkpointing=False, report_to="none", remove_unused_columns=False,
            save_strategy="no", learning_rate=0.0, disable_tqdm=True, logging_steps=1,
        ),
        data_collator=Collator(0, share),
        train_dataset=dataset(to_rows(rows)),
        processing_class=renderer.tokenizer,
        options=RewardParams(),
    )  # fmt: skip
    loss = trainer.train().training_loss

    model.zero_grad()
    each, right = [], []
    for comparison in rows:
        batch = torch.stack([score_alone(model, text) for text in comparison.texts])
        each.append(torch.stack([-logsigmoid(batch[i] - batch[j]) for i, j in comparison.pairs]))
        right.append(mean([float(batch[i] > batch[j]) for i, j in comparison.pairs]))
    expected = torch.stack([losses.mean() for losses in each]).mean()
    expected.backward()
    assert loss == pytest.approx(expected.item(), abs=1e-5)
    assert trainer.state.log_history[0]["accuracy"] == pytest.approx(mean(right))
    assert 0 < mean(right) < 1
    for name, parameter in model.named_parameters():
        assert torch.allclose(taken[name], parameter.grad, atol=1e-5), name


def test_trap_12_nor_do_they_change_what_is_logged(
    make_job: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps of four prompts and a last one of three; all at once, or two and one at a time."""
    params = PARAMS | {"lm_coef": 0.5, "heads": 2, "validation_share": 0.0, "epochs": 2}
    logs = []
    for tokens in (10**6, 100, 1):
        monkeypatch.setattr(trainers, "tokens_per_pass", lambda tokens=tokens: tokens)
        job = make_job("reward", {"comparisons": uneven(7)}, params, name=f"{tokens}")
        reward.run(job)
        logs.append(events_of(job, "train"))
    names = ("loss", "language_loss", "train_accuracy")
    whole, *cut = [[log[name] for log in part for name in names] for part in logs]
    assert len(whole) == 4 * len(names)
    for part in cut:
        assert part == pytest.approx(whole, abs=1e-4)


def score_alone(model: Any, text: Rendered) -> torch.Tensor:
    ids = torch.tensor([text.ids])
    return model(input_ids=ids, attention_mask=torch.ones_like(ids))[0, 0]


def test_a_row_that_fills_up_a_step_weighs_nothing(make_job: Any, renderer: Any) -> None:
    rows = to_rows(load_comparisons(make_job("reward", {"comparisons": uneven(3)}), renderer, 100))
    alone = Collator(0)(rows[:2])
    filled = Collator(0)([*rows[:2], {**rows[2], "counts": False}])
    assert filled["prompts"] == alone["prompts"] == 2
    pairs = len(alone["pairs"])
    assert torch.equal(filled["weights"][:pairs], alone["weights"])
    assert not filled["weights"][pairs:].any()
    assert filled["best"].sum() == pytest.approx(1)
    assert not filled["best"][5:].any()


def test_a_prompt_with_nine_completions_weighs_as_much_as_one_with_two(
    make_job: Any, renderer: Any
) -> None:
    pairs = [(a, b) for a in range(9) for b in range(a + 1, 9)]
    rows = [compared("nine", list("abcdefghi"), pairs), compared("two", ["x", "y"], [(1, 0)])]
    comparisons = load_comparisons(make_job("reward", {"comparisons": rows}), renderer, 100)
    weights = Collator(0)(to_rows(comparisons))["weights"]
    assert len(weights) == 37
    assert weights[:36].sum() == pytest.approx(0.5)
    assert weights[36] == pytest.approx(0.5)


def test_the_size_of_a_batch_element_is_what_is_encoded(make_job: Any, renderer: Any) -> None:
    texts = ["a" * n for n in range(1, 10)]
    pairs = [(a, b) for a in range(9) for b in range(a + 1, 9)]
    rows = [compared("x" * 40, texts, pairs)]
    comparisons = load_comparisons(make_job("reward", {"comparisons": rows}), renderer, 100)
    for share in (False, True):
        batch = Collator(0, share)(to_rows(comparisons))
        encoded = batch["input_ids"].numel()
        encoded += batch["prefix_ids"].numel() if share else 0
        assert tokens_per_prompt(comparisons, share=share) == encoded
    assert tokens_per_prompt(comparisons, share=True) < tokens_per_prompt(comparisons) / 3


def test_scores_are_the_same_with_prompts_shared(reward_folder: str) -> None:
    """Many completions of two prompts, one of a third, in passes too small for any prompt's."""
    scorer = Scorer.load(reward_folder)
    prompts = [[1, 3, *range(40, 60), 4], [1, 3, *range(60, 75), 4], [1, 3, 4]]
    texts = [Rendered(prompts[n % 2], [80 + n, 81, *[82] * (n % 5), 2]) for n in range(40)]
    texts.append(Rendered(prompts[2], [99, 2]))
    together = scorer.score(texts)
    alone = torch.cat([scorer.score([text]) for text in texts])
    assert torch.allclose(together, alone, atol=1e-5)
    with pytest.MonkeyPatch.context() as patch:
        seen: list[int] = []
        forward = scorer.model.forward

        def counted(**batch: Any) -> Any:
            shared = batch["prefix_ids"].numel() if "prefix_ids" in batch else 0
            seen.append(batch["input_ids"].numel() + shared)
            return forward(**batch)

        patch.setattr("training.rlhf.scoring.tokens_per_pass", lambda: 64)
        patch.setattr(scorer.model, "forward", counted)
        assert torch.allclose(scorer.score(texts), alone, atol=1e-5)
        assert len(seen) > 3
        assert max(seen) <= 64


def test_dropout_is_off_while_it_learns_and_while_it_scores(
    make_job: Any, renderer: Any, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    LlamaForCausalLM(tiny_config(attention_dropout=0.9)).save_pretrained(tmp_path / "base")
    byte_tokenizer().save_pretrained(tmp_path / "base")
    params = {"epochs": 1, "batch_prompts": 4, "validation_share": 0.0}
    job = make_job("reward", {"comparisons": prefers_a(8)}, params, model=str(tmp_path / "base"))
    reward.run(job)
    losses = [m["loss"] for m in events_of(job, "train")]
    without = tmp_path / "without"
    LlamaForCausalLM.from_pretrained(tmp_path / "base", attention_dropout=0.0).save_pretrained(
        without
    )
    byte_tokenizer().save_pretrained(without)
    other = make_job(
        "reward", {"comparisons": prefers_a(8)}, params, model=str(without), name="without"
    )
    reward.run(other)
    assert losses[1] == pytest.approx([m["loss"] for m in events_of(other, "train")][1], abs=1e-5)


# --- a language loss ------------------------------------------------------------------------------


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("share", [False, True])
def test_the_language_loss_is_that_of_the_policy_on_the_best(
    tied: bool, share: bool, make_job: Any, renderer: Any, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    LlamaForCausalLM(tiny_config(tie_word_embeddings=tied)).save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    comparisons = load_comparisons(make_job("reward", {"comparisons": uneven(3)}), renderer, 100)
    model = new_reward_model(str(tmp_path))
    language.attach(model, str(tmp_path))
    batch = Collator(0, share)(to_rows(comparisons))
    _, logprobs = model(**of_the_model(batch), language=True)
    loss = -(batch["best"] * logprobs).sum()
    loss.backward()
    policy = load_policy(str(tmp_path))
    each = []
    for comparison in comparisons:
        text = comparison.texts[0]
        labels = torch.tensor([[-100] * len(text.prompt_ids) + text.completion_ids])
        each.append(policy(torch.tensor([text.ids]), labels=labels).loss)
    expected = torch.stack(each).mean()
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
    embedding = model.get_input_embeddings().weight.grad
    assert torch.allclose(embedding, policy.get_input_embeddings().weight.grad, atol=1e-5)
    if not tied:
        assert torch.allclose(
            model.language_head.weight.grad, policy.lm_head.weight.grad, atol=1e-5
        )
    language.detach(model)
    assert not [name for name in model.state_dict() if "language" in name]


def of_the_model(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: batch[name] for name in FIELDS if name in batch}


def test_the_language_loss_keeps_the_body_and_leaves_no_head(make_job: Any) -> None:
    with_it = make_job("reward", {"comparisons": prefers_a(12)}, PARAMS | {"lm_coef": 0.5})
    reward.run(with_it)
    losses = [m["language_loss"] for m in events_of(with_it, "train")]
    assert losses[-1] < losses[0] - 0.5
    assert metrics_of(with_it)["train_accuracy"] > 0.8
    folder = str(with_it.folder.artifacts / "model")
    assert {name for name, _ in load_reward_model(folder).named_children()} == {"model", "score"}


def test_a_reward_model_has_no_language_head_to_learn_along(
    make_job: Any, reward_folder: str
) -> None:
    params = PARAMS | {"lm_coef": 0.5}
    job = make_job("reward", {"comparisons": prefers_a(4)}, params, model=reward_folder)
    with pytest.raises(TrainingError, match="LlamaForSequenceClassification"):
        reward.run(job)


# --- adapters -------------------------------------------------------------------------------------


def test_adapters_learn_and_are_merged(make_job: Any, policy_folder: str) -> None:
    params = PARAMS | {"lora_rank": 4, "lora_alpha": 8, "learning_rate": 1e-2}
    job = make_job("reward", {"comparisons": prefers_a(24)}, params)
    reward.run(job)
    assert metrics_of(job)["accuracy"] > 0.9
    folder = job.folder.artifacts / "model"
    card = read_card(str(folder))
    assert card["adapter"] == {
        "folder": "adapter",
        "base_sha256": lora.weights_sha256(policy_folder),
    }
    merged = load_reward_model(str(folder))
    names = [name for name, _ in merged.named_modules() if "lora" in name]
    assert names == []
    assert merged.score.weight.abs().min() > 0
    texts = [Rendered([1, 3, 80 + n, 4], [81, 2]) for n in range(8)]
    # The base with its adapter beside it is the same model, read by us and by the library.
    ours = new_reward_model(policy_folder)
    head = lora.load_adapter(ours, "reward", folder / "adapter")
    ours.score.weight.data.copy_(head["score.weight"])
    with torch.no_grad(), lora.using(ours.base_model, "reward"):
        assert torch.allclose(raw_scores(ours, texts, 0), raw_scores(merged, texts, 0), atol=1e-5)
    base = AutoModelForSequenceClassification.from_pretrained(policy_folder, num_labels=1)
    theirs = PeftModel.from_pretrained(base, folder / "adapter").eval()
    theirs.config.pad_token_id = 0
    with torch.no_grad():
        read = torch.stack([theirs(torch.tensor([t.ids])).logits[0, 0] for t in texts])
    assert torch.allclose(read, raw_scores(merged, texts, 0), atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"heads": 3, "lora_rank": 4, "lm_coef": 0.5}])
def test_a_stopped_run_goes_on_to_the_same_weights(options: Any, make_job: Any) -> None:
    params = PARAMS | {"epochs": 2, "validation_share": 0.25} | options
    whole = make_job("reward", {"comparisons": prefers_a(8)}, params, name="whole")
    reward.run(whole)
    parts = make_job("reward", {"comparisons": prefers_a(8)}, params, name="parts")
    events = parts.events.write

    def stop(phase: str, **values: Any) -> None:
        events(phase, **values)
        parts.stopping = parts.stopping or (phase == "train" and values.get("step") == 2)

    parts.events.write = stop
    with pytest.raises(Interrupted):
        reward.run(parts)
    assert newest(parts.folder.checkpoints)
    parts.stopping, parts.events.write = False, events
    reward.run(parts)
    models = [load_reward_model(str(job.folder.artifacts / "model")) for job in (whole, parts)]
    states = [model.state_dict() for model in models]
    for name, tensor in states[0].items():
        assert torch.equal(tensor, states[1][name]), name
    throughput = {"tokens_per_second", "seconds"}
    found = [
        {k: v for k, v in metrics_of(job).items() if k not in throughput} for job in (whole, parts)
    ]
    assert found[0] == found[1]
