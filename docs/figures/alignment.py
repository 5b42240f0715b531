"""Where on the image the pixels of the last feature map are centred: 224 against 225 = 32*7 + 1."""

from __future__ import annotations

from typing import Any

import numpy as np
from drawing import BLUE, GREY, INK, PALE, VERMILION, canvas, new, save
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from tinyresnet.ops.windows import same_pads


def centres(side: int) -> np.ndarray:
    """The image position of the middle of each output pixel of resnet_v2_50, along one axis: through every layer with a stride.

    Output p of a layer is centred on input p * stride - before + (kernel - 1) / 2.
    """
    layers = [
        ("conv2d_same", 7),
        ("max_pool2d SAME", 3),
        *[("conv2d_same", 3)] * 3,
    ]  # conv1, pool1, the last units of block1, 2, 3
    scale, shift, size = 1.0, 0.0, side
    for kind, kernel in layers:
        before = (kernel - 1) // 2 if kind == "conv2d_same" else same_pads(size, kernel, 2)[0]
        shift += scale * ((kernel - 1) / 2 - before)
        scale, size = scale * 2, -(-size // 2)
    return shift + scale * np.arange(size)


def draw() -> Figure:
    figure = new(10.9, 3.4)
    axes = canvas(figure, 10.9, 3.4)
    for y, side, colour in ((2.35, 224, VERMILION), (0.62, 225, BLUE)):
        strip(axes, y, side, centres(side), colour)
    return figure


def strip(axes: Any, y: float, side: int, positions: np.ndarray, colour: str) -> None:
    left, width = 1.3, 8.2
    unit = width / 225

    def at(pixel: float) -> float:
        return left + (pixel + 0.5) * unit

    axes.text(0.62, y + 0.35, f"{side}", ha="center", va="center", fontsize=17, weight="bold", color=colour)
    axes.text(
        0.62, y - 0.02, f"→ {len(positions)}×{len(positions)}", ha="center", va="center", fontsize=11, color=colour
    )
    axes.add_patch(Rectangle((left, y), side * unit, 0.55, facecolor=PALE, edgecolor=INK))
    for pixel in positions:
        axes.plot([at(pixel)], [y + 0.275], marker="o", markersize=12, color=colour)
        axes.text(at(pixel), y + 0.68, f"{pixel:g}", ha="center", fontsize=10, color=colour, weight="bold")
    first, last = positions[0], side - 1 - positions[-1]
    for start, end, gap in ((0, positions[0], first), (positions[-1], side - 1, last)):
        text = f"{gap:g} pixels" if gap else "0: on the corner"
        axes.annotate(
            "",
            (at(start), y - 0.14),
            (at(end), y - 0.14),
            arrowprops={"arrowstyle": "<->" if gap > 5 else "-", "color": GREY},
        )
        axes.text((at(start) + at(end)) / 2, y - 0.4, text, ha="center", fontsize=9.5, color=INK)
    axes.text(at(224) + 0.3, y + 0.275, f"last pixel: {side - 1}", ha="left", va="center", fontsize=9, color=GREY)


if __name__ == "__main__":
    save(draw(), "alignment")
