"""What the figures share: colours, fonts, and how they are saved, so that the same script always writes the same bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

FOLDER = Path(__file__).resolve().parent

# Okabe & Ito (2008): told apart with every kind of colour vision. Line style or a label says the same a second time.
BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9"
INK, GREY, PALE = "#222222", "#777777", "#EEF2F5"

SETTINGS = {
    "svg.hashsalt": "tinyresnet",  # ids inside the file do not change from run to run
    "svg.fonttype": "path",  # looks the same where the font is missing
    "font.family": "DejaVu Sans",  # comes with matplotlib; it has no Chinese glyphs, so figures carry names and numbers only
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


def new(width: float, height: float, **arguments: Any) -> Figure:
    """An empty figure of this size in inches."""
    matplotlib.rcParams.update(SETTINGS)
    return Figure(figsize=(width, height), **arguments)


def canvas(figure: Figure, width: float, height: float) -> Any:
    """Axes without axes, for drawings: (0, 0) at the bottom left, (width, height) at the top right, one unit an inch or so."""
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(0, height), aspect="equal")
    axes.set_axis_off()
    return axes


def box(
    axes: Any,
    x: float,
    y: float,
    text: str,
    width: float = 1.7,
    colour: str = PALE,
    height: float = 0.46,
    **text_style: Any,
) -> None:
    """A rounded box centred at (x, y)."""
    style = "round,pad=0,rounding_size=0.08"
    axes.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - height / 2), width, height, boxstyle=style, facecolor=colour, edgecolor=INK, linewidth=1
        )
    )
    axes.text(x, y, text, ha="center", va="center", **{"fontsize": 10, **text_style})


def plus(axes: Any, x: float, y: float, colour: str) -> None:
    """A sum: a circle with a plus sign."""
    axes.plot(
        [x],
        [y],
        marker="o",
        markersize=17,
        markerfacecolor="white",
        markeredgecolor=colour,
        markeredgewidth=1.6,
        zorder=3,
    )
    axes.text(x, y, "+", ha="center", va="center", fontsize=13, color=colour, zorder=4)


def arrow(axes: Any, points: list[tuple[float, float]], colour: str, dashed: bool = False, width: float = 1.6) -> None:
    """A line through the points with a head at the end; dashed is the way back."""
    style = {"color": colour, "linewidth": width, "linestyle": (0, (4, 2)) if dashed else "-"}
    for start, end in zip(points[:-2], points[1:-1], strict=True):
        axes.plot([start[0], end[0]], [start[1], end[1]], solid_capstyle="round", **style)
    head = {"arrowstyle": "-|>", "mutation_scale": 12, "shrinkA": 0, "shrinkB": 0}
    axes.add_patch(FancyArrowPatch(points[-2], points[-1], **head, **style))


def save(figure: Figure, name: str, folder: Path = FOLDER) -> Path:
    """Writes NAME.svg, without a date, and returns its path."""
    path = folder / f"{name}.svg"
    figure.savefig(path, format="svg", metadata={"Date": None})
    text = path.read_text(encoding="utf-8")
    path.write_text("\n".join(line.rstrip() for line in text.splitlines()) + "\n", encoding="utf-8")
    return path
