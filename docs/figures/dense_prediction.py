"""Dense prediction: a coarse map laid over its image, 65 = 32*2 + 1 against 64; and what a rate leaves as it was."""

from __future__ import annotations

from typing import Any

import numpy as np
from drawing import BLUE, GREEN, GREY, INK, PALE, VERMILION, canvas, new, save
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

WIDTH, HEIGHT = 9.6, 7.1
LEFT, UNIT = 1.95, 0.112  # where pixel 0 lies, and a pixel's width, both in inches
CELL = 0.25
KEPT = "#C6DFF2"  # a pixel that the layer computes


def centres(side: int, stride: int) -> np.ndarray:
    """Where on the image a map's pixels look, along one axis: conv2d_same centres pixel p of a layer with stride 2 on pixel 2p."""
    return np.arange(0, side, stride)


def resized(side: int, stride: int) -> np.ndarray:
    """Where resize_bilinear to `side` pixels lays them: the first and the last on the corners."""
    return np.linspace(0, side - 1, len(centres(side, stride)))


def draw() -> Figure:
    figure = new(WIDTH, HEIGHT)
    axes = canvas(figure, WIDTH, HEIGHT)
    strip(axes, 5.65, 65, BLUE)
    strip(axes, 3.9, 64, VERMILION)
    legend(axes, 3.25)
    grid(axes, 1.2, 2, 1)
    grid(axes, 6.15, 1, 2)
    style = {"ha": "center", "va": "center", "fontsize": 10.5, "linespacing": 1.5}
    axes.text(4.8, 1.27, "the same nine weights\nsee the same pixels", color=GREEN, **style)
    return figure


def strip(axes: Any, top: float, side: int, colour: str) -> None:
    axes.text(0.55, top + 0.35, f"{side}", ha="center", va="center", fontsize=19, weight="bold", color=colour)
    axes.text(0.55, top + 0.02, "pixels", ha="center", va="center", fontsize=11, color=colour)
    for row, stride in enumerate((1, 8, 16)):
        y = top + 0.85 - 0.45 * row
        looks, lies = centres(side, stride), resized(side, stride)
        axes.text(LEFT - 0.25, y, f"stride {stride}", ha="right", va="center", fontsize=10.5)
        if stride == 1:
            axes.vlines(LEFT + UNIT * looks, y - 0.08, y + 0.08, color=GREY, linewidth=1)
            for pixel in (0, side - 1):
                axes.text(LEFT + UNIT * pixel, y + 0.15, str(pixel), ha="center", fontsize=10.5, color=INK)
            continue
        axes.plot(LEFT + UNIT * np.array([0, side - 1]), [y, y], color=PALE, linewidth=3, zorder=0)
        for look, lie in zip(looks, lies, strict=True):
            if lie - look >= 2:
                axes.plot(LEFT + UNIT * np.array([look, lie]), [y, y], color=colour, linewidth=1.4, linestyle=":")
        axes.plot(LEFT + UNIT * lies, [y] * len(lies), "o", markersize=12, markerfacecolor="none", color=INK)
        axes.plot(LEFT + UNIT * looks, [y] * len(looks), "o", markersize=6, color=colour)
        off = int(lies[-1] - looks[-1])
        text = f"{off} pixels off" if off else "no pixel off"
        axes.text(LEFT + UNIT * 64 + 0.14, y - 0.22, text, ha="right", va="center", fontsize=9.5, color=colour)


def legend(axes: Any, y: float) -> None:
    axes.plot([1.95], [y], "o", markersize=6, color=INK)
    axes.text(2.12, y, "where a pixel of the map looks", va="center", fontsize=10.5)
    axes.plot([5.2], [y], "o", markersize=12, markerfacecolor="none", color=INK)
    axes.text(5.4, y, "where resize_bilinear lays it", va="center", fontsize=10.5)


def grid(axes: Any, left: float, stride: int, rate: int) -> None:
    """A 9x9 map, the pixels that a layer of this stride keeps, and the nine of them that a 3x3 kernel of this rate sees."""
    bottom, side = 0.15, 9
    axes.text(
        left + CELL * side / 2,
        bottom + CELL * side + 0.37,
        f"stride {stride}, then 3×3 at rate {rate}",
        ha="center",
        fontsize=11,
        weight="bold",
    )
    kept = -(-side // stride)
    axes.text(
        left + CELL * side / 2, bottom + CELL * side + 0.12, f"a map of {kept}×{kept}", ha="center", fontsize=10.5
    )
    tap = 0
    for row in range(side):
        for column in range(side):
            x, y = left + CELL * column, bottom + CELL * (side - 1 - row)
            exists = row % stride == column % stride == 0
            seen = exists and {row // stride, column // stride} <= {rate * k + 4 // stride - rate for k in range(3)}
            face = GREEN if seen else KEPT if exists else "white"
            axes.add_patch(Rectangle((x, y), CELL, CELL, facecolor=face, edgecolor=GREY, linewidth=0.7))
            if seen:
                tap += 1
                style = {"ha": "center", "va": "center", "fontsize": 10, "color": "white", "weight": "bold"}
                axes.text(x + CELL / 2, y + CELL / 2, str(tap), **style)


if __name__ == "__main__":
    save(draw(), "dense_prediction")
