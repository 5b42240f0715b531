"""Results as pictures: ours over theirs, a bar a peer; layers in a picture of their own, a bar forward and one backward."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from ..extras import require
from .options import PEERS
from .results import CaseResult

# Okabe & Ito (2008): told apart with every kind of colour vision.
COLOURS = {
    "PyTorch": "#D55E00",
    "torch.compile": "#E69F00",
    "ONNX Runtime": "#0072B2",
    "OpenVINO": "#56B4E9",
    "forward": "#0072B2",
    "backward": "#D55E00",
}
OTHER = "#57606A"
INK, PALE = "#24292F", "#DDDDDD"
LAYER, LAYER_PEER = "layer/", PEERS["pytorch"]

Groups = Mapping[str, Mapping[str, float]]  # a group's name -> a bar's name -> its length


def net_groups(results: Sequence[CaseResult]) -> Groups:
    """Everything but layers: a group a case, a bar a peer."""
    told = [result for result in results if not result.name.startswith(LAYER) and result.ratios()]
    return {result.name: {peer: ratio.value for peer, ratio in result.ratios().items()} for result in told}


def layer_groups(results: Sequence[CaseResult]) -> Groups:
    """Layers against PyTorch: a group a layer and batch, a bar forward and one backward."""
    groups: dict[str, dict[str, float]] = {}
    for result in results:
        ratio = result.ratios().get(LAYER_PEER)
        if result.name.startswith(LAYER) and ratio is not None:
            layer, _, half = result.name.removeprefix(LAYER).rpartition("/")
            groups.setdefault(layer, {})[half] = ratio.value
    return groups


def bars_png(groups: Groups, title: str, axis: str) -> bytes:
    """A PNG of horizontal bars, with a dashed line at one. Raises MissingExtra without matplotlib."""
    bars = [bar for bar in COLOURS if any(bar in group for group in groups.values())]
    bars += sorted({bar for group in groups.values() for bar in group} - set(bars))
    count = sum(map(len, groups.values()))
    size = (9.5, 1.5 + 0.2 * count + 0.14 * len(groups))
    figure = require("matplotlib.figure", "bench").Figure(figsize=size, dpi=130, layout="constrained")
    axes, places, y = figure.subplots(), [], 0.0
    for group in groups.values():
        places.append(y + (len(group) - 1) / 2)
        for bar in [bar for bar in bars if bar in group]:
            axes.barh(y, group[bar], height=0.86, color=COLOURS.get(bar, OTHER))
            box = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}  # over the dashed line
            axes.annotate(
                f"{group[bar]:.2f}",
                (group[bar], y),
                (4, 0),
                va="center",
                fontsize=8,
                color=INK,
                bbox=box,
                textcoords="offset points",
            )
            y += 1
        y += 0.6
    axes.set_yticks(places, list(groups), fontsize=9)
    axes.set_ylim(y - 0.9, -0.8)
    axes.set_xlabel(axis)
    _tidy(axes, title)
    patch = require("matplotlib.patches", "bench").Patch
    handles = [patch(color=COLOURS.get(bar, OTHER), label=bar) for bar in bars]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(bars), frameon=False)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", metadata={"Software": None}, facecolor="white")
    return picture.getvalue()


def _tidy(axes: Any, title: str) -> None:
    axes.axvline(1, color=INK, linewidth=1, linestyle="--", zorder=2)
    axes.margins(x=0.08)
    axes.set_xlim(left=0)
    axes.set_title(title, fontsize=10, loc="left")
    axes.grid(axis="x", color=PALE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
