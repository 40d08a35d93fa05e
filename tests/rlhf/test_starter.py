"""The starter model: its script runs end to end, and the committed model keeps its promises."""

import json
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from training.jobs.world import FAMILIES, draw_task, draw_tasks, score
from training.rlhf import starter, starter_card
from training.rlhf.starter_corpus import batches, build_tokenizer, documents

COMMITTED = Path(starter.__file__).parent.parent / "starter"
TINY = starter.Shape(
    vocabulary=600, context=256, hidden=32, layers=2, heads=2, key_value_heads=1, feed_forward=48
)
MAX_BYTES = 12_000_000
MAX_PARAMETERS = 5_000_000
TEXTS = [
    "Plain text.",
    "Grüße, 你好, привет 🙂\u200d🔥",
    "a\tb\n\n  c ",
    "\x00\x7f<bos> and <|end|> ",
]


def tiny_tokenizer(count: int) -> Any:
    return build_tokenizer(1, TINY.vocabulary, TINY.context, count)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("starter")
    starter.train(out, steps=8, seed=1, shape=TINY)
    return out


def loaded(folder: Path) -> tuple[Any, Any]:
    return (
        AutoModelForCausalLM.from_pretrained(folder, local_files_only=True),
        AutoTokenizer.from_pretrained(folder, local_files_only=True),
    )


def folders() -> list[Path]:
    return [COMMITTED / "base", COMMITTED / "sft"]


# --- the script -----------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["base", "sft"])
def test_a_tiny_training_writes_folders_that_load_and_generate(tiny: Path, stage: str) -> None:
    model, tokenizer = loaded(tiny / stage)
    inputs = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hello"}],
        add_generation_prompt=True,
        return_dict=True,
        return_tensors="pt",
    )
    ids = model.generate(**inputs, max_new_tokens=5)
    assert ids.shape[1] > inputs["input_ids"].shape[1]
    assert model.dtype == torch.float32
    assert not list((tiny / stage).glob("*.bin"))
    assert (tiny / stage / "README.md").read_text(encoding="utf-8").startswith("---")


def test_from_a_base_the_sft_model_alone_is_trained(tiny: Path, tmp_path: Path) -> None:
    starter.train(tmp_path, steps=8, seed=1, base=tiny / "base")
    assert [folder.name for folder in tmp_path.iterdir()] == ["sft"]
    assert f"--base {tiny / 'base'}\n" in (tmp_path / "sft/README.md").read_text("utf-8")
    text = "Sort: 3, 1"
    both = [loaded(folder / "sft")[1](text)["input_ids"] for folder in (tiny, tmp_path)]
    assert both[0] == both[1]
    again, whole, base = (
        loaded(folder)[0].model.embed_tokens.weight
        for folder in (tmp_path / "sft", tiny / "sft", tiny / "base")
    )
    assert torch.equal(again, whole)
    assert not torch.equal(whole, base)


def test_what_is_no_base_of_its_own_is_refused(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for base in (tmp_path, tiny / "sft"):
        with pytest.raises(SystemExit):
            starter.main(["train", "--out", str(tmp_path), "--base", str(base)])
        assert "is no base that this command made" in capsys.readouterr().err
        assert not list(tmp_path.iterdir())


def test_training_lowers_the_loss() -> None:
    torch.manual_seed(1)
    tokenizer = tiny_tokenizer(300)
    model = starter.new_model(tokenizer, TINY)
    stage = starter.STAGES[0]
    batch = next(batches(tokenizer, stage.reads, 99, TINY.context))
    before = starter.loss_of(model, batch).item()
    starter.train_stage(model, tokenizer, stage, steps=15, seed=1)
    assert starter.loss_of(model, batch).item() < before - 0.5


def test_every_weight_is_moved_by_one_optimizer() -> None:
    tokenizer = tiny_tokenizer(300)
    model = starter.new_model(tokenizer, TINY)
    moved = [
        id(parameter)
        for optimizer in starter.optimizers_of(model, starter.STAGES[0])
        for group in optimizer.param_groups
        for parameter in group["params"]
    ]
    assert sorted(moved) == sorted(id(parameter) for parameter in model.parameters())


def test_attention_is_computed_in_float32_and_comes_out_as_it_went_in() -> None:
    tokenizer = tiny_tokenizer(300)
    model = starter.new_model(tokenizer, TINY).eval()
    ids = torch.arange(12).view(1, 12)
    own = model(input_ids=ids).logits
    model.set_attn_implementation("sdpa")
    assert torch.equal(own, model(input_ids=ids).logits)
    states = [torch.randn(1, heads, 5, 8, dtype=torch.bfloat16) for heads in (2, 1, 1)]
    layer = model.model.layers[0].self_attn
    mixed, _ = starter.attention_in_float32(layer, *states, None, is_causal=True)
    wide, _ = starter.attention_in_float32(layer, *(s.float() for s in states), None)
    assert mixed.dtype == torch.bfloat16
    assert torch.equal(mixed, wide.bfloat16())


def test_the_same_seed_gives_the_same_corpus_and_tokenizer() -> None:
    first, again, other = (list(islice(documents(seed, 0.5), 40)) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    vocabularies = [tiny_tokenizer(200).get_vocab() for _ in range(2)]
    assert vocabularies[0] == vocabularies[1]


def test_only_answers_carry_loss_in_fine_tuning_and_pads_never() -> None:
    tokenizer = tiny_tokenizer(200)
    batch = next(batches(tokenizer, starter.SFT.reads, 1, TINY.context))
    answer = tokenizer.convert_tokens_to_ids("<|assistant|>")
    for ids, weights in zip(batch.ids.tolist(), batch.weights.tolist(), strict=True):
        start = len(ids) - ids[::-1].index(answer)
        end = ids.index(tokenizer.eos_token_id, start) + 1
        assert set(weights[:start]) == {0.0}
        assert set(weights[start:end]) == {1.0}
        assert not any(weights[end:])


def test_the_rate_warms_up_and_comes_down() -> None:
    rates = [starter.rate_share(step, 100) for step in range(100)]
    assert rates[0] < rates[3]
    assert max(rates) == pytest.approx(1)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 0.06


def test_documents_longer_than_the_context_are_left_out() -> None:
    tokenizer = tiny_tokenizer(200)
    batch = next(batches(tokenizer, starter.STAGES[0].reads, 1, 60))
    assert batch.ids.shape[1] <= 60


def test_gold_figures_of_known_samples() -> None:
    def group(*golds: float) -> list[starter_card.Sample]:
        return [starter_card.Sample("x", gold, gold == 10, gold > 0) for gold in golds]

    figures = starter_card.gold_figures([group(10, 0), group(4, 6)])
    assert figures["gold"] == 5
    assert figures["best"] == 8
    assert figures["fully_right"] == 0.25
    assert figures["ended"] == 0.75
    assert figures["spread_between"] == 0


def test_measure_writes_honest_figures_into_the_card(
    tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert starter.main(["measure", "--model", str(tiny / "sft"), "--prompts", "20"]) == 0
    card = (tiny / "sft" / "README.md").read_text(encoding="utf-8")
    facts = json.loads((tiny / "sft" / "podium.json").read_text(encoding="utf-8"))
    assert all(f"| {family} |" in card for family in FAMILIES)
    assert f"{facts['metrics']['gold']:.2f}" in card
    assert card in capsys.readouterr().out


# --- the committed model --------------------------------------------------------------------------


def test_the_committed_models_are_small() -> None:
    files = [path for folder in folders() for path in folder.iterdir()]
    assert sum(path.stat().st_size for path in files) <= MAX_BYTES
    assert {path.suffix for path in files} <= {".json", ".jinja", ".md", ".safetensors"}


@pytest.mark.parametrize("folder", folders(), ids=["base", "sft"])
def test_a_committed_model_loads_as_float32_and_agrees_with_its_tokenizer(folder: Path) -> None:
    model, tokenizer = loaded(folder)
    assert model.num_parameters() <= MAX_PARAMETERS
    assert model.dtype == torch.float32
    assert model.config.max_position_embeddings >= 512
    assert len(tokenizer) == model.config.vocab_size
    for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
        expected = getattr(tokenizer, name)
        assert getattr(model.config, name) == getattr(model.generation_config, name) == expected
    assert len({tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id}) == 3


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("folder", folders(), ids=["base", "sft"])
def test_every_text_round_trips(folder: Path, text: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_the_chat_template_marks_what_the_assistant_says() -> None:
    tokenizer = AutoTokenizer.from_pretrained(COMMITTED / "sft", local_files_only=True)
    messages = [*draw_task(Random(1), "chat").messages, {"role": "assistant", "content": "Fine."}]
    encoded = tokenizer.apply_chat_template(
        messages, return_dict=True, return_assistant_tokens_mask=True
    )
    pairs = zip(encoded["input_ids"], encoded["assistant_masks"], strict=True)
    said = tokenizer.decode([token for token, mask in pairs if mask])
    assert said == f"{messages[1]['content']}<|end|>Fine.<|end|>"


def test_the_rendered_prompt_is_a_prefix_of_the_rendered_conversation() -> None:
    tokenizer = AutoTokenizer.from_pretrained(COMMITTED / "sft", local_files_only=True)
    for task in islice(draw_tasks(5), 20):
        whole = [*task.messages, {"role": "assistant", "content": task.good(Random(1))}]
        prompt = tokenizer.apply_chat_template(
            task.messages, add_generation_prompt=True, return_dict=False
        )
        assert tokenizer.apply_chat_template(whole, return_dict=False)[: len(prompt)] == prompt
        assert prompt.count(tokenizer.bos_token_id) == 1


def test_the_committed_model_writes_answers_that_end_and_differ_in_quality() -> None:
    model, tokenizer = loaded(COMMITTED / "sft")
    tasks = list(islice(draw_tasks(123), 2 * len(FAMILIES)))
    groups = starter_card.sample(model, tokenizer, [task.messages for task in tasks], k=4, seed=5)
    figures = starter_card.gold_figures(groups)
    assert all(one.text.strip() for group in groups for one in group)
    assert figures["ended"] > 0.9
    assert figures["spread_within"] > 0.8 * figures["spread_between"]
    assert 0.2 < figures["fully_right"] < 0.95
    assert figures["best"] > figures["gold"] + 0.5


def test_the_card_of_the_committed_model_says_that_no_family_is_lost_or_solved() -> None:
    card = (COMMITTED / "sft" / "README.md").read_text(encoding="utf-8")
    assert "composed by Podium's own code" in card
    rows = [line.strip("| ").split(" | ") for line in card.splitlines() if line.startswith("| ")]
    fully_right = {row[0]: row[3] for row in rows}
    assert set(FAMILIES) < set(fully_right)
    assert not {fully_right[family] for family in FAMILIES} & {"0%", "100%"}


def test_a_model_of_another_origin_is_not_measured_into_its_folder(tmp_path):
    (tmp_path / "podium.json").write_text('{"kind": "ppo"}')
    with pytest.raises(SystemExit, match="no card to write into"):
        starter.main(["measure", "--model", str(tmp_path)])
    assert [path.name for path in tmp_path.iterdir()] == ["podium.json"]


# --- its samples ----------------------------------------------------------------------------------


def test_samples_show_every_family_at_each_temperature_with_gold_and_components(
    capsys: pytest.CaptureFixture[str],
) -> None:
    sft = str(COMMITTED / "sft")
    arguments = ["--temperatures", "0.7", "1.2", "--per-family", "1"]
    assert starter.main(["samples", "--model", sft, *arguments]) == 0
    page = capsys.readouterr().out
    assert [line[3:] for line in page.splitlines() if line.startswith("## ")] == list(FAMILIES)
    for heat in ("0.7", "1.2"):
        best, worst = (
            [float(gold) for gold in re.findall(rf"^T = {heat}, {end}, gold (\S+) \(", page, re.M)]
            for end in ("best", "worst")
        )
        assert len(best) == len(worst) == len(FAMILIES)
        assert all(b >= w for b, w in zip(best, worst, strict=True))
        assert any(b > w for b, w in zip(best, worst, strict=True))
    shown = re.search(r"best, gold (\S+) \((.*)\)\n\n((?:    .*\n)+)", page)
    assert shown
    prompt = re.search(r"> \*\*user:\*\* (.*)", page)
    text = "\n".join(line[4:] for line in shown[3].splitlines())
    gold = score([{"role": "user", "content": prompt[1]}], text)
    assert f"{gold.total:.2f}" == shown[1]
    assert all(f"{name} {value:g}" in shown[2] for name, value in gold.components.items())


def test_samples_refuse_what_cannot_be_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in (["--per-family", "0"], ["--temperatures", "0"]):
        with pytest.raises(SystemExit):
            starter.main(["samples", "--model", str(COMMITTED / "sft"), *wrong])
    assert "must be at least 1" in capsys.readouterr().err


def test_a_hotter_model_is_less_sure_and_less_fluent() -> None:
    model, tokenizer = loaded(COMMITTED / "sft")
    tasks = list(islice(draw_tasks(3), len(FAMILIES)))
    prompts = [task.messages for task in tasks]
    figures = []
    for heat in (0.3, 1.5):
        groups = starter_card.sample(model, tokenizer, prompts, k=4, seed=5, temperature=heat)
        gold = starter_card.gold_figures(groups)["gold"]
        figures.append((gold, starter_card.perplexity(COMMITTED / "base", tasks, groups)))
    (cold_gold, cold_perplexity), (hot_gold, hot_perplexity) = figures
    assert cold_gold > hot_gold
    assert 1 < cold_perplexity < hot_perplexity
