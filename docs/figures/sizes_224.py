"""Feature maps of resnet_v2_50 on a 224x224 image: their side, the numbers they hold, and the weights of each unit."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from drawing import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, VERMILION, new, save
from matplotlib.figure import Figure

import tinyresnet
from tinyresnet.resnet_v2 import resnet_v2_50

SIDE = 224
COLOURS = {
    "images": GREY,
    "conv1": INK,
    "pool1": INK,
    "block1": BLUE,
    "block2": GREEN,
    "block3": ORANGE,
    "block4": PURPLE,
    "pool5": GREY,
}


class Stage(NamedTuple):
    """One bar."""

    part: str  # "block1"
    label: str  # "unit_3"
    side: int
    channels: int
    weights: int


def stages() -> list[Stage]:
    """Read off a run of the net itself."""
    variables = tinyresnet.Variables()
    images = np.zeros((1, SIDE, SIDE, 3), np.float32)
    _, end_points, _ = resnet_v2_50(images, 1000, is_training=False, variables=variables)

    def weights(prefix: str) -> int:
        return sum(variables[name].size for name in variables.trainable if name.startswith(f"resnet_v2_50/{prefix}/"))

    found = [
        Stage("images", "images", SIDE, 3, 0),
        Stage("conv1", "conv1", end_points["resnet_v2_50/conv1"].shape[1], 64, weights("conv1")),
    ]
    entering = end_points["resnet_v2_50/block1/unit_1/bottleneck_v2/conv1"].shape[1]  # unit_1 sees what pool1 gives
    found.append(Stage("pool1", "pool1", entering, 64, 0))
    for name, output in end_points.items():
        parts = name.split("/")
        if parts[-1] == "bottleneck_v2":
            found.append(Stage(parts[1], parts[2], output.shape[1], output.shape[3], weights(f"{parts[1]}/{parts[2]}")))
    return [*found, Stage("pool5", "pool5", *end_points["global_pool"].shape[2:], 0)]


def draw() -> Figure:
    found = stages()
    figure = new(10.5, 6.6, layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
    x = np.arange(len(found))
    top.bar(x, [s.side for s in found], color=[COLOURS[s.part] for s in found], width=0.72)
    for k, s in enumerate(found):
        top.text(k, s.side + 4, str(s.side), ha="center", fontsize=10, weight="bold")
        top.text(k, s.side + 19, f"×{s.channels}", ha="center", fontsize=8, color=INK)
        if k and s.side < found[k - 1].side and s.part.startswith("block"):
            top.annotate("stride 2", (k, s.side + 34), (k, s.side + 68), ha="center", fontsize=8, color=VERMILION,
                         arrowprops={"arrowstyle": "-|>", "color": VERMILION})  # fmt: skip
    top.set(ylabel="side of the map, pixels   (× channels)", ylim=(0, 258))
    for part in ("block1", "block2", "block3", "block4"):
        where = [k for k, s in enumerate(found) if s.part == part]
        top.text(np.mean(where), 178, part, ha="center", fontsize=11, color=INK, weight="bold")
        top.plot([where[0] - 0.4, where[-1] + 0.4], [172, 172], color=COLOURS[part], linewidth=3)
    numbers = [s.side**2 * s.channels for s in found]
    bottom.plot(x, numbers, color=BLUE, marker="o", markersize=5, label="numbers in the map, one image")
    held = [(k, s.weights) for k, s in enumerate(found) if s.weights]
    bottom.plot(
        [k for k, _ in held],
        [w for _, w in held],
        color=VERMILION,
        marker="s",
        markersize=5,
        linestyle="--",
        label="trained numbers in the unit",
    )
    bottom.set(yscale="log", ylim=(1e3, 1.4e7))
    bottom.grid(axis="y", color="#DDDDDD", linewidth=0.6)
    bottom.legend(frameon=False, loc="lower center", ncols=2)
    bottom.set_xticks(x, [s.label for s in found], rotation=50, ha="right", rotation_mode="anchor")
    top.tick_params(axis="x", length=0)
    return figure


if __name__ == "__main__":
    save(draw(), "sizes_224")
