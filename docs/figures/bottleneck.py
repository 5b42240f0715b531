"""The bottleneck unit, forward and back: with an identity shortcut, and with a projection. Where the gradients add."""

from __future__ import annotations

from typing import Any

from drawing import BLUE, GREY, VERMILION, arrow, box, canvas, new, plus, save
from matplotlib.figure import Figure

D = 0.13  # half the distance between the way forward and the way back
TOP, STEP = 6.35, 0.93
BRANCH = ("conv1  1×1\nBN, ReLU", "conv2  3×3, stride\nBN, ReLU", "conv3  1×1\n+ bias")


def draw() -> Figure:
    figure = new(9.6, 7.1)
    axes = canvas(figure, 9.6, 7.1)
    identity(axes, 2.3)
    projection(axes, 7.05)
    axes.plot([4.72, 4.72], [0.75, 6.95], color=GREY, linewidth=0.8)
    arrow(axes, [(1.7, 0.28), (2.5, 0.28)], BLUE)
    axes.text(2.62, 0.28, "forward", va="center", color=BLUE)
    arrow(axes, [(5.3, 0.28), (4.5, 0.28)], VERMILION, dashed=True)
    axes.text(5.42, 0.28, "back: read it from the bottom up", va="center", color=VERMILION)
    return figure


def both(axes: Any, x: float, y_from: float, y_to: float) -> None:
    """Down the page forward, and up again beside it."""
    arrow(axes, [(x - D, y_from), (x - D, y_to)], BLUE)
    arrow(axes, [(x + D, y_to), (x + D, y_from)], VERMILION, dashed=True)


def row(number: float) -> float:
    return TOP - STEP * number


def residual_branch(axes: Any, x: float, first: float) -> None:
    for k, text in enumerate(BRANCH):
        box(axes, x, row(first + k), text, width=1.85, height=0.5, fontsize=9)
        if k:
            both(axes, x, row(first + k - 1) - 0.25, row(first + k) + 0.25)


def joined(axes: Any, left: float, right: float, x: float, shortcut_end: float, residual_end: float) -> None:
    """Both branches into the sum, and its gradient to both sides unchanged."""
    y, trunk, split = row(5), x + 0.42, row(5) + 0.27
    arrow(axes, [(left - D, shortcut_end), (left - D, y), (x - 0.2, y)], BLUE)
    arrow(axes, [(right + D, residual_end), (right + D, y), (x + 0.2, y)], BLUE)
    arrow(axes, [(x, y - 0.18), (x, row(5.8) + 0.23)], BLUE)
    plus(axes, x, y, BLUE)
    arrow(
        axes,
        [(trunk, row(5.8) + 0.23), (trunk, split), (left + D, split), (left + D, shortcut_end)],
        VERMILION,
        dashed=True,
    )
    arrow(axes, [(trunk, split), (right - D, split), (right - D, residual_end)], VERMILION, dashed=True)
    box(axes, x, row(5.8), "output", width=1.3)
    axes.text(trunk + 0.1, row(5.4), "d_output", fontsize=9, color=VERMILION, va="center")


def identity(axes: Any, x: float) -> None:
    left, right = x - 1.05, x + 1.05
    axes.text(x, 6.85, "depth == depth_in: identity shortcut", ha="center", fontsize=11, weight="bold")
    box(axes, x, row(0), "inputs", width=1.3)
    y = row(0.66)
    arrow(axes, [(x - D, row(0) - 0.23), (x - D, y), (left - D, y), (left - D, row(2.5) + 0.25)], BLUE)
    arrow(axes, [(x - D, y), (right + D, y), (right + D, row(1.25) + 0.23)], BLUE)
    box(axes, right, row(1.25), "preact: BN, ReLU", width=1.85, fontsize=9)
    box(axes, left, row(2.5), "subsample(stride)\nstride 1: nothing", width=1.7, height=0.5, fontsize=9)
    both(axes, right, row(1.25) - 0.23, row(2.1) + 0.25)
    residual_branch(axes, right, 2.1)
    gradient = row(0.4)
    arrow(axes, [(left + D, row(2.5) + 0.25), (left + D, gradient), (x - 0.07, gradient)], VERMILION, dashed=True)
    arrow(axes, [(right - D, row(1.25) + 0.23), (right - D, gradient), (x + 0.32, gradient)], VERMILION, dashed=True)
    plus(axes, x + D, gradient, VERMILION)
    axes.text(right - 0.02, gradient, "they add\nat inputs", fontsize=9, color=VERMILION, va="center")
    joined(axes, left, right, x, row(2.5) - 0.25, row(4.1) - 0.25)


def projection(axes: Any, x: float) -> None:
    left, right = x - 1.15, x + 1.15
    axes.text(x, 6.85, "depth != depth_in: projection shortcut", ha="center", fontsize=11, weight="bold")
    box(axes, x, row(0), "inputs", width=1.3)
    both(axes, x, row(0) - 0.23, row(0.72) + 0.23)
    box(axes, x, row(0.72), "preact: BN, ReLU", width=1.85, fontsize=9)
    y = row(1.42)
    arrow(axes, [(x - D, row(0.72) - 0.23), (x - D, y), (left - D, y), (left - D, row(2.5) + 0.25)], BLUE)
    arrow(axes, [(x - D, y), (right + D, y), (right + D, row(2.1) + 0.25)], BLUE)
    box(axes, left, row(2.5), "shortcut  1×1, stride\n+ bias", width=1.85, height=0.5, fontsize=9)
    residual_branch(axes, right, 2.1)
    gradient = row(1.14)
    arrow(axes, [(left + D, row(2.5) + 0.25), (left + D, gradient), (x - 0.07, gradient)], VERMILION, dashed=True)
    arrow(axes, [(right - D, row(2.1) + 0.25), (right - D, gradient), (x + 0.32, gradient)], VERMILION, dashed=True)
    plus(axes, x + D, gradient, VERMILION)
    axes.text(right - 0.02, gradient, "they add\nat preact", fontsize=9, color=VERMILION, va="center")
    joined(axes, left, right, x, row(2.5) - 0.25, row(4.1) - 0.25)


if __name__ == "__main__":
    save(draw(), "bottleneck")
