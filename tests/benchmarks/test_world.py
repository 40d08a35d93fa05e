"""The world of the experiments: what is held out, what is drawn, what is kept and thrown away."""

from collections import Counter
from itertools import islice
from pathlib import Path

import pytest

from benchmarks.experiments import world as module
from benchmarks.experiments.world import World
from benchmarks.world_data import is_held_out, prompts, text_of
from training.jobs.folder import JobFolder
from training.jobs.world import FAMILIES, recognise
from training.rlhf.starter import STAGES, STEPS
from training.rlhf.starter_corpus import documents


def family(row: dict) -> str:
    known = recognise(row["messages"])
    assert known
    return known[0].name


def test_no_prompt_is_both_trained_on_and_held_out_whatever_the_seed() -> None:
    training, held_out = (
        {str(row["messages"]) for seed in (1, 2) for row in of(World(seed, Path("unused")))}
        for of in (lambda world: world.training(1000), lambda world: world.held_out(400))
    )
    assert len(training) > 1000
    assert len(held_out) > 400
    assert not training & held_out


def test_families_have_the_same_share_of_what_is_trained_on_and_held_out() -> None:
    world = World(1, Path("unused"))
    for rows in (world.training(500), world.held_out(200)):
        assert set(Counter(map(family, rows)).values()) == {len(rows) // len(FAMILIES)}
        assert len({row["prompt"] for row in rows}) == len(rows)


def test_fewer_prompts_are_the_first_of_more() -> None:
    assert prompts(7, 15) == prompts(7, 40)[:15]
    assert prompts(7, 15, held_out=True) == prompts(7, 40, held_out=True)[:15]


def test_about_a_quarter_of_all_prompts_is_held_out() -> None:
    rows = [document.messages for document in islice(documents(3, 1.0), 4000)]
    assert 0.2 < sum(map(is_held_out, rows)) / len(rows) < 0.3


def test_worlds_are_not_drawn_from_the_seeds_of_the_starter_models_text() -> None:
    seeds = {World(seed, Path("unused")).draw(0) // 1000 for seed in range(1, 100)}
    assert 1 not in seeds
    read = {
        text_of([message for message in document.messages if message["role"] != "system"])
        for number, stage in enumerate(STAGES, 1)
        for document in islice(
            documents(1000 + number, stage.reads.good_share, stage.reads.echo_share),
            stage.steps(STEPS) * stage.reads.batch_size,
        )
    }
    few = {"open_qa", "brainstorm", "rewrite", "sentiment"}
    asked = [row for row in World(1, Path("unused")).held_out(200) if family(row) not in few]
    assert sum(text_of(row["messages"]) in read for row in asked) < len(asked) / 10


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Asks for a job of a model; tells how often it was run."""
    model = tmp_path / "model"
    model.mkdir()
    ran = []

    def run(folder: JobFolder, kind: str) -> None:
        ran.append(kind)
        folder.write_result(artifact="model", metrics={"turn": len(ran)})

    monkeypatch.setattr(module, "run", run)

    def ask(weights: bytes, prompt: str = "a") -> int:
        (model / "model.safetensors").write_bytes(weights)
        row = {"prompt": prompt, "author": "", "messages": [], "indexes": [0]}
        found = World(1, tmp_path).job("it", "sample", {"prompts": [row]}, {}, model=model)
        assert module.metrics_of(found) == {"turn": len(ran)}
        return len(ran)

    return ask


def test_a_job_is_run_once_and_again_for_other_data_or_other_weights_of_the_same_name(job) -> None:
    assert job(b"one") == 1
    assert job(b"one") == 1
    assert job(b"two") == 2
    assert job(b"two", prompt="b") == 3
    assert job(b"two", prompt="b") == 3


def test_killed_before_what_is_old_was_thrown_away_it_is_so_the_next_time(
    job, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert job(b"one") == 1
    with monkeypatch.context() as killed:
        killed.setattr(module, "_forget", lambda folder: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            job(b"one", prompt="b")
    assert job(b"one", prompt="b") == 2
