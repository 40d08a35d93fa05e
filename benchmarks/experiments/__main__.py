"""``python -m benchmarks.experiments NAME``: one of the known laws, measured on the starter world.

Writes a page (Markdown) and its figures (SVG) to ``--out`` and prints the page; what is of a single
seed, or ``--small``, replaces no page in docs unless it is told to. ``--keep`` holds samples,
rankings and models: an experiment that was stopped goes on there, and others that need the same use
it, one process at a time on a seed. ``--at-once`` runs seeds side by side, each on its share of the
cores: models as small as these do not keep two cores busy. ``--small`` only shows that it works.
"""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from benchmarks.experiments import plots
from benchmarks.experiments.world import Options, Page

MODULES = {
    "reward-accuracy": "reward_accuracy",
    "best-of-n": "best_of_n",
    "optimisation": "optimisation",
    "kl-coef": "kl_coef",
    "ensembles": "ensembles",
    "methods": "methods",
    "rounds": "rounds",
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.experiments", description=__doc__)
    parser.add_argument("name", choices=MODULES)
    parser.add_argument("--seeds", type=int, default=3, help="how many: 1, 2, …")
    parser.add_argument("--seed", type=int, help="this one alone")
    parser.add_argument("--at-once", type=int, default=1, help="so many seeds side by side")
    parser.add_argument("--small", action="store_true", help="only to see that it works")
    parser.add_argument("--out", type=Path, help="default: docs/experiments, or var/experiments")
    parser.add_argument("--keep", type=Path, help="folder of samples and models, to go on from")
    chosen = parser.parse_args()
    for name in ("seeds", "at_once"):
        if getattr(chosen, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1")
    if chosen.keep and chosen.keep.exists() and not chosen.keep.is_dir():
        parser.error(f"--keep {chosen.keep} is a file, and must be a folder or a new name")
    seeds = range(1, chosen.seeds + 1) if chosen.seed is None else [chosen.seed]
    which = f"--seeds {chosen.seeds}" if chosen.seed is None else f"--seed {chosen.seed}"
    small = " --small" if chosen.small else ""
    # A page of the project is of several seeds, and is not to be lost to a trial.
    trial = chosen.small or len(seeds) == 1
    out = chosen.out or Path("var/experiments" if trial else "docs/experiments")
    experiment = importlib.import_module(f"benchmarks.experiments.{MODULES[chosen.name]}")
    with tempfile.TemporaryDirectory() as scratch:
        keep = (chosen.keep or Path(scratch)).resolve()
        if chosen.at_once > 1 and len(seeds) > 1:
            arguments = [chosen.name, *small.split(), "--keep", str(keep)]
            side_by_side(arguments, seeds, chosen.at_once)
        with alone(keep, seeds):
            page = experiment.run(Options(seeds, chosen.small, keep))
    command = f"python -m benchmarks.experiments {chosen.name} {which}{small}"
    print(write(page, chosen.name, command, out))
    return 0


@contextmanager
def alone(keep: Path, seeds: Sequence[int]) -> Iterator[None]:
    """Waits for whoever is at one of ``seeds`` in ``keep``: of two processes at one, each would
    throw away what the other is writing.
    """
    keep.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        # In one order everywhere, so that no two wait for each other.
        for seed in sorted(seeds):
            lock = FileLock(keep / f"seed-{seed}.lock")
            try:
                held.enter_context(lock.acquire(timeout=0))
            except Timeout:
                print(f"seed {seed} in {keep} is in use: waiting", file=sys.stderr, flush=True)
                held.enter_context(lock)
        yield


def side_by_side(arguments: Sequence[str], seeds: Sequence[int], at_once: int) -> None:
    """Each seed in a process of its own; what they leave in the kept folder makes the page.

    Raises:
        SystemExit: one of them failed; the others ran to their end.
    """
    threads = str(max(1, (os.cpu_count() or 1) // at_once))
    environment = os.environ | {"OMP_NUM_THREADS": threads, "PODIUM_TORCH_THREADS": threads}

    def run(seed: int) -> bool:
        with tempfile.TemporaryDirectory() as page:
            command = [sys.executable, "-m", "benchmarks.experiments", *arguments]
            command += ["--seed", str(seed), "--out", page]
            ended = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL)
        return ended.returncode == 0

    with ThreadPoolExecutor(at_once) as pool:
        ran = list(pool.map(run, seeds))
    failed = [str(seed) for seed, well in zip(seeds, ran, strict=True) if not well]
    if failed:
        raise SystemExit(f"seed {', '.join(failed)} failed, as told above")


def write(page: Page, name: str, command: str, out: Path) -> str:
    """Write the page and its figures to ``out``; returns the page as Markdown."""
    out.mkdir(parents=True, exist_ok=True)
    images = []
    for title, figure in page.figures.items():
        file = f"{name}-{title}.svg" if len(page.figures) > 1 else f"{name}.svg"
        plots.write(figure, out / file)
        images.append(f"![{page.title}: {title}]({file})")
    parts = [f"# {page.title}", f"    {command}", *images, page.text.strip()]
    text = "\n\n".join(parts) + "\n"
    (out / f"{name}.md").write_text(text, encoding="utf-8")
    return text


if __name__ == "__main__":
    sys.exit(main())
