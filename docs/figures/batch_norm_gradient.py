"""The three terms of batch norm's dx for one channel of eight values: under an upstream gradient of ones, and under a random one."""

from __future__ import annotations

import numpy as np
from drawing import BLUE, GREEN, INK, ORANGE, VERMILION, new, save
from matplotlib.figure import Figure

from tinyresnet import ops

VALUES = 8
TERMS = ("dy", "− mean(dy)", "− xhat · mean(dy · xhat)", "sum · gamma · inv_std = dx")
COLOURS = (BLUE, ORANGE, GREEN, VERMILION)


def terms(x: np.ndarray, dy: np.ndarray) -> list[np.ndarray]:
    """Four rows of [VALUES]: the terms, and dx as the op itself gives it."""
    _, saved = ops.batch_norm_forward(x, np.ones(1), np.zeros(1))
    xhat = (x - saved.mean) * saved.inv_std
    dx, _, _ = ops.batch_norm_backward(dy, saved)
    parts = [dy, -dy.mean(0) + 0 * dy, -xhat * (dy * xhat).mean(0)]
    np.testing.assert_allclose(sum(parts) * saved.inv_std, dx, atol=1e-12)
    return [part[:, 0] for part in (*parts, dx)]


def draw() -> Figure:
    rng = np.random.default_rng(4)
    x, dy = rng.standard_normal((VALUES, 1)), rng.standard_normal((VALUES, 1))
    figure = new(11, 4.4, layout="constrained")
    axes = figure.subplots(2, 4, sharey=True, sharex=True)
    for row, name, upstream in ((0, "dy = ones", np.ones_like(dy)), (1, "dy random", dy)):
        for k, values in enumerate(terms(x, upstream)):
            panel = axes[row, k]
            panel.bar(range(VALUES), values, color=COLOURS[k], width=0.7)
            panel.axhline(0, color=INK, linewidth=0.8)
            panel.set_xticks([])
            panel.spines["bottom"].set_visible(False)
            if not np.abs(values).max() > 1e-9:
                panel.text(
                    (VALUES - 1) / 2, 0.35, "all zero", ha="center", fontsize=11, color=COLOURS[k], weight="bold"
                )
            if row == 0:
                panel.set_title(TERMS[k], fontsize=11)
        axes[row, 0].set_ylabel(name, fontsize=12, weight="bold")
    return figure


if __name__ == "__main__":
    save(draw(), "batch_norm_gradient")
