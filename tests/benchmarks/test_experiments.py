"""Every small experiment runs to its end and writes a page of finite figures with its plot."""

import re
import sys
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from benchmarks.experiments.__main__ import MODULES, main, side_by_side
from benchmarks.experiments.world import Page

MAX_BYTES = 60_000


@pytest.fixture(scope="module")
def keep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared, as on the command line: what one experiment made, another goes on from."""
    return tmp_path_factory.mktemp("experiments")


@pytest.mark.usefixtures("jobs_in_process")
@pytest.mark.parametrize("name", MODULES)
def test_a_small_experiment_writes_its_page(
    name: str, keep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["--seeds", "1", "--small", "--keep", str(keep), "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["experiments", name, *options])
    assert main() == 0
    page = (tmp_path / f"{name}.md").read_text(encoding="utf-8")
    assert re.match(
        rf"# .+\n\n    python -m benchmarks\.experiments {name} --seeds 1 --small\n", page
    )
    assert not re.search(r"\b(nan|inf)\b", page)
    rows = [line for line in page.splitlines() if re.match(r"\|.*\d", line)]
    assert len(rows) >= 2
    pictures = re.findall(r"!\[[^]]+\]\((\S+\.svg)\)", page)
    assert pictures
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.md", *pictures}
    assert all((tmp_path / picture).stat().st_size < MAX_BYTES for picture in pictures)


def test_a_file_is_no_folder_to_keep_things_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes").touch()
    monkeypatch.setattr(sys, "argv", ["experiments", "methods", "--keep", str(tmp_path / "notes")])
    with pytest.raises(SystemExit):
        main()
    assert "notes is a file, and must be a folder or a new name" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "folder"),
    [
        (["--seeds", "2"], "docs/experiments"),
        (["--seed", "1"], "var/experiments"),
        (["--seeds", "2", "--small"], "var/experiments"),
    ],
)
def test_a_trial_replaces_no_page_of_the_project(
    options: list[str], folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("benchmarks.experiments.methods.run", lambda _: Page("Methods", "Found."))
    monkeypatch.setattr(sys, "argv", ["experiments", "methods", *options])
    assert main() == 0
    assert [path.as_posix() for path in Path().rglob("*.md")] == [f"{folder}/methods.md"]


def test_an_experiment_needs_a_seed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["experiments", "methods", "--seeds", "0"])
    with pytest.raises(SystemExit):
        main()
    assert "--seeds must be at least 1" in capsys.readouterr().err


def test_seeds_side_by_side_are_each_run_and_a_failed_one_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    asked: list[tuple[str, str]] = []

    def run(command: list[str], env: dict[str, str], **_: object) -> CompletedProcess[bytes]:
        seed = command[command.index("--seed") + 1]
        asked.append((seed, env["OMP_NUM_THREADS"]))
        return CompletedProcess(command, 1 if seed == "2" else 0)

    monkeypatch.setattr("subprocess.run", run)
    with pytest.raises(SystemExit, match="seed 2 failed"):
        side_by_side(["methods"], [1, 2, 3], 2)
    assert sorted(asked) == [("1", "2"), ("2", "2"), ("3", "2")]
