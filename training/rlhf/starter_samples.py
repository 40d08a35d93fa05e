"""What the starter model writes, as it is: the best and the worst by gold, family by family."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from transformers import AutoModelForCausalLM, AutoTokenizer

from training.jobs.world import FAMILIES, Task, draw_tasks
from training.rlhf.starter_card import Sample, sample

DRAWN = 8
# The samples of each task.
Groups = list[list[Sample]]

HEAD = """# Samples of the starter model

    python -m training.rlhf.starter samples --model {model} --temperatures {temperatures} \
--per-family {per_family} --seed {seed}

Of {drawn} samples for each prompt and temperature, the best and the worst by gold (10 is best), as
they were written; behind each the components of its gold. Where the best and the worst are one
text, all were alike.

| temperature | mean gold | best of {drawn} | worst of {drawn} | ended | texts that differ |
|---|---|---|---|---|---|
"""


def samples_page(
    folder: Path, temperatures: Sequence[float], *, per_family: int, seed: int = 1
) -> str:
    """Markdown: ``per_family`` new prompts of each family, answered at each of ``temperatures``."""
    model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    tasks = [task for family in FAMILIES for task in islice(draw_tasks(seed, [family]), per_family)]
    prompts = [task.messages for task in tasks]
    drawn = {
        heat: sample(model, tokenizer, prompts, k=DRAWN, seed=seed, temperature=heat)
        for heat in temperatures
    }
    head = HEAD.format(
        model=folder,
        temperatures=" ".join(map(str, temperatures)),
        per_family=per_family,
        seed=seed,
        drawn=DRAWN,
    )
    rows = (_row(heat, groups) for heat, groups in drawn.items())
    return head + "\n".join([*rows, *_shown(tasks, drawn)])


def _row(heat: float, groups: Groups) -> str:
    golds = [[one.gold for one in group] for group in groups]
    ended = statistics.fmean(one.ended for group in groups for one in group)
    different = statistics.fmean(len({one.text for one in group}) for group in groups)
    return (
        f"| {heat} | {statistics.fmean(statistics.fmean(row) for row in golds):.2f} "
        f"| {statistics.fmean(map(max, golds)):.2f} | {statistics.fmean(map(min, golds)):.2f} "
        f"| {ended:.0%} | {different:.1f} |"
    )


def _shown(tasks: Sequence[Task], drawn: dict[float, Groups]) -> Iterator[str]:
    family = ""
    for number, task in enumerate(tasks):
        if task.family.name != family:
            family = task.family.name
            yield f"\n## {family}"
        yield ""
        for message in task.messages:
            yield from _quoted(f"**{message['role']}:** {message['content']}")
        for heat, groups in drawn.items():
            ordered = sorted(groups[number], key=lambda one: -one.gold)
            for title, one in (("best", ordered[0]), ("worst", ordered[-1])):
                parts = ", ".join(f"{name} {value:g}" for name, value in one.components.items())
                yield f"\nT = {heat}, {title}, gold {one.gold:.2f} ({parts or 'no answer'})\n"
                yield from (f"    {line}" for line in one.text.splitlines() or [""])


def _quoted(text: str) -> Iterator[str]:
    lines = text.splitlines()
    yield from (f"> {line}" for line in lines)
    yield ">"
