"""Pictures of a training run: its curves, and the mistakes it was surest of. Knows arrays, not networks; needs matplotlib."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .backend import Array
from .extras import require

# Okabe & Ito (2008): told apart with every kind of colour vision. The line style says it a second time.
BLUE, VERMILION = "#0072B2", "#D55E00"
COLUMNS = 6  # mistakes side by side


class Mistake(NamedTuple):
    """One picture that was taken for something else."""

    image: Array  # [H, W], or [H, W, 1], or [H, W, 3]
    label: int  # what it is
    predicted: int  # what it was taken for
    probability: float  # how sure of that, 0 to 1


def surest_mistakes(images: Array, labels: Array, probabilities: Array, count: int = 12) -> list[Mistake]:
    """The wrong predictions of highest probability, the surest first; fewer than `count` if there are not so many.

    images [N, H, W, C], labels [N] integers, probabilities [N, K] (rows of a softmax). NumPy arrays. Raises ValueError.
    """
    if len(images) != len(labels) or probabilities.shape[:1] != labels.shape or probabilities.ndim != 2:
        raise ValueError(
            "images [N, H, W, C], labels [N] and probabilities [N, K] must be of the same N, "
            f"but have shapes {list(images.shape)}, {list(labels.shape)}, {list(probabilities.shape)}"
        )
    predicted, sureness = probabilities.argmax(-1), probabilities.max(-1)
    wrong = np.flatnonzero(predicted != labels)
    wrong = wrong[np.argsort(-sureness[wrong], kind="stable")][:count]
    return [Mistake(images[i], int(labels[i]), int(predicted[i]), float(sureness[i])) for i in wrong]


def save_training_picture(
    path: str | Path,
    *,
    losses: Sequence[float],
    train_accuracies: Sequence[float],
    test_accuracies: Sequence[float],
    mistakes: Sequence[Mistake],
    class_names: Sequence[str],
    title: str = "",
) -> None:
    """Writes one PNG: the loss and the accuracies epoch by epoch, and below them the mistakes with their names.

    losses, train_accuracies, test_accuracies: one number an epoch, all of the same length; accuracies from 0 to 1.
    mistakes: as `surest_mistakes` returns them, none to any number; class_names: the name of each label.
    Folders on the way are made; an older picture of that name is replaced. Raises MissingExtra without matplotlib, ValueError.
    """
    if not len(losses) == len(train_accuracies) == len(test_accuracies) > 0:
        raise ValueError(
            "losses, train_accuracies and test_accuracies must have one number for each of the same epochs, "
            f"but have {len(losses)}, {len(train_accuracies)} and {len(test_accuracies)}"
        )
    rows = -(-len(mistakes) // COLUMNS)
    # A Figure of its own, without pyplot: no window, and nothing of the caller's matplotlib is touched.
    figure = require("matplotlib.figure", "plot").Figure(figsize=(11, 4.2 + 2.3 * rows), dpi=120, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.1)  # inches
    heights = [4.2, 2.3 * rows] if rows else [4.2]
    parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    if title:
        figure.suptitle(title, fontsize=14)
    loss_axes, accuracy_axes = parts[0].subplots(1, 2)
    _draw_loss(loss_axes, losses)
    _draw_accuracies(accuracy_axes, train_accuracies, test_accuracies)
    if rows:
        _draw_mistakes(parts[1], rows, mistakes, class_names)

    picture = io.BytesIO()  # drawn in memory first: a run that fails here leaves no half of a file
    figure.savefig(picture, format="png")
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(picture.getvalue())


def _draw_loss(axes: Any, losses: Sequence[float]) -> None:
    axes.plot(range(1, len(losses) + 1), losses, color=BLUE, marker="o", markersize=4)
    axes.set(title="loss while training", xlabel="epoch", ylabel="cross-entropy")
    axes.set_ylim(bottom=0)
    _tidy(axes)


def _draw_accuracies(axes: Any, train: Sequence[float], test: Sequence[float]) -> None:
    epochs = range(1, len(train) + 1)
    axes.plot(epochs, train, color=BLUE, marker="o", markersize=4, label=f"train, last {train[-1]:.3f}")
    axes.plot(
        epochs, test, color=VERMILION, marker="s", markersize=4, linestyle="--", label=f"test, last {test[-1]:.3f}"
    )
    axes.set(title="accuracy", xlabel="epoch", ylabel="share of pictures named right")
    axes.set_ylim(top=1)
    axes.legend(loc="best", edgecolor="none", framealpha=1)
    _tidy(axes)


def _tidy(axes: Any) -> None:
    axes.xaxis.set_major_locator(require("matplotlib.ticker", "plot").MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_mistakes(part: Any, rows: int, mistakes: Sequence[Mistake], class_names: Sequence[str]) -> None:
    part.suptitle("The mistakes it was surest of: what it said, and what the picture is", fontsize=12)
    for axes in (cells := part.subplots(rows, COLUMNS, squeeze=False).ravel()):
        axes.set_axis_off()
    for axes, mistake in zip(cells, mistakes, strict=False):
        image = np.squeeze(mistake.image, -1) if mistake.image.shape[-1] == 1 else mistake.image
        axes.imshow(image, cmap="gray_r", interpolation="nearest")  # dark on white, as printed
        said, truth = class_names[mistake.predicted], class_names[mistake.label]
        axes.set_title(f"said {said}, {mistake.probability:.0%}\nis {truth}", fontsize=9)
