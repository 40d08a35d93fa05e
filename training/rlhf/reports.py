"""How good a reward model is, and how sure that is: tables from scores and judgements.

An accuracy counts judged pairs; a pair whose scores are equal counts half. Its interval comes from
drawing prompts anew, as the pairs of a prompt share their completions and are far from independent.
Beside it stands the noise ceiling (``labelers``): null where no pair was judged twice, as the
labelers' errors cannot be known then.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.rlhf.comparisons import Comparison
from training.rlhf.labelers import agreements, error_rate, error_rates
from training.rlhf.splitting import conversation

FILE = "report.json"
DRAWS = 1000
BINS = 10
# Winner against loser, by completion tokens.
LENGTHS = {-1: "winner shorter", 0: "equal", 1: "winner longer"}

Array = NDArray[Any]


@dataclass(frozen=True)
class Pairs:
    """One entry for each judgement.

    lead: score of the winner less that of the loser, before normalisation; NaN where not scored.
    prompt: the number of its conversation, which several rounds may have asked about.
    agreement: see ``labelers.agreements``; NaN for None.
    """

    lead: Array
    prompt: Array
    gap: Array
    among: Array
    longer: Array
    labeler: Array
    agreement: Array

    @classmethod
    def of(cls, comparisons: Sequence[Comparison], scores: Sequence[float] | None = None) -> Pairs:
        """``scores`` are of all completions of all comparisons, in their order."""
        rows = []
        offset = 0
        numbers: dict[str, int] = {}
        for comparison in comparisons:
            number = numbers.setdefault(conversation(comparison.row()), len(numbers))
            lengths = [len(text.completion_ids) for text in comparison.texts]
            for judged, agreement in zip(
                comparison.judgements, agreements(comparison), strict=True
            ):
                longer = int(np.sign(lengths[judged.winner] - lengths[judged.loser]))
                lead = (
                    scores[offset + judged.winner] - scores[offset + judged.loser]
                    if scores is not None
                    else np.nan
                )
                told = np.nan if agreement is None else agreement
                rows.append((lead, number, judged.gap, judged.among, longer, judged.labeler, told))
            offset += len(comparison.texts)
        return cls(*(np.array(column) for column in zip(*rows, strict=True)))

    def where(self, chosen: Array) -> Pairs:
        return Pairs(*(getattr(self, name)[chosen] for name in Pairs.__dataclass_fields__))

    @property
    def right(self) -> Array:
        return (1 + np.sign(self.lead)) / 2


def report(
    comparisons: Sequence[Comparison],
    scores: Sequence[float],
    judged: Sequence[Comparison],
    taught_by: Sequence[str],
    seed: int,
) -> dict[str, Any]:
    """Accuracy on ``comparisons`` as a whole and in part, and calibration.

    Args:
        comparisons: what was held out.
        scores: of all their completions, in their order, before normalisation.
        judged: all comparisons there are: the more, the better is the noise ceiling known.
        taught_by: the labelers whose rankings the model learnt from.
    """
    pairs, everything = Pairs.of(comparisons, scores), Pairs.of(judged)

    def parts(name: str, key: Callable[[Pairs], Array]) -> list[dict[str, Any]]:
        found = []
        for value in np.unique(key(pairs)):
            part = pairs.where(key(pairs) == value)
            noise = everything.where(key(everything) == value)
            found.append({name: value.item(), **measures(part, noise, seed)})
        return found

    by_labeler, rates = parts("labeler", lambda p: p.labeler), error_rates(judged)
    for row in by_labeler:
        row["seen"] = row["labeler"] in taught_by
        # Their own: the others may err more or less often.
        own = rates.get(row["labeler"])
        row["noise_ceiling"] = None if own is None else 1 - own
    by_length = parts("length", lambda p: p.longer)
    for row in by_length:
        row["length"] = LENGTHS[row["length"]]
    return {
        "all": measures(pairs, everything, seed),
        "by_rank_gap": parts("gap", lambda p: p.gap),
        "by_labeler": by_labeler,
        "by_labeler_seen": parts("seen", lambda p: np.isin(p.labeler, list(taught_by))),
        "by_completions": parts("completions", lambda p: p.among),
        "by_length": by_length,
        "calibration": calibration(pairs.lead),
    }


def measures(pairs: Pairs, judged: Pairs, seed: int) -> dict[str, Any]:
    """Accuracy with its 95 % interval, and the ceiling that the noise in ``judged`` sets."""
    low, high = interval(pairs.right, pairs.prompt, seed)
    agreement = _agreement(judged)
    return {
        "pairs": len(pairs.lead),
        "prompts": len(np.unique(pairs.prompt)),
        "accuracy": float(pairs.right.mean()),
        "accuracy_low": low,
        "accuracy_high": high,
        "judged_twice": int(np.isfinite(judged.agreement).sum()),
        "agreement": agreement,
        "noise_ceiling": None if agreement is None else 1 - error_rate(agreement),
    }


def interval(right: Array, prompt: Array, seed: int) -> tuple[float | None, float | None]:
    """The middle 95 % of the accuracies of as many prompts drawn with replacement.

    None for a single prompt, which says nothing of others.
    """
    _, clusters = np.unique(prompt, return_inverse=True)
    won, pairs = np.bincount(clusters, weights=right), np.bincount(clusters)
    if len(pairs) < 2:
        return None, None
    random = np.random.default_rng(seed)
    drawn = (random.integers(len(pairs), size=len(pairs)) for _ in range(DRAWS))
    shares = [won[rows].sum() / pairs[rows].sum() for rows in drawn]
    low, high = np.quantile(shares, [0.025, 0.975])
    return float(low), float(high)


def calibration(lead: Array) -> dict[str, Any]:
    """The chance that a model gives its favourite, sigmoid(|lead|), against how often it wins.

    Bins of equal width from 1/2 to 1; those without a pair are left out. ``error`` is the mean gap
    between the two, weighted by pairs (expected calibration error).
    """
    predicted = 1 / (1 + np.exp(-np.abs(lead)))
    observed = (1 + np.sign(lead)) / 2
    place = np.minimum((predicted - 0.5) * 2 * BINS, BINS - 1).astype(int)
    bins = []
    for number in np.unique(place):
        inside = place == number
        bins.append(
            {
                "from": 0.5 + float(number) / (2 * BINS),
                "to": 0.5 + float(number + 1) / (2 * BINS),
                "pairs": int(inside.sum()),
                "predicted": float(predicted[inside].mean()),
                "observed": float(observed[inside].mean()),
            }
        )
    gaps = [row["pairs"] * abs(row["predicted"] - row["observed"]) for row in bins]
    return {"bins": bins, "error": sum(gaps) / len(lead)}


def write(folder: Path, found: Mapping[str, Any]) -> None:
    """``report.json``, and its tables at the end of the model card."""
    (folder / FILE).write_text(json.dumps(found, indent=1), encoding="utf-8")
    if found["held_out"]:
        with (folder / "README.md").open("a", encoding="utf-8") as card:
            card.write("\n".join(_tables(found["held_out"])))


def _agreement(pairs: Pairs) -> float | None:
    known = pairs.agreement[np.isfinite(pairs.agreement)]
    return float(known.mean()) if len(known) else None


def _tables(found: Mapping[str, Any]) -> list[str]:
    lines = ["", "## Held-out accuracy", ""]
    lines += [
        "| part | pairs | accuracy | 95 % interval | noise ceiling |",
        "|---|---|---|---|---|",
    ]
    lines.append(_line("all", found["all"]))
    for name, label in (
        ("by_rank_gap", "gap"),
        ("by_completions", "completions"),
        ("by_length", "length"),
        ("by_labeler_seen", "seen"),
        ("by_labeler", "labeler"),
    ):
        lines += [_line(f"{label} {row[label]}", row) for row in found[name]]
    lines += ["", "## Calibration", "", "| predicted | observed | pairs |", "|---|---|---|"]
    lines += [
        f"| {row['predicted']:.3f} | {row['observed']:.3f} | {row['pairs']} |"
        for row in found["calibration"]["bins"]
    ]
    return [*lines, ""]


def _line(part: str, row: Mapping[str, Any]) -> str:
    low, high, ceiling = row["accuracy_low"], row["accuracy_high"], row["noise_ceiling"]
    between = "-" if low is None else f"{low:.3f} to {high:.3f}"
    most = "-" if ceiling is None else f"{ceiling:.3f}"
    return f"| {part} | {row['pairs']} | {row['accuracy']:.3f} | {between} | {most} |"
