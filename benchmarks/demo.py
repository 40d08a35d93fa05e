"""``make demo``: once around the loop as a product, and what it was worth.

A server of its own, on a fresh folder and a free port (or PORT). Prompts of the starter world are
imported; the base model is fine-tuned on their demonstrations (SFT); the result writes completions;
simulated labelers rank them over the HTTP API; a reward model learns from the rankings; and from
there three ways lead on: PPO, rejection sampling and DPO. Gold, which training never reads, tells
on prompts held out of all these steps whether the models got better.

Printed are ``DEMO <method> gold_gain_sd=<x> win_rate=<x> ci=<low>..<high>``, a table, and the best
and the worst changes as they are; a picture is drawn. On one machine the same seed tells the same
again. The exit status tells whether it could be measured, never whether a figure is good.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks import STARTER
from benchmarks.demo_loop import FULL, PHASES, SMALL, Loop
from benchmarks.demo_report import Report
from benchmarks.progress import Progress
from benchmarks.server import ServerError, serving
from training.management.client import ApiClient, ApiError

BASE = STARTER.parent / "base"
# What the server's folder may come to, checkpoints included.
NEEDED_BYTES = 10**9
STOPPED = 130


class DemoError(RuntimeError):
    """Nothing can be measured here; the message says why and what helps."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    before = signal.signal(signal.SIGTERM, _raise_interrupt)
    begun = time.monotonic()
    try:
        report = _measure(options)
        picture = report.write(options.out)
    except (DemoError, ServerError, ApiError, OSError) as error:
        print(f"The demo could not measure: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped; nothing is left running.", file=sys.stderr)
        return STOPPED
    finally:
        signal.signal(signal.SIGTERM, before)
    seconds = round(time.monotonic() - begun)
    print(report.text())
    print(f"Picture: {picture}")
    print(f"Once around the loop in {seconds // 60} min {seconds % 60} s.")
    return 0 if report.is_finite() else 1


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.demo",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    data = Path(os.environ.get("DATA_DIR") or "var")
    parser.add_argument("--seed", type=int, default=1, help="of prompts, labelers and training")
    parser.add_argument("--out", type=Path, default=data / "demo", help="for picture and report")
    parser.add_argument("--small", action="store_true", help="only to see that it works")
    return parser.parse_args(arguments)


def _raise_interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _measure(options: argparse.Namespace) -> Report:
    size = SMALL if options.small else FULL
    _check_models()
    with ExitStack() as stack:
        folder = stack.enter_context(_scratch(options.out))
        progress = stack.enter_context(Progress(PHASES, sys.stderr))
        with progress.phase("server"):
            server = stack.enter_context(serving(folder, model=str(BASE), port=_port()))
            token = server.manage("issue_token", "admin").strip()
            api = stack.enter_context(ApiClient(server.url, token))
        loop = Loop(server, api, size, options.seed, progress)
        policies = loop.go_round()
        with progress.phase("measuring") as tell:
            return Report.of(policies, loop.held_out(), size.answers, tell, base=str(BASE))


def _port() -> int | None:
    """PORT, as everywhere; without it one that is free."""
    given = os.environ.get("PORT") or None
    if given is not None and not given.isdecimal():
        raise DemoError(f"PORT must be a whole number, not {given!r}")
    return int(given) if given else None


def _check_models() -> None:
    if not (BASE / "model.safetensors").is_file():
        raise DemoError(
            f"{BASE} has no model.safetensors. Check it out again, or train it anew: "
            "python -m training.rlhf.starter train --out training/starter"
        )


@contextmanager
def _scratch(out: Path) -> Iterator[Path]:
    """A folder for the server's data, gone afterwards."""
    out.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(out).free
    if free < NEEDED_BYTES:
        raise DemoError(
            f"{out.resolve()} has {free / 1e6:.0f} MB of free space, and {NEEDED_BYTES / 1e6:.0f} "
            "may be needed: make room, or choose another disk by --out or DATA_DIR"
        )
    with tempfile.TemporaryDirectory(prefix="server-", dir=out) as folder:
        yield Path(folder).resolve()


if __name__ == "__main__":
    sys.exit(main())
