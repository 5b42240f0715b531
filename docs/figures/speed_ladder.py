"""What each technique bought: one bottleneck unit, the same numbers, rung by rung. Numbers: speed_measured.json."""

from __future__ import annotations

import json
from typing import Any

from drawing import BLUE, FOLDER, GREEN, GREY, INK, ORANGE, VERMILION, new, save
from matplotlib.figure import Figure

COLOURS = {"loops": GREY, "the l": GREY, "im2co": VERMILION, "our m": ORANGE, "Winog": BLUE}


def measured() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / "speed_measured.json").read_text(encoding="utf-8"))
    return found


def rungs(data: dict[str, Any]) -> dict[str, float]:
    """ms an image for the unit; the loops' by their GFLOP/s in the small layer."""
    cases = {name.split("/")[1]: rows for name, rows in data["ladder"].items()}
    unit = cases["unit"]
    first = next(iter(unit.values()))
    gflop = first["ms"] * first["gflops"]
    loops = {name: gflop / one["gflops"] for name, one in cases["loops"].items() if "loops" in name}
    return loops | {name: one["ms"] for name, one in unit.items()}


def draw() -> Figure:
    data = measured()
    found = rungs(data)
    figure = new(8.8, 4.6, layout="constrained")
    axes = figure.subplots()
    for y, (name, ms) in enumerate(found.items()):
        axes.barh(y, ms, color=COLOURS.get(name[:5], GREEN), height=0.7)
        time = f"{ms / 1e3:.0f} s" if ms >= 1e4 else f"{ms:.0f} ms" if ms >= 100 else f"{ms:.1f} ms"
        axes.text(ms * 1.12, y, time, va="center", fontsize=10, color=INK)
    names = [name.replace("2x2", "2×2").replace("4x4", "4×4") for name in found]
    axes.set_yticks(range(len(found)), names)
    axes.invert_yaxis()
    axes.set(xscale="log", xlim=(1, max(found.values()) * 5), xlabel="ms an image (logarithmic)")
    machine = data["machine"]
    axes.set_title(
        f"bottleneck unit 56×56×256, {machine['processor']}, {machine['threads']} threads, float32", fontsize=10
    )
    axes.grid(axis="x", color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    return figure


if __name__ == "__main__":
    save(draw(), "speed_ladder")
