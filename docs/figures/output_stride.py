"""Which unit of resnet_v2_50 has which stride and rate, for each output_stride; recorded while a net of that shape runs."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from drawing import GREY, INK, VERMILION, canvas, new, save
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle

import tinyresnet
from tinyresnet import ops
from tinyresnet.resnet_v2 import resnet_v2, resnet_v2_block

SIDE = 321
UNITS = (3, 4, 6, 3)
SHADE = {1: "#FFFFFF", 2: "#C6DFF2", 4: "#6FB1DE", 8: "#0072B2"}
CELL = 0.6


class Unit(NamedTuple):
    """What conv2 of a unit was called with, and the side of its output."""

    stride: int
    rate: int
    side: int


def record(output_stride: int) -> list[Unit]:
    """Runs a net one channel wide: strides, rates and sides are the same in a wide one."""
    found: list[Unit] = []

    def watching(x: Any, w: Any, stride: Any = 1, rate: Any = 1, padding: Any = "SAME") -> Any:
        y, saved = ops.conv2d_forward(x, w, stride=stride, rate=rate, padding=padding)
        if w.shape[:2] == (3, 3):
            found.append(Unit(saved.stride[0], saved.rate[0], y.shape[1]))
        return y, saved

    blocks = [resnet_v2_block(f"block{k + 1}", 1, units, 1 if k == 3 else 2) for k, units in enumerate(UNITS)]
    images = np.zeros((1, SIDE, SIDE, 3), np.float32)
    with tinyresnet.use(conv2d_forward=watching):
        resnet_v2(
            images,
            blocks,
            is_training=False,
            global_pool=False,
            output_stride=output_stride,
            variables=tinyresnet.Variables(),
        )
    return found


def draw() -> Figure:
    figure = new(11.8, 4.3)
    axes = canvas(figure, 11.8, 4.3)
    left = 1.45
    starts = [left + CELL * sum(UNITS[:k]) + 0.12 * k for k in range(4)]
    for start, units, name in zip(starts, UNITS, ("block1", "block2", "block3", "block4"), strict=True):
        axes.text(start + CELL * units / 2, 4.0, name, ha="center", weight="bold", fontsize=11)
    axes.text(0.65, 4.0, "output_stride", ha="center", weight="bold", fontsize=10)
    for row, output_stride in enumerate((32, 16, 8, 4)):
        y = 3.2 - row * 0.78
        axes.text(0.65, y + CELL / 2, str(output_stride), ha="center", va="center", fontsize=14, weight="bold")
        units = record(output_stride)
        for start, count in zip(starts, UNITS, strict=True):
            for k in range(count):
                cell(axes, start + CELL * k, y, units.pop(0))
    legend(axes)
    return figure


def cell(axes: Any, x: float, y: float, unit: Unit) -> None:
    dark = unit.rate >= 8
    axes.add_patch(Rectangle((x, y), CELL, CELL, facecolor=SHADE[unit.rate], edgecolor=GREY, linewidth=0.8))
    colour = "white" if dark else INK
    axes.text(x + CELL / 2, y + CELL * 0.64, f"rate {unit.rate}", ha="center", va="center", fontsize=8.5, color=colour)
    axes.text(
        x + CELL / 2,
        y + CELL * 0.27,
        f"{unit.side}",
        ha="center",
        va="center",
        fontsize=8.5,
        color=colour,
        weight="bold",
    )
    if unit.stride > 1:
        axes.add_patch(
            Polygon([(x + CELL, y), (x + CELL, y + 0.24), (x + CELL - 0.24, y)], facecolor=VERMILION, edgecolor="none")
        )


def legend(axes: Any) -> None:
    y = 0.25
    axes.add_patch(Polygon([(1.69, y - 0.1), (1.69, y + 0.14), (1.45, y - 0.1)], facecolor=VERMILION, edgecolor="none"))
    axes.text(1.8, y, "this unit has stride 2", va="center", fontsize=9.5)
    axes.text(4.1, y, f"bold: side of its output, for a {SIDE}×{SIDE} image", va="center", fontsize=9.5)
    axes.text(8.0, y, "the darker, the larger the rate of conv2", va="center", fontsize=9.5)


if __name__ == "__main__":
    save(draw(), "output_stride")
