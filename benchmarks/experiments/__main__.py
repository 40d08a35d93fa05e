"""``python -m benchmarks.experiments NAME``: one of the known laws, measured on the starter world.

Writes a page (Markdown) and its figures (SVG) to ``--out`` and prints the page. ``--keep`` holds
samples, rankings and models: an experiment that was stopped goes on there, and others that need the
same use it. ``--small`` only shows that it works.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
from pathlib import Path

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
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--small", action="store_true", help="only to see that it works")
    parser.add_argument("--out", type=Path, default=Path("docs/experiments"))
    parser.add_argument("--keep", type=Path, help="folder of samples and models, to go on from")
    chosen = parser.parse_args()
    if chosen.seeds < 1:
        parser.error(f"--seeds {chosen.seeds}: at least one is needed")
    experiment = importlib.import_module(f"benchmarks.experiments.{MODULES[chosen.name]}")
    with tempfile.TemporaryDirectory() as scratch:
        keep = (chosen.keep or Path(scratch)).resolve()
        page = experiment.run(Options(chosen.seeds, chosen.small, keep))
    small = " --small" if chosen.small else ""
    command = f"python -m benchmarks.experiments {chosen.name} --seeds {chosen.seeds}{small}"
    print(write(page, chosen.name, command, chosen.out))
    return 0


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
