"""Pictures of a training run: curves, confusion, mistakes, filters, maps. Knows arrays, not networks; needs matplotlib.

`save_training_picture` is one PNG with words in it. The other functions return the bytes of a PNG that has numbers and no words:
whoever shows it says the words beside it, in any language.
"""

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
GREY, PALE = "#57606A", "#DDDDDD"
COLUMNS = 6  # mistakes side by side
EMBER, GLOW = np.array([200.0, 60, 0]), np.array([255.0, 215, 0])  # where a heat map is weak, and where it is strongest
NAMED = 24  # so many classes are named beside a confusion matrix; of more, some are numbered
LONGEST = 14  # letters of a class's name there


class Line(NamedTuple):
    """A line of a chart."""

    x: Sequence[float]
    y: Sequence[float]
    style: str  # a key of STYLES


STYLES: dict[str, dict[str, Any]] = {
    "train": {"color": BLUE, "linewidth": 2},
    "test": {"color": VERMILION, "linewidth": 2, "linestyle": "--", "marker": "s", "markersize": 4},
    "faint": {"color": BLUE, "linewidth": 0.8, "alpha": 0.35},
}


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


# ---- charts without words ------------------------------------------------------------------------------------------------
def chart_png(lines: Sequence[Line], *, bottom: float | None = None, top: float | None = None) -> bytes:
    """A PNG of lines over integers (steps, epochs). Values that are no number leave a gap; limits: None fits them to the lines."""
    figure = _figure(6.2, 2.9, layout=None)  # finding the margins would take longer than drawing the chart
    axes = figure.add_axes((0.1, 0.1, 0.89, 0.87))
    for line in lines:
        style = STYLES[line.style]
        there = np.isfinite(line.y)
        alone = (
            {"marker": "o", "markersize": 4} if there.sum() == 1 and "marker" not in style else {}
        )  # no line has one end
        axes.plot(line.x, np.where(there, line.y, np.nan), **style, **alone)
    if bottom is not None or top is not None:
        axes.set_ylim(bottom=bottom, top=top)
    axes.margins(x=0.02)
    axes.tick_params(labelsize=11)
    _tidy(axes)
    return _png(figure)


def confusion_png(confusion: Array, class_names: Sequence[str]) -> bytes:
    """Rows what a picture is, columns what it was taken for; each row's shares are the shades. confusion [K, K] counts.

    Up to 24 classes are named (cut to 14 letters; one that the font cannot write has its number), of more some are numbered.
    """
    k = len(confusion)
    shares = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    named = k <= NAMED
    ticks = range(k) if named else range(0, k, max(1, k // 10))
    labels = [drawable(class_names[i], i) if named else str(i) for i in ticks]
    room = 0.2 + 0.095 * max(map(len, labels))  # inches for the names: measuring them takes longer than all the rest
    side = max(2.2, 0.4 * k) if named else 7.5
    figure = _figure(side + room + 0.1, side + room + 0.1, layout=None)
    share = 1 / (side + room + 0.1)
    axes = figure.add_axes((room * share, room * share, side * share, side * share))
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    axes.set_xticks(ticks, labels, rotation=90 if max(map(len, labels)) > 3 else 0, parse_math=False)
    axes.set_yticks(ticks, labels, parse_math=False)
    axes.tick_params(labelsize=10, length=0)
    axes.spines[:].set_visible(False)
    if named:
        for row, column in zip(*np.nonzero(confusion), strict=True):
            ink = "white" if shares[row, column] > 0.5 else "black"
            text = f"{confusion[row, column]}" if confusion[row, column] < 10000 else f"{shares[row, column]:.2f}"
            axes.text(column, row, text, ha="center", va="center", fontsize=9, color=ink)
    return _png(figure)


def drawable(name: str, number: int) -> str:
    """A class's name as matplotlib's own font can write it, on one line and cut to 14 letters; else its number."""
    one_line = " ".join(name.split())
    glyphs = require("matplotlib.font_manager", "plot").get_font(_font_file()).get_charmap()
    if not one_line or any(ord(letter) not in glyphs for letter in one_line):
        return str(number)
    return one_line if len(one_line) <= LONGEST else one_line[: LONGEST - 1] + "…"


def _font_file() -> str:
    return str(require("matplotlib.font_manager", "plot").findfont("DejaVu Sans"))  # it comes with matplotlib


def ruler_png(rows: Sequence[tuple[int, Sequence[float], Sequence[float]]]) -> bytes:
    """Rulers one below the other: (pixels of the ruler, places marked below it, places marked on it) each."""
    longest = max(pixels for pixels, _, _ in rows)
    figure = _figure(9, 0.75 * len(rows) + 0.3, layout=None)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set(xlim=(-2, longest + 1), ylim=(-len(rows) + 0.4, 0.65))
    for row, (pixels, below, on) in enumerate(rows):
        axes.plot([0, pixels - 1], [-row, -row], color=PALE, linewidth=1, zorder=0)
        axes.plot(range(pixels), [-row] * pixels, "|", color=GREY, markersize=7, markeredgewidth=1)
        axes.plot(below, [-row - 0.3] * len(below), "^", color=BLUE, markersize=8)
        axes.plot(on, [-row] * len(on), "o", color=VERMILION, markersize=8)
        for place in sorted({0, pixels - 1}):
            axes.text(place, -row + 0.25, str(place), ha="center", va="bottom", fontsize=11)
    return _png(figure)


def _figure(width: float, height: float, layout: str | None = "constrained") -> Any:
    return require("matplotlib.figure", "plot").Figure(figsize=(width, height), dpi=130, layout=layout)


def _png(figure: Any) -> bytes:
    picture = io.BytesIO()
    # Without the version of matplotlib in it: the same chart is the same file.
    figure.savefig(picture, format="png", metadata={"Software": None}, facecolor="white")
    return picture.getvalue()


# ---- pictures without words ----------------------------------------------------------------------------------------------
def pixels_png(image: Array, *, at_least: int = 160) -> bytes:
    """A PNG of one picture uint8 [H, W], [H, W, 1] or [H, W, 3], each pixel a square, so that the shorter side is `at_least`."""
    factor = max(1, -(-at_least // min(image.shape[:2])))
    rgb = np.repeat(np.repeat(as_rgb(image), factor, 0), factor, 1)
    picture = io.BytesIO()
    require("PIL.Image", "plot").fromarray(rgb).save(picture, format="PNG")
    return picture.getvalue()


def as_rgb(image: Array) -> Array:
    """uint8 [H, W], [H, W, 1] or [H, W, 3] -> [H, W, 3]; of other channels the first."""
    if image.ndim == 3 and image.shape[-1] == 3:
        return np.ascontiguousarray(image)
    grey = image if image.ndim == 2 else image[..., 0]
    return np.repeat(grey[..., None], 3, -1)


def tiles(maps: Array, columns: int, gap: int = 1) -> Array:
    """uint8 maps [n, h, w, 3] -> one picture of them, `columns` side by side, white between them."""
    n, h, w, _ = maps.shape
    rows = -(-n // columns)
    sheet = np.full((rows * (h + gap) - gap, columns * (w + gap) - gap, 3), 255, np.uint8)
    for i, tile in enumerate(maps):
        y, x = (i // columns) * (h + gap), (i % columns) * (w + gap)
        sheet[y : y + h, x : x + w] = tile
    return sheet


def shaded(values: Array, *, signed: bool = False) -> Array:
    """Numbers -> uint8 RGB. signed: zero is white, below it blue, above it red; else from dark (0 or less) to bright (the largest)."""
    largest = float(np.abs(values).max(initial=0)) or 1.0
    scaled = (values / largest + 1) / 2 if signed else np.maximum(values, 0) / largest
    colours = require("matplotlib", "plot").colormaps["RdBu_r" if signed else "viridis"]
    rgb: Array = np.asarray(colours(scaled)[..., :3] * 255, np.uint8)
    return rgb


def heat_over(image: Array, heat: Array) -> Array:
    """A heat map [H, W], >= 0, as a glow from red to yellow over the picture uint8 [H, W, C] in dark grey -> uint8 [H, W, 3]."""
    grey = 0.75 * np.repeat(as_rgb(image).mean(-1, keepdims=True), 3, -1)
    share = (heat / (float(heat.max()) or 1.0))[..., None]  # 0 to 1: how much of the glow, and of which colour
    glow = EMBER + share * (GLOW - EMBER)
    return np.asarray(np.rint(grey + 0.8 * share * (glow - grey)), np.uint8)


# ---- the parts of the training picture -----------------------------------------------------------------------------------
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
    axes.grid(color=PALE, linewidth=0.6)
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
