"""The pictures of a training run: the right mistakes, files that decode, no text on other text, names of every kind."""

from __future__ import annotations

import io
import math
import struct
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinyresnet.data import FASHION_MNIST_CLASSES
from tinyresnet.extras import MissingExtra
from tinyresnet.plotting import (
    Line,
    Mistake,
    chart_png,
    confusion_png,
    drawable,
    heat_over,
    pixels_png,
    ruler_png,
    save_training_picture,
    shaded,
    surest_mistakes,
    tiles,
)


def mistakes(count: int, channels: tuple[int, ...] = (1,)) -> list[Mistake]:
    rng = np.random.default_rng(0)
    # Class 9 and class 0 have the longest names.
    return [
        Mistake(rng.integers(0, 256, (28, 28, *channels), np.uint8), 9 * (i % 2), 9 - 9 * (i % 2), 1.0)
        for i in range(count)
    ]


def save(
    path: Path, *, epochs: int = 12, shown: list[Mistake] | None = None, names: Any = FASHION_MNIST_CLASSES
) -> None:
    losses = [1 / (1 + epoch) for epoch in range(epochs)]
    save_training_picture(
        path,
        losses=losses,
        train_accuracies=[1 - loss / 2 for loss in losses],
        test_accuracies=[0.9 - loss / 2 for loss in losses],
        mistakes=mistakes(12) if shown is None else shown,
        class_names=names,
        title="a small ResNet v2 in plain NumPy, seed 0: test accuracy 0.8800",
    )


def test_the_surest_mistakes_come_first() -> None:
    images = np.arange(5)[:, None, None, None] * np.ones((5, 2, 2, 1))
    labels = np.array([0, 1, 2, 0, 1])
    probabilities = np.array([[0.9, 0.1, 0], [0.6, 0.4, 0], [0.2, 0.7, 0.1], [0, 0, 1], [0.3, 0.4, 0.3]])
    found = surest_mistakes(images, labels, probabilities)
    assert [(m.label, m.predicted, m.probability) for m in found] == [(0, 2, 1.0), (2, 1, 0.7), (1, 0, 0.6)]
    assert [m.image[0, 0, 0] for m in found] == [3, 2, 1]
    assert len(surest_mistakes(images, labels, probabilities, count=2)) == 2
    assert surest_mistakes(images[:1], labels[:1], probabilities[:1]) == []


def test_arrays_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"of the same N.*\[3, 2, 2, 1\], \[4\], \[4, 2\]"):
        surest_mistakes(np.zeros((3, 2, 2, 1)), np.zeros(4, int), np.zeros((4, 2)))


@pytest.mark.parametrize(("epochs", "count"), [(1, 0), (2, 1), (12, 7)])
def test_the_picture_decodes(epochs: int, count: int, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    image = pytest.importorskip("PIL.Image")
    path = tmp_path / "new" / "folder" / "training.png"
    save(path, epochs=epochs, shown=mistakes(count))
    with image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    assert pixels.shape[1] == 1320
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20, "an empty picture"


@pytest.mark.parametrize("channels", [(), (1,), (3,)])
def test_grey_and_colour(channels: tuple[int, ...], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    save(tmp_path / "training.png", shown=mistakes(2, channels))
    assert (tmp_path / "training.png").stat().st_size > 0


def overlaps(monkeypatch: pytest.MonkeyPatch, path: Path, names: Any) -> list[tuple[str, str]]:
    """The pairs of texts whose boxes meet, and the texts that leave the picture."""
    text = pytest.importorskip("matplotlib.text").Text
    drawn: dict[int, Any] = {}
    draw = text.draw
    monkeypatch.setattr(text, "draw", lambda self, renderer: (drawn.update({id(self): self}), draw(self, renderer)))
    save(path, names=names)
    boxes = [(t.get_text(), t.get_window_extent()) for t in drawn.values() if t.get_visible() and t.get_text()]
    assert len(boxes) > 20
    width, height = struct.unpack(">II", path.read_bytes()[16:24])  # of a PNG's header
    outside = [(name, "the edge") for name, b in boxes if b.x0 < 0 or b.y0 < 0 or b.x1 > width or b.y1 > height]
    return outside + [(a, b) for (a, box), (b, other) in combinations(boxes, 2) if box.overlaps(other)]


def test_no_text_lies_on_another(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert overlaps(monkeypatch, tmp_path / "training.png", FASHION_MNIST_CLASSES) == []


def test_planted_mistake_names_too_long_are_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert overlaps(monkeypatch, tmp_path / "training.png", ["a name that goes on and on and on and on"] * 10)


@pytest.mark.parametrize(("losses", "accuracies"), [(0, 0), (3, 2)])
def test_curves_of_different_lengths_are_refused(losses: int, accuracies: int, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"the same epochs, but have {losses}, {losses} and {accuracies}"):
        save_training_picture(
            tmp_path / "training.png",
            losses=[1.0] * losses,
            train_accuracies=[0.5] * losses,
            test_accuracies=[0.5] * accuracies,
            mistakes=[],
            class_names=[],
        )
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib_one_line_says_what_brings_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(
        MissingExtra, match=r'^this needs matplotlib, which is not installed: pip install "tinyresnet\[plot\]"$'
    ):
        save(tmp_path / "training.png")
    assert list(tmp_path.iterdir()) == []


def test_importing_plotting_does_not_import_matplotlib() -> None:
    code = "import sys, tinyresnet.plotting; sys.exit(any(name.startswith('matplotlib') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ---- charts and pictures without words ----------------------------------------------------------------------------------
def decoded(png: bytes) -> np.ndarray:
    with pytest.importorskip("PIL.Image").open(io.BytesIO(png)) as picture:
        return np.asarray(picture.convert("RGB"))


@pytest.mark.parametrize("values", [[1.0], [3.0, 1, 2], [math.nan, 1, math.inf], [2.0] * 3])
def test_a_chart_decodes_whatever_its_numbers(values: list[float]) -> None:
    pytest.importorskip("matplotlib")
    line = Line(list(range(1, len(values) + 1)), values, "train")
    pixels = decoded(chart_png([line, line._replace(style="faint")], bottom=0))
    blue = np.abs(pixels.astype(int) - [0, 0x72, 0xB2]).sum(-1) < 30
    assert blue.sum() > 8, "no line and no point"


@pytest.mark.parametrize("classes", [1, 2, 10, 24, 25, 100])
def test_a_confusion_matrix_of_any_size(classes: int) -> None:
    pytest.importorskip("matplotlib")
    counts = np.random.default_rng(0).integers(0, 20_000, (classes, classes))
    pixels = decoded(confusion_png(counts, [f"class {i}" for i in range(classes)]))
    assert 300 < pixels.shape[0] < 2000
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20


def test_a_class_without_pictures_has_a_white_row() -> None:
    pytest.importorskip("matplotlib")
    confusion_png(np.array([[3, 1], [0, 0]]), ["a", "b"])  # no division by zero: warnings are errors


@pytest.mark.parametrize(
    ("name", "drawn"),
    [
        ("bag", "bag"),
        ("运动鞋", "7"),
        ("a\nb", "a b"),
        ("", "7"),
        ("x" * 15, "x" * 13 + "…"),
        ("$x_1$", "$x_1$"),
        ("\x07", "7"),
    ],
)
def test_names_that_cannot_be_drawn_have_a_number(name: str, drawn: str) -> None:
    pytest.importorskip("matplotlib")
    assert drawable(name, 7) == drawn
    confusion_png(np.eye(2, dtype=int), [name, "$unfinished"])  # neither a missing glyph nor mathematics


def test_pixels_stay_what_they_are() -> None:
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    pixels = decoded(pixels_png(image, at_least=12))
    assert pixels.shape == (15, 21, 3)
    np.testing.assert_array_equal(pixels[1::3, 1::3], image)
    np.testing.assert_array_equal(decoded(pixels_png(image[..., :1], at_least=1))[..., 2], image[..., 0])


def test_tiles_lie_in_rows_with_white_between() -> None:
    maps = np.random.default_rng(0).integers(0, 255, (5, 2, 3, 3), np.uint8)
    sheet = tiles(maps, columns=2, gap=1)
    assert sheet.shape == (8, 7, 3)
    np.testing.assert_array_equal(sheet[3:5, 4:], maps[3])
    np.testing.assert_array_equal(sheet[6:, :3], maps[4])
    assert (sheet[2] == 255).all()
    assert (sheet[6:, 3:] == 255).all()


def test_shades_say_the_sign() -> None:
    pytest.importorskip("matplotlib")
    low, zero, high = shaded(np.array([-2.0, 0, 2]), signed=True).astype(int)
    assert high[0] > high[2] + 30, "red above zero"
    assert low[2] > low[0] + 30, "blue below"
    assert min(zero) > 240
    dark, bright = shaded(np.array([-1.0, 3])).astype(int)
    assert bright.sum() > dark.sum() + 200
    shaded(np.zeros(3))


def test_heat_glows_where_it_is_and_nowhere_else() -> None:
    image = np.random.default_rng(0).integers(0, 256, (4, 4, 1), np.uint8)
    heat = np.zeros((4, 4))
    plain = heat_over(image, heat).astype(int)
    np.testing.assert_allclose(plain, 0.75 * np.repeat(image, 3, -1), atol=0.51)
    heat[1, 2] = 5
    glowing = heat_over(image, heat).astype(int)
    assert (np.argwhere((glowing != plain).any(-1)) == [[1, 2]]).all()
    assert glowing[1, 2, 0] > glowing[1, 2, 2] + 100


def test_rulers_have_a_mark_for_each_place() -> None:
    pytest.importorskip("matplotlib")
    few = decoded(ruler_png([(33, [0, 32], [16])])).astype(int)
    many = decoded(ruler_png([(33, [0, 8, 16, 24, 32], [16])])).astype(int)
    blue = [(np.abs(pixels - [0, 0x72, 0xB2]).sum(-1) < 30).sum() for pixels in (few, many)]
    assert blue[1] == pytest.approx(2.5 * blue[0], rel=0.1)
