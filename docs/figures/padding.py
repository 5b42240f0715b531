"""SAME with stride 2 against conv2d_same, 3x3 on 4x4 and on 5x5 pixels: where the windows sit, and what comes out."""

from __future__ import annotations

from typing import Any

import numpy as np
from drawing import BLUE, GREY, INK, PALE, VERMILION, canvas, new, save
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle

from tinyresnet import ops
from tinyresnet.ops.windows import Pads

CELL = 0.34
HALF_BEFORE: Pads = ((1, 1), (1, 1))


def ramp(side: int) -> Any:
    """[side, side]: row number + column number, as in TF-Slim's resnet_v2_test.py."""
    return np.add.outer(np.arange(side), np.arange(side)).astype(float)


def draw() -> Figure:
    figure = new(12, 6)
    axes = canvas(figure, 12, 6)
    for x, title, colour in (
        (1.6, "stride 1, then every second pixel", INK),
        (5.1, "conv2d_same, stride 2", BLUE),
        (9.45, "conv2d SAME, stride 2", VERMILION),
    ):
        axes.text(x + 0.15, 5.72, title, ha="center", fontsize=11.5, weight="bold", color=colour)
    for side, y in ((4, 4.25), (5, 1.5)):
        axes.text(0.25, y, f"{side}×{side}", ha="center", va="center", fontsize=13, weight="bold", rotation=90)
        x, w = ramp(side)[None, :, :, None], ramp(3)[:, :, None, None]
        dense, _ = ops.conv2d_forward(x, w)
        grid(axes, 1.55, y, dense[0, :, :, 0], picked=True)
        for left, padding, colour in ((4.3, HALF_BEFORE, BLUE), (8.65, "SAME", VERMILION)):
            result, saved = ops.conv2d_forward(x, w, stride=2, padding=padding)
            windows(axes, left, y, ramp(side), saved.pads[0], colour)
            axes.text(left + 1.45, y, "→", ha="center", va="center", fontsize=16)
            grid(axes, left + 2.3, y, result[0, :, :, 0], colour=colour)
    axes.plot([0.3, 11.7], [2.94, 2.94], color=GREY, linewidth=0.8)
    return figure


def grid(axes: Any, x: float, y: float, numbers: Any, colour: str = INK, picked: bool = False) -> None:
    """The numbers in boxes, centred; `picked`: every second row and column is ringed."""
    side = len(numbers)
    for i, j in np.ndindex(numbers.shape):
        at = (x + (j - side / 2) * CELL * 1.15, y + (side / 2 - 1 - i) * CELL * 1.15)
        chosen = not picked or (i % 2 == 0 and j % 2 == 0)
        axes.add_patch(Rectangle(at, CELL * 1.15, CELL * 1.15, facecolor="white", edgecolor=GREY, linewidth=0.8))
        middle = (at[0] + CELL * 0.575, at[1] + CELL * 0.575)
        if picked and chosen:
            axes.add_patch(Circle(middle, CELL * 0.5, facecolor="none", edgecolor=BLUE, linewidth=1.4))
        style = {"color": colour if chosen else GREY, "weight": "bold" if chosen else "normal"}
        axes.text(*middle, f"{numbers[i, j]:g}", ha="center", va="center", fontsize=8.5, **style)


def windows(axes: Any, x: float, y: float, numbers: Any, pads: tuple[int, int], colour: str) -> None:
    """The image, its zeros (hatched), the middle of every window (a dot), and the frame of the first window."""
    side, (before, after) = len(numbers), pads
    whole = before + side + after
    left, top = x - (before + side / 2) * CELL, y + (before + side / 2) * CELL
    for i, j in np.ndindex(whole, whole):
        inside = before <= i < before + side and before <= j < before + side
        at = (left + j * CELL, top - (i + 1) * CELL)
        axes.add_patch(
            Rectangle(
                at,
                CELL,
                CELL,
                facecolor=PALE if inside else "white",
                edgecolor=GREY,
                linewidth=0.8,
                hatch=None if inside else "////",
            )
        )
        if i % 2 == 1 and j % 2 == 1 and i + 1 < whole and j + 1 < whole:
            axes.add_patch(
                Circle((at[0] + CELL / 2, at[1] + CELL / 2), CELL * 0.4, facecolor=colour, edgecolor="none", zorder=2)
            )
        if inside:
            on_dot = i % 2 == 1 and j % 2 == 1 and i + 1 < whole and j + 1 < whole
            axes.text(at[0] + CELL / 2, at[1] + CELL / 2, f"{numbers[i - before, j - before]:g}", ha="center", va="center", fontsize=8,
                      color="white" if on_dot else INK, zorder=3)  # fmt: skip
    axes.add_patch(
        Rectangle(
            (left, top - 3 * CELL), 3 * CELL, 3 * CELL, facecolor="none", edgecolor=colour, linewidth=2.2, zorder=4
        )
    )


if __name__ == "__main__":
    save(draw(), "padding")
