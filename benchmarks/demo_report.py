"""What the policies of the demo are worth, by gold on prompts held out of its loop.

Gain: mean gold of a policy's answers less that of SFT's, both drawn from the same noise, in
standard deviations of SFT's gold. Win rate: the share of pairs (a policy's answer, an answer of SFT
to the same prompt, drawn independently) in which the first has more gold, ties as half. Intervals
are 95 %, by bootstrap over prompts.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.answers import Answer, Row, answers, perplexity
from benchmarks.experiments import plots
from benchmarks.experiments.statistics import Interval, by_prompt, over_prompts, win_rates
from benchmarks.world_data import text_of

START = "SFT"
CAPTION = "Win rate and gain of each method against SFT, by gold, with 95 % intervals"
# Of every method so many changes are shown from either end.
SHOWN = 1
Written = Sequence[Sequence[Answer]]


@dataclass(frozen=True)
class Policy:
    """``perplexity``: of its first answers, by the base model. ``gain``, ``wins``: against SFT."""

    name: str
    written: Written
    perplexity: float
    gain: Interval
    wins: Interval

    @property
    def gold(self) -> float:
        return statistics.fmean(answer.gold.total for answer in _all(self.written))

    @property
    def fully_right(self) -> float:
        return statistics.fmean(answer.gold.fully_right for answer in _all(self.written))

    @property
    def length(self) -> float:
        """In tokens."""
        return statistics.fmean(
            len(answer.rendered.completion_ids) for answer in _all(self.written)
        )


@dataclass(frozen=True)
class Change:
    """The first answers to one prompt, of SFT and of a method, drawn from the same noise."""

    prompt: str
    before: Answer
    after: Answer

    @property
    def gain(self) -> float:
        return self.after.gold.total - self.before.gold.total


@dataclass(frozen=True)
class Report:
    """The policies, SFT first, on ``prompts``."""

    prompts: Sequence[Row]
    policies: Sequence[Policy]

    @classmethod
    def of(
        cls,
        folders: Mapping[str, str],
        prompts: Sequence[Row],
        count: int,
        tell: Callable[[float, str], None],
        *,
        base: str,
    ) -> Report:
        """Have each policy answer ``prompts`` ``count`` times, and judge what it wrote."""
        asked = [text_of(row["messages"]) for row in prompts]
        start = answers(folders[START], prompts, count, seed=0)
        rivals = answers(folders[START], prompts, count, seed=1)
        policies = []
        for number, (name, folder) in enumerate(folders.items()):
            tell(number / len(folders), name)
            written = start if name == START else answers(folder, prompts, count, seed=0)
            wins = win_rates(_golds(written), _golds(rivals))
            policies.append(
                Policy(
                    name,
                    written,
                    perplexity(base, written),
                    gain=_gain(asked, _golds(written), _golds(start)),
                    wins=over_prompts(by_prompt(asked, [np.array([share]) for share in wins])),
                )
            )
        return cls(prompts, policies)

    @property
    def methods(self) -> Sequence[Policy]:
        return self.policies[1:]

    def is_finite(self) -> bool:
        return all(
            math.isfinite(figure)
            for policy in self.policies
            for figure in (policy.gold, policy.perplexity, policy.gain.mean, policy.wins.mean)
        )

    def text(self) -> str:
        """Table, lines to be read by programs, and samples."""
        return "\n".join([*self._table(), "", *self._lines(), "", *self._samples()])

    def page(self) -> str:
        """The same as Markdown, with the picture."""
        head = ["# Once around the loop", "", "    make demo", "", f"![{CAPTION}](demo.svg)", ""]
        return "\n".join([*head, *self._table(), "", *self._samples()])

    def write(self, out: Path) -> Path:
        """``demo.md`` and ``demo.svg`` in ``out``; returns the picture's path."""
        out.mkdir(parents=True, exist_ok=True)
        (out / "demo.md").write_text(self.page(), encoding="utf-8")
        picture = out / "demo.svg"
        plots.write(self.figure(), picture)
        return picture

    def figure(self) -> Any:
        wins = [plots.Point(p.name, p.wins.mean, p.wins.low, p.wins.high) for p in self.methods]
        gains = [plots.Point(p.name, p.gain.mean, p.gain.low, p.gain.high) for p in self.methods]
        return plots.points(
            {"win rate against SFT, by gold": wins, "gain in gold over SFT": gains},
            x=["share of answers, ties as half", "standard deviations of SFT's gold"],
            references=[0.5, 0.0],
        )

    def _table(self) -> Iterator[str]:
        yield "| model | gold | gain, SD | wins against SFT | right | tokens | perplexity |"
        yield f"|{'---|' * 7}"
        for policy in self.policies:
            against = "– | –"
            if policy.name != START:
                against = f"{_shown(policy.gain, '+.2f')} | {_shown(policy.wins, '.1%')}"
            yield (
                f"| {policy.name} | {policy.gold:.2f} | {against} | {policy.fully_right:.0%} | "
                f"{policy.length:.1f} | {policy.perplexity:.3f} |"
            )
        yield ""
        yield (
            f"{len(self.prompts)} held-out prompts, {len(self.policies[0].written[0])} answers "
            "each at temperature 1. Gold is out of 10; in brackets 95 % intervals over prompts; "
            "right: fully right and complete; perplexity: of the first answer to each prompt, by "
            "the base model."
        )

    def _lines(self) -> Iterator[str]:
        for policy in self.methods:
            wins = policy.wins
            yield (
                f"DEMO {policy.name.replace(' ', '_').lower()} gold_gain_sd={policy.gain.mean:.3f} "
                f"win_rate={wins.mean:.3f} ci={wins.low:.3f}..{wins.high:.3f}"
            )

    def _samples(self) -> Iterator[str]:
        for policy in self.methods:
            ordered = sorted(self._changes(policy), key=lambda change: change.gain)
            for title, found in (("best", ordered[::-1]), ("worst", ordered)):
                for change in found[:SHOWN]:
                    yield f"{policy.name}, {title} change ({change.gain:+.2f} gold):"
                    yield ""
                    yield from _shown_change(change)
                    yield ""

    def _changes(self, policy: Policy) -> Iterator[Change]:
        start = self.policies[0].written
        for row, before, after in zip(self.prompts, start, policy.written, strict=True):
            talk = "\n".join(f"{m['role']}: {m['content']}" for m in row["messages"])
            yield Change(talk, before[0], after[0])


def _gain(
    asked: Sequence[str], ours: Sequence[Sequence[float]], start: Sequence[Sequence[float]]
) -> Interval:
    spread = float(np.std(start))
    if spread == 0:
        return Interval(math.nan, math.nan, math.nan)
    gains = list((np.array(ours) - np.array(start)) / spread)
    return over_prompts(by_prompt(asked, gains))


def _golds(written: Written) -> list[list[float]]:
    return [[answer.gold.total for answer in group] for group in written]


def _all(written: Written) -> Iterator[Answer]:
    return (answer for group in written for answer in group)


def _shown(interval: Interval, form: str) -> str:
    return f"{interval.mean:{form}} ({interval.low:{form}}..{interval.high:{form}})"


def _shown_change(change: Change) -> Iterator[str]:
    yield from _indented("prompt", change.prompt)
    yield from _indented(f"before, gold {change.before.gold.total:.2f}", change.before.text)
    yield from _indented(f"after, gold {change.after.gold.total:.2f}", change.after.text)
    before, after = change.before.gold.components, change.after.gold.components
    moved = [
        f"{name} {before.get(name, 0.0):.2f} -> {after.get(name, 0.0):.2f}"
        for name in {**before, **after}
        if before.get(name, 0.0) != after.get(name, 0.0)
    ]
    yield f"    why: {', '.join(moved) or 'nothing differs'}"


def _indented(title: str, text: str) -> Iterator[str]:
    yield f"    {title}:"
    for line in text.splitlines() or [""]:
        yield f"        {line}"
