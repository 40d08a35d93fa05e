"""The demo: what it reports, what it refuses, and that nothing of it is left running."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from benchmarks import STARTER, demo, demo_loop, server
from benchmarks.answers import Answer, answers, perplexity
from benchmarks.demo_report import Policy, Report
from benchmarks.experiments.statistics import Interval
from benchmarks.world_data import prompts
from training.jobs.world import score
from training.rlhf.rendering import Rendered

ROOT = Path(__file__).resolve().parents[2]
ASKED = [{"role": "user", "content": "What is the capital of Peru?"}]
QUESTION = {"prompt": "1", "messages": ASKED}
RIGHT, WRONG = "The capital of Peru is Lima.", "The capital of Peru is Rome."
LINE = re.compile(r"^DEMO (\w+) gold_gain_sd=(\S+) win_rate=(\S+) ci=(\S+)\.\.(\S+)$", re.MULTILINE)


def answer(text: str) -> Answer:
    return Answer(Rendered([1], [2, 3]), text, True, score(ASKED, text))


def policy(name: str, text: str, gain: float = 0.0) -> Policy:
    exactly = Interval(gain, gain, gain)
    return Policy(name, [[answer(text)]], perplexity=1.5, gain=exactly, wins=Interval(0.5, 0, 1))


# --- the report -----------------------------------------------------------------------------------


def test_the_report_shows_a_change_as_it_is_and_why() -> None:
    report = Report([QUESTION], [policy("SFT", WRONG), policy("PPO", RIGHT, gain=0.25)])
    text = report.text()
    assert LINE.findall(text) == [("ppo", "0.250", "0.500", "0.000", "1.000")]
    assert "user: What is the capital of Peru?" in text
    assert text.count(WRONG) == text.count(RIGHT) == 2
    gained = answer(RIGHT).gold.total - answer(WRONG).gold.total
    assert f"PPO, best change ({gained:+.2f} gold)" in text
    assert "right 0.00 -> 1.00" in text
    assert "polite" not in text


def test_figures_that_are_no_numbers_are_no_measurement() -> None:
    assert Report([QUESTION], [policy("SFT", WRONG), policy("PPO", RIGHT)]).is_finite()
    lost = Report([QUESTION], [policy("SFT", WRONG), policy("PPO", RIGHT, gain=float("nan"))])
    assert not lost.is_finite()


def shaken(folder: Path) -> str:
    """The starter model with noise on its weights."""
    shutil.copytree(STARTER, folder)
    random = torch.Generator().manual_seed(0)
    weights = load_file(folder / "model.safetensors")
    for name, weight in weights.items():
        noise = torch.randn(weight.shape, generator=random) * weight.float().std(correction=0)
        weights[name] = (weight.float() + 0.6 * noise).to(weight.dtype)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return str(folder)


def test_a_worse_model_is_measured_as_worse_and_the_same_as_no_better(tmp_path: Path) -> None:
    told: list[float] = []
    base = str(demo.BASE)
    report = Report.of(
        {"SFT": str(STARTER), "same": str(STARTER), "shaken": shaken(tmp_path / "shaken")},
        prompts(5, 40),
        2,
        lambda share, _: told.append(share),
        base=base,
    )
    start, same, worse = report.policies
    assert same.gain == Interval(0.0, 0.0, 0.0)
    assert same.wins.low < 0.5 < same.wins.high
    assert worse.gain.high < 0
    assert worse.wins.mean < 0.5
    assert worse.gold < start.gold == same.gold
    assert 1 < start.perplexity < 3
    assert told == sorted(told)
    assert report.is_finite()
    picture = report.write(tmp_path)
    assert 1000 < picture.stat().st_size < 60_000
    page = (tmp_path / "demo.md").read_text(encoding="utf-8")
    assert "](demo.svg)" in page
    assert f"| SFT | {start.gold:.2f} |" in page


def test_the_same_noise_gives_the_same_answers_and_other_noise_others() -> None:
    asked = prompts(6, 4)
    first, again, other = (answers(str(STARTER), asked, 2, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_text_that_nobody_would_write_is_less_fluent() -> None:
    asked = prompts(7, 6)
    cool, hot = (answers(str(STARTER), asked, 1, seed=0, temperature=heat) for heat in (0.5, 2.0))
    assert perplexity(str(demo.BASE), cool) < perplexity(str(demo.BASE), hot)


def test_held_out_prompts_are_not_in_the_pool() -> None:
    size = demo_loop.FULL
    loop = demo_loop.Loop(None, None, size, 3, None)  # type: ignore[arg-type]
    pool = {str(demo_loop._messages(line)) for line in loop._lines}
    held_out = [str(row["messages"]) for row in loop.held_out()]
    assert len(pool) == size.prompts
    assert len(held_out) == size.held_out
    assert not pool & set(held_out)
    assert sum("reference" in line for line in loop._lines) == size.demonstrations


# --- what it refuses ------------------------------------------------------------------------------


def refusal(capsys: pytest.CaptureFixture[str], out: Path, *arguments: str) -> str:
    assert demo.main(["--small", "--out", str(out), *arguments]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert list(out.glob("server-*")) == []
    return said.err


def test_a_missing_model_is_named(capsys, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(demo, "BASE", tmp_path / "nowhere")
    assert f"{tmp_path}/nowhere has no model.safetensors" in refusal(capsys, tmp_path)


def test_a_full_disk_is_noticed_before_anything_starts(capsys, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(demo, "NEEDED_BYTES", 10**18)
    assert "of free space" in refusal(capsys, tmp_path)


def test_a_port_that_is_no_number_is_refused(capsys, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("PORT", "eight")
    assert "PORT must be a whole number, not 'eight'" in refusal(capsys, tmp_path)


def test_an_out_that_is_a_file_is_refused(capsys, tmp_path) -> None:
    (tmp_path / "file").touch()
    assert "File exists" in refusal(capsys, tmp_path / "file")


@pytest.mark.system
def test_a_port_in_use_is_named(capsys, monkeypatch, tmp_path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        monkeypatch.setenv("PORT", str(port))
        said = refusal(capsys, tmp_path)
    assert f"127.0.0.1:{port} cannot be used" in said
    assert "Choose another with PORT." in said


# --- the whole ------------------------------------------------------------------------------------


def started(out: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.demo", "--small", "--out", str(out)],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "PORT"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell that starts the tests in the background has them ignore it, and all they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def running_in(out: Path) -> Iterator[str]:
    """Command lines of processes whose data lies in ``out``."""
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            try:
                about = (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
            except OSError:
                continue
            if str(out).encode() in about:
                yield about.decode(errors="replace")


@pytest.mark.system
def test_the_small_demo_goes_once_around_the_loop(tmp_path: Path) -> None:
    process = started(tmp_path)
    printed, told = process.communicate(timeout=600)
    assert process.returncode == 0, told
    methods: Sequence[tuple[str, ...]] = LINE.findall(printed)
    assert [name for name, *_ in methods] == ["ppo", "rejection_sampling", "dpo"]
    for _, gain, rate, low, high in methods:
        assert -20 < float(gain) < 20
        assert 0 <= float(low) <= float(rate) <= float(high) <= 1
    for name in ("SFT", "PPO", "rejection sampling", "DPO"):
        assert f"| {name} |" in printed
    assert printed.count("best change") == printed.count("worst change") == 3
    phases = re.findall(r"^\[(\d)/9\] ([\w ]+), \d+:\d\d$", told, re.MULTILINE)
    assert [(int(n), name) for n, name in phases] == list(enumerate(demo_loop.PHASES, 1))
    assert f"12 rankings of {demo_loop.SMALL.completions} completions" in told
    picture = re.search(r"^Picture: (.*)$", printed, re.MULTILINE)
    assert picture
    assert Path(picture[1]).stat().st_size > 1000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["demo.md", "demo.svg"]
    assert list(running_in(tmp_path)) == []


@pytest.mark.system
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_stopped_on_the_way_it_leaves_no_process(number: signal.Signals, tmp_path: Path) -> None:
    process = started(tmp_path)
    assert process.stderr
    for line in process.stderr:
        if line.startswith("[2/9]"):
            break
    assert len(list(running_in(tmp_path))) >= 3
    process.send_signal(number)
    told = process.communicate(timeout=120)[1]
    if number == signal.SIGINT:
        assert process.returncode == demo.STOPPED
        assert "nothing is left running" in told
        assert list(tmp_path.iterdir()) == []
    deadline = time.monotonic() + 20
    while list(running_in(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert list(running_in(tmp_path)) == []


def test_a_command_that_fails_says_what_it_said(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "DATA_DIR": str(tmp_path)}
    made = server.Installation(tmp_path, 1, environment)
    with pytest.raises(server.ServerError, match=r"(?s)manage.py fly failed: .*Unknown command"):
        made.manage("fly")


def test_a_process_that_does_not_stop_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "STOP_SECONDS", 0.5)
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True)"
    command = [sys.executable, "-c", f"{deaf}; time.sleep(60)"]
    with server._process(command, dict(os.environ), subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"\n"
    assert process.returncode == -signal.SIGKILL
    process.stdout.close()
