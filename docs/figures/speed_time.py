"""Where the time of resnet_v2_50 goes, by kind of op: frozen inference, and a training step. Numbers: speed_measured.json."""

from __future__ import annotations

from typing import Any

from drawing import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION, new, save
from matplotlib.figure import Figure
from speed_ladder import measured

GROUPS = {
    "1×1": (("1x1 convolution",), ORANGE),
    "3×3": (("3x3 convolution",), BLUE),
    "3×3, stride 2": (("3x3 convolution, stride 2",), SKY),
    "7×7": (("7x7 convolution, stride 2",), PURPLE),
    "batch norm, ReLU": (("batch norm, ReLU",), VERMILION),
    "addition, bias, pools, shortcuts": (
        ("residual addition", "bias", "max pool", "subsampled shortcut", "global mean"),
        GREEN,
    ),
    "between the ops": (("between the ops",), GREY),
}


def of_kind(rows: dict[str, Any], kinds: tuple[str, ...], halves: tuple[str, ...]) -> float:
    return float(sum(rows.get(kind + half, {}).get("ms", 0.0) for kind in kinds for half in halves))


def draw() -> Figure:
    time = measured()["time"]
    figure = new(9.4, 3.4, layout="constrained")
    axes = figure.subplots()
    bars = (("frozen", time["frozen"], ("",)), ("training", time["training"], ("", ", forward", ", backward")))
    for y, (_, rows, halves) in enumerate(bars):
        left, whole = 0.0, rows["together"]["ms"]
        for label, (kinds, colour) in GROUPS.items():
            share = of_kind(rows, kinds, halves) / whole
            axes.barh(y, share, left=left, color=colour, height=0.62, edgecolor="white", label=label if y else None)
            if share > 0.03:
                axes.text(left + share / 2, y, f"{share:.0%}", ha="center", va="center", color="white", weight="bold")
            left += share
    axes.set_yticks([0, 1], [f"{name}\n{rows['together']['ms']:.0f} ms an image" for name, rows, _ in bars])
    axes.invert_yaxis()
    axes.set(xlim=(0, 1), xlabel="share of the time")
    axes.legend(frameon=False, ncols=4, loc="upper center", bbox_to_anchor=(0.45, -0.22), fontsize=9)
    return figure


if __name__ == "__main__":
    save(draw(), "speed_time")
