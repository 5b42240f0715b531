"""The roofline of the machine that was measured, and where the layers of resnet_v2_50 lie. Numbers: speed_measured.json."""

from __future__ import annotations

from typing import Any

import numpy as np
from drawing import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, VERMILION, new, save
from matplotlib.figure import Figure
from speed_ladder import measured

STYLES = {
    "1x1 convolution": (ORANGE, "o"),
    "3x3 convolution": (BLUE, "^"),
    "3x3 convolution, stride 2": (GREEN, "s"),
    "7x7 convolution, stride 2": (PURPLE, "D"),
    "batch norm, ReLU": (VERMILION, "v"),
    "max pool": (GREY, "P"),
    "residual addition": (INK, "X"),
}


def draw() -> Figure:
    roof = measured()["roofline"]
    figure = new(8.8, 5.2, layout="constrained")
    axes = figure.subplots()
    slope_and_roof(axes, roof["peak"], roof["bandwidth"])
    for kind, (colour, marker) in STYLES.items():
        points = [(intensity, gflops) for name, _, intensity, gflops in roof["points"] if name == kind]
        label = kind.replace("x", "×", 1) if kind[0].isdigit() else kind
        if kind == "3x3 convolution":
            label += " (Winograd)"
        axes.scatter(
            *zip(*points, strict=True),
            color=colour,
            marker=marker,
            s=46,
            label=label,
            zorder=3,
            edgecolor="white",
            linewidth=0.6,
        )
    axes.set(xscale="log", yscale="log", xlim=(0.05, 1000), ylim=(1, 1300))
    axes.set(
        xlabel="FLOP a byte of maps and weights, each counted once", ylabel="GFLOP/s, counted as a direct convolution's"
    )
    axes.grid(color="#E5E5E5", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, loc="lower right", fontsize=9)
    return figure


def slope_and_roof(axes: Any, peak: float, bandwidth: float) -> None:
    corner = peak / bandwidth
    x = np.array([0.01, corner, 1e4])
    axes.plot(x, np.minimum(x * bandwidth, peak), color=INK, linewidth=2)
    axes.text(0.07, peak * 1.12, f"peak {peak:.0f} GFLOP/s", fontsize=10)
    axes.text(0.55, 0.55 * bandwidth * 0.42, f"memory {bandwidth:.0f} GB/s", fontsize=10)
    axes.axvline(corner, color=GREY, linewidth=0.8, linestyle=":")
    axes.text(corner * 1.08, 1.15, f"{corner:.1f}", fontsize=9, color=GREY)


if __name__ == "__main__":
    save(draw(), "speed_roofline")
