"""A stand-in for the trainer's process, to make it crash, stall or answer at will."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from labeling import services
from tests.conftest import as_lines

TRAINER = """
import json, os, signal, sys, time
from pathlib import Path
from training.jobs.events import EventWriter
from training.jobs.folder import JobFolder
folder = JobFolder(Path(sys.argv[sys.argv.index("--job") + 1]))
spec = folder.read_spec()
events = EventWriter(folder.events)

def complete(prompts=None):
    rows = list(folder.read_data(spec.data["prompts"]))
    with (folder.artifacts / "completions.jsonl").open("a") as out:
        for row in rows[:prompts]:
            for index in row["indexes"]:
                out.write(json.dumps({
                    "prompt": row["prompt"], "index": index, "text": f"text {index}",
                    "token_ids": [1, index], "finish_reason": "stop", "seed": index,
                    "template_sha256": "t" * 64,
                }) + "\\n")
    events.write("sample", step=len(rows), total=len(rows), completions=len(rows))

def finish(artifact="completions.jsonl", **metrics):
    folder.write_result(artifact=artifact, metrics=metrics)
"""


@pytest.fixture
def trainer(tmp_path: Path, settings) -> Callable[[str], None]:
    """Replace the trainer's program by a script; its first lines read the job folder."""
    settings.JOBS_DIR = tmp_path / "jobs"
    settings.ARTIFACTS_DIR = tmp_path / "artifacts"

    def install(body: str) -> None:
        script = tmp_path / "trainer.py"
        script.write_text(TRAINER + body, encoding="utf-8")
        settings.TRAINER_LAUNCH = f"{sys.executable} {script}"

    return install


@pytest.fixture
def prompts_pool(db):
    """Three prompts without completions."""
    pool = services.create_pool(name="to sample")
    services.import_prompts(pool, as_lines(*({"prompt": f"prompt {n}"} for n in range(3))))
    return pool
