"""Plots of the experiments in one style: lines with bands, points with intervals, as small SVGs.

The same figures give the same bytes: no date, no random identifiers. Text stays text. Series differ
in colour (Okabe and Ito's, told apart by the colour-blind), in marker and in dash, so that they can
be read in grey too. Nothing here computes a statistic: what is drawn is what was given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

PANEL_WIDTH, PANEL_HEIGHT = 4.2, 3.2  # inches
ROW_HEIGHT = 0.42  # inches of a row of `points`
# Inches of a label of the legend: of what stands before and around it, and of each letter.
HANDLE_WIDTH, LETTER_WIDTH = 0.65, 0.065
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "podium",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Arial", "Helvetica"],
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "legend.fontsize": 8,
}
# Black, blue, vermilion, sky blue, green, orange, purple, brown: neighbours differ in grey as well.
COLOURS = (
    "#000000", "#0072b2", "#d55e00", "#56b4e9", "#009e73", "#e69f00", "#cc79a7", "#7f4f24",
)  # fmt: skip
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES = ("-", "--", "-.", ":")
REFERENCE_COLOUR = "#777777"


@dataclass(frozen=True)
class Line:
    """A series: a mean ``y`` at each ``x``, and the interval ``low``..``high`` where it has one.

    ``style`` picks colour, marker and dash; by default it is the line's place in its panel. Lines
    of several panels that mean the same share label and style.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    style: int | None = None


@dataclass(frozen=True)
class Panel:
    """One pair of axes. ``levels``: horizontal reference lines by label: a noise ceiling."""

    title: str
    lines: Sequence[Line]
    levels: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Point:
    """A row of ``points``: an estimate with its interval, and further dots, such as each seed's."""

    label: str
    value: float
    low: float
    high: float
    dots: Sequence[float] = ()


def lines(
    panels: Sequence[Panel],
    *,
    x: str,
    y: str,
    log_x: bool = False,
    share_y: bool = True,
    bands: bool = True,
) -> Figure:
    """Panels side by side. ``x`` and ``y`` name the axes; intervals are bands, or else bars."""
    with matplotlib.rc_context(STYLE):
        figure, row = _axes(len(panels), share_y)
        for axes, panel in zip(row, panels, strict=True):
            for place, line in enumerate(panel.lines):
                _draw(axes, line, place if line.style is None else line.style, bands)
            for label, level in panel.levels.items():
                axes.axhline(level, color=REFERENCE_COLOUR, linewidth=1, dashes=(1, 2))
                axes.annotate(
                    label, (1, level), xycoords=("axes fraction", "data"), fontsize=7,
                    color=REFERENCE_COLOUR, ha="right", va="bottom",
                )  # fmt: skip
            axes.set_title(panel.title)
            axes.set_xlabel(x)
            if log_x:
                _log_x(axes, panel)
        row[0].set_ylabel(y)
        _legend(figure, row)
    return figure


def points(
    panels: Mapping[str, Sequence[Point]], *, x: Sequence[str], references: Sequence[float] = ()
) -> Figure:
    """Estimates with intervals, a row each, the first on top; a panel for each title.

    ``x`` names each panel's axis; ``references`` are each panel's vertical line ("no difference").
    """
    with matplotlib.rc_context(STYLE):
        rows = max(len(found) for found in panels.values())
        figure, row = _axes(len(panels), share_y=False, height=1.1 + ROW_HEIGHT * rows)
        for axes, (title, found), name in zip(row, panels.items(), x, strict=True):
            for place, point in enumerate(found):
                reach = [[point.value - point.low], [point.high - point.value]]
                axes.plot(
                    point.dots, [place] * len(point.dots), "o", color=REFERENCE_COLOUR,
                    markersize=3, alpha=0.6, linestyle="",
                )  # fmt: skip
                axes.errorbar(
                    [point.value], [place], xerr=reach, fmt=MARKERS[0], color=COLOURS[1], capsize=3
                )
            axes.set_yticks(range(len(found)), [point.label for point in found])
            axes.set_ylim(len(found) - 0.5, -0.5)
            axes.set_title(title)
            axes.set_xlabel(name)
        for axes, level in zip(row, references, strict=False):
            axes.axvline(level, color=REFERENCE_COLOUR, linewidth=1, dashes=(1, 2))
    return figure


def write(figure: Figure, path: Path) -> None:
    """Write ``figure`` in the format of the path's ending, the same bytes for the same figure.

    Raises:
        OSError: the path cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"Date": None, "Creator": None} if path.suffix == ".svg" else None
    with matplotlib.rc_context(STYLE):
        figure.savefig(path, metadata=metadata, dpi=120)


def _axes(count: int, share_y: bool, height: float = PANEL_HEIGHT) -> tuple[Figure, list[Axes]]:
    """A figure of its own, not one of pyplot's: no backend of the machine is asked."""
    figure = Figure(figsize=(PANEL_WIDTH * count, height), layout="constrained")
    [row] = figure.subplots(1, count, sharey=share_y, squeeze=False)
    return figure, list(row)


def _draw(axes: Axes, line: Line, style: int, bands: bool) -> None:
    look: dict[str, Any] = {
        "color": COLOURS[style % len(COLOURS)],
        "marker": MARKERS[style % len(MARKERS)],
        "linestyle": DASHES[style % len(DASHES)],
        "label": line.label,
    }
    if line.low is None or line.high is None:
        axes.plot(line.x, line.y, **look)
    elif bands:
        axes.plot(line.x, line.y, **look)
        axes.fill_between(line.x, line.low, line.high, color=look["color"], alpha=0.15, lw=0)
    else:
        below = [mean - low for mean, low in zip(line.y, line.low, strict=True)]
        above = [high - mean for mean, high in zip(line.y, line.high, strict=True)]
        axes.errorbar(line.x, line.y, yerr=[below, above], capsize=2.5, elinewidth=1, **look)


def _log_x(axes: Axes, panel: Panel) -> None:
    """A logarithmic axis whose ticks are the values that were measured."""
    axes.set_xscale("log")
    ticks = sorted({value for line in panel.lines for value in line.x})
    axes.set_xticks(ticks, [f"{tick:,.6g}" for tick in ticks])
    axes.minorticks_off()


def _legend(figure: Figure, row: Sequence[Axes]) -> None:
    """One legend below all panels: each label once."""
    shown: dict[str, Any] = {}
    for axes in row:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            shown.setdefault(label, handle)
    if shown:
        wide = HANDLE_WIDTH + LETTER_WIDTH * max(map(len, shown))
        columns = max(1, min(len(shown), int(figure.get_figwidth() / wide)))
        figure.legend(list(shown.values()), list(shown), loc="outside lower center", ncols=columns)
