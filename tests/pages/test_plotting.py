"""The picture of a training run: the right mistakes, a file that decodes, and no text on other text."""

from __future__ import annotations

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
from tinyresnet.plotting import Mistake, save_training_picture, surest_mistakes


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
