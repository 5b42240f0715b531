"""The size of the gradient on its way back through 24 units: with an identity shortcut, with half of one, with none."""

from __future__ import annotations

from typing import Any

import numpy as np
from drawing import BLUE, ORANGE, VERMILION, new, save
from matplotlib.figure import Figure

import tinyresnet
from tinyresnet import ops
from tinyresnet.resnet_utils import Block, resnet_arg_scope, stack_blocks_dense
from tinyresnet.slim import arg_scope, batch_norm, conv2d, pullback, relu, variable_scope

UNITS, CHANNELS, SEEDS = 24, 16, 3


def sizes(shortcut: float, seed: int) -> list[float]:
    """Root mean square of d(output) of each unit, the last unit first, and of d(inputs) of the first."""
    found: list[float] = []

    def unit(inputs: Any, stride: int = 1, rate: int = 1) -> Any:
        with variable_scope(None, "unit"):
            preact, preact_back = batch_norm(inputs, activation_fn=relu, scope="preact")
            residual, conv1_back = conv2d(preact, CHANNELS, 3, scope="conv1")
            residual, conv2_back = conv2d(residual, CHANNELS, 3, normalizer_fn=None, activation_fn=None, scope="conv2")
            output = ops.add(shortcut * inputs, residual)

            def back(d_output: Any) -> Any:
                found.append(float(np.sqrt((d_output**2).mean())))
                return ops.add(preact_back(conv1_back(conv2_back(d_output))), shortcut * d_output)

            return output, pullback(back, output)

    rng = np.random.default_rng(seed)
    images = rng.standard_normal((8, 8, 8, CHANNELS))
    with variable_scope("net", variables=tinyresnet.Variables(seed=seed)), arg_scope(resnet_arg_scope()):
        net, back = stack_blocks_dense(images, [Block("block1", unit, [{"stride": 1}] * UNITS)])
        d_images = back(rng.standard_normal(net.shape))
    return [*found, float(np.sqrt((d_images**2).mean()))]


def draw() -> Figure:
    figure = new(8.6, 4.4, layout="constrained")
    axes = figure.subplots()
    passed = np.arange(UNITS + 1)
    for shortcut, label, colour, marker, line in (
        (0.0, "no shortcut: residual branch alone", VERMILION, "s", "--"),
        (0.5, "shortcut × 0.5", ORANGE, "^", "-."),
        (1.0, "identity shortcut", BLUE, "o", "-"),
    ):
        mean = np.exp(np.mean([np.log(sizes(shortcut, seed)) for seed in range(SEEDS)], axis=0))
        axes.plot(passed, mean, color=colour, marker=marker, markersize=5, linestyle=line, label=label)
    axes.set(yscale="log", ylim=(0.5, 6e3), ylabel="size of the gradient (rms)")
    axes.set(xlim=(-0.5, UNITS + 0.5), xlabel="units that the gradient has passed, from the last to the first")
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
    axes.legend(frameon=False, loc="upper left")
    return figure


if __name__ == "__main__":
    save(draw(), "identity_path")
