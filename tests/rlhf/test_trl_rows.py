"""The export for TRL is what TRL's own trainers take, unchanged."""

import json
from pathlib import Path

import pytest

from tests.conftest import Cast, rank

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def exported(cast: Cast, make_pool, tmp_path) -> Path:
    pool = make_pool(tasks=4)
    for ranks in ([1, 2, 3, 4], [2, 1, 1, 3], [4, 3, 2, 1], [1, 1, 1, 2]):
        rank(cast.ben, pool, ranks)
    answer = cast.rob.get(f"pools/{pool.pk}/export/", kind="comparisons", format="trl")
    path = tmp_path / "preferences.jsonl"
    path.write_bytes(b"".join(answer.streaming_content))
    assert len(path.read_text().splitlines()) == 6 + 5 + 6 + 3
    return path


@pytest.mark.django_db
def test_reward_trainer_trains_on_the_export(exported, tmp_path):
    from datasets import load_dataset
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    from trl import RewardConfig, RewardTrainer

    starter = ROOT / "training" / "starter" / "sft"
    rows = load_dataset("json", data_files=str(exported), split="train", cache_dir=tmp_path / "c")
    trainer = RewardTrainer(
        model=AutoModelForSequenceClassification.from_pretrained(starter, num_labels=1),
        args=RewardConfig(
            output_dir=str(tmp_path / "out"), max_steps=2, report_to="none", use_cpu=True,
            bf16=False, per_device_train_batch_size=4,
        ),
        train_dataset=rows,
        processing_class=AutoTokenizer.from_pretrained(starter),
    )  # fmt: skip
    assert trainer.train().training_loss > 0
    assert len(trainer.train_dataset) == len(rows)


@pytest.mark.django_db
def test_what_trl_reads_is_what_was_ranked(exported):
    for raw in exported.read_text().splitlines():
        row = json.loads(raw)
        assert row["prompt"][-1]["role"] == "user"
        assert row["chosen"] != row["rejected"]
