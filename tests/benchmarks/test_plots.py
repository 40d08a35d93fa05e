"""The plots of the experiments: the same bytes for the same figure, small, and all labels there."""

import itertools
import math
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from benchmarks.experiments import plots
from benchmarks.experiments.plots import Line, Panel, Point

MAX_BYTES = 60_000
SIZES = [4, 16, 64, 256]
PANELS = [
    Panel(
        f"noise {noise}",
        [
            Line(f"{width} wide", SIZES, [0.1, 0.2, 0.4, 0.3], [0.0] * 4, [0.5] * 4)
            for width in (32, 64, 128, 256)
        ]
        + [Line("proxy", SIZES, [0.1, 0.3, 0.6, 0.9])],
        levels={"ceiling": 0.8},
    )
    for noise in (0, 0.25)
]
POINTS = {
    "wins": [Point("PPO", 0.7, 0.6, 0.8, [0.65, 0.75]), Point("DPO", 0.6, math.nan, math.nan)],
    "gain": [Point("PPO", 0.5, 0.4, 0.6), Point("DPO", 0.3, 0.2, 0.4)],
}


def drawn() -> dict[str, object]:
    return {
        "bands": plots.lines(PANELS, x="n", y="gold", log_x=True),
        "bars": plots.lines(PANELS, x="n", y="gold", bands=False),
        "points": plots.points(POINTS, x=["win rate", "SD"], references=[0.5, 0.0]),
    }


def written(figure: object, path: Path) -> str:
    plots.write(figure, path)
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["bands", "bars", "points"])
def test_the_same_figure_is_the_same_bytes_and_few_of_them(name: str, tmp_path: Path) -> None:
    first, again = (written(drawn()[name], tmp_path / f"{n}.svg") for n in (1, 2))
    assert first == again
    assert len(first.encode()) < MAX_BYTES
    assert "<dc:date>" not in first


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("bands", {"noise 0", "noise 0.25", "n", "gold", "ceiling", "256 wide", "proxy", "256"}),
        ("points", {"wins", "gain", "PPO", "DPO", "win rate", "SD"}),
    ],
)
def test_labels_are_text(name: str, labels: set[str], tmp_path: Path) -> None:
    root = ET.fromstring(written(drawn()[name], tmp_path / "x.svg"))
    texts = ["".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")]
    assert labels <= set(texts)
    # The legend is one for both panels.
    assert texts.count("proxy") == (name == "bands")


def test_other_values_draw_another_picture(tmp_path: Path) -> None:
    one = plots.lines([Panel("", [Line("a", [1, 2], [1.0, 2.0])])], x="x", y="y")
    other = plots.lines([Panel("", [Line("a", [1, 2], [1.0, 2.5])])], x="x", y="y")
    assert written(one, tmp_path / "1.svg") != written(other, tmp_path / "2.svg")


def test_lines_of_one_style_look_alike_in_all_panels() -> None:
    panels = [
        Panel("both", [Line("a", [1, 2], [1, 2], style=0), Line("b", [1, 2], [2, 1], style=1)]),
        Panel("one", [Line("b", [1, 2], [2, 1], style=1)]),
    ]
    left, right = plots.lines(panels, x="x", y="y").axes
    assert left.lines[1].get_color() == right.lines[0].get_color() == plots.COLOURS[1]
    assert left.lines[1].get_linestyle() == right.lines[0].get_linestyle() == "--"


@pytest.mark.parametrize("panels", [1, 3])
def test_a_legend_of_long_labels_is_no_wider_than_its_figure(panels: int) -> None:
    labels = [f"{count} rankings, e = 0.25, 2 of 4 layers" for count in range(500, 508)]
    shown = [Line(label, [1, 2], [1.0, 2.0]) for label in labels]
    figure = plots.lines([Panel("all", shown)] * panels, x="x", y="y")
    figure.draw_without_rendering()
    (legend,) = figure.legends
    box = legend.get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.x1


def test_neighbouring_colours_differ_in_grey() -> None:
    def grey(colour: str) -> float:
        red, green, blue = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
        return 0.299 * red + 0.587 * green + 0.114 * blue

    greys = [grey(colour) for colour in plots.COLOURS]
    assert all(abs(a - b) > 0.04 for a, b in itertools.pairwise(greys))


def test_the_first_point_is_on_top() -> None:
    [axes, _] = plots.points(POINTS, x=["a", "b"]).axes
    bottom, top = axes.get_ylim()
    assert bottom > top
    assert [label.get_text() for label in axes.get_yticklabels()] == ["PPO", "DPO"]


def test_a_folder_that_is_missing_is_made(tmp_path: Path) -> None:
    plots.write(drawn()["points"], tmp_path / "new" / "folder" / "x.png")
    assert (tmp_path / "new" / "folder" / "x.png").stat().st_size > 1000
