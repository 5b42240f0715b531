"""`load`: how a source is recognised, its arguments, and the form in which everything comes out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data.small_sources import pictures, write_idx_folder, write_npz
from tinyresnet.data import FASHION_MNIST_CLASSES, Dataset, Pictures, fashion_mnist, load
from tinyresnet.data.loading import as_grey


def test_fashion() -> None:
    dataset = load("fashion", test_share=0.5, seed=3)  # it has a test part of its own
    assert (dataset.name, dataset.class_names) == ("fashion", FASHION_MNIST_CLASSES)
    for ours, shipped in zip((*dataset.train, *dataset.test), fashion_mnist(), strict=True):
        np.testing.assert_array_equal(ours, shipped)
    assert dataset.test.labels.dtype == np.int64


def test_a_folder_that_is_called_fashion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_idx_folder(tmp_path / "fashion")
    monkeypatch.chdir(tmp_path)
    assert len(load("fashion").train.images) == 6000
    assert len(load("./fashion").train.images) == len(load(Path("fashion")).train.images) == 9


def test_what_it_looked_for_is_said(tmp_path: Path) -> None:
    wanted = '"fashion", "digits", or the path of'
    with pytest.raises(FileNotFoundError, match=f"no file or folder .*fashon. A source is {wanted}"):
        load(tmp_path / "fashon")
    with pytest.raises(ValueError, match=f"has no data set in it. A source is {wanted}"):
        load(tmp_path)
    (tmp_path / "a.csv").write_text("1,2,3")
    with pytest.raises(ValueError, match=f"neither an .npz file nor a .tar.gz archive. A source is {wanted}"):
        load(tmp_path / "a.csv")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="pipe must be a file"):
        load(tmp_path / "pipe")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"source": ""}, "source must be .*; not ''"),
        ({"source": 3}, "source must be .*; not 3"),
        ({"image_size": 0}, "image_size must be an integer >= 1, not 0"),
        ({"image_size": 2.5}, "image_size must be an integer >= 1, not 2.5"),
        ({"channels": 2}, "channels must be 1, 3 or None, not 2"),
        ({"test_share": 0}, "test_share must be a number between 0 and 1, not 0"),
        ({"test_share": 1.0}, "test_share must be a number between 0 and 1"),
        ({"test_share": float("nan")}, "test_share must be"),
        ({"test_share": "half"}, "test_share must be"),
        ({"seed": -1}, "seed must be an integer >= 0, not -1"),
        ({"seed": 1.5}, "seed must be an integer >= 0, not 1.5"),
        ({"image_size": 100_000}, "digits: pictures .* GiB are held in memory"),
    ],
)
def test_arguments(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        load(**{"source": "digits", **arguments})


def test_channels(tmp_path: Path) -> None:
    colour = pictures(12, channels=3)
    path = write_npz(tmp_path / "mine.npz", images=colour)
    grey = load(path, channels=1)
    assert grey.train.images.shape == (9, 6, 6, 1)
    wide = load("digits", channels=3)
    np.testing.assert_array_equal(wide.train.images, np.repeat(load("digits").train.images, 3, -1))


def test_grey_is_pillows() -> None:
    image_module = pytest.importorskip("PIL.Image")
    colours = pictures(3, side=40, channels=3)
    for image, grey in zip(colours, as_grey(colours), strict=True):
        np.testing.assert_array_equal(grey[..., 0], np.asarray(image_module.fromarray(image).convert("L")))


def test_image_size(tmp_path: Path) -> None:
    pytest.importorskip("PIL.Image")
    halves = load("fashion", image_size=14)
    assert halves.train.images.shape == (6000, 14, 14, 1)
    means = [load("fashion").test.images.mean((1, 2, 3)), halves.test.images.mean((1, 2, 3))]
    assert np.abs(means[0] - means[1]).max() < 6
    tall = np.zeros((12, 9, 3, 1), np.uint8)
    tall[:, 3:6] = 255  # the square in the middle
    assert (load(write_npz(tmp_path / "tall.npz", images=tall), image_size=3).train.images == 255).all()


def test_a_fingerprint_knows_every_part() -> None:
    def made(**changes: Any) -> Dataset:
        images, labels = pictures(4), np.array([0, 1, 0, 1])
        whole = Dataset("a", Pictures(images, labels), Pictures(images[:2], labels[:2]), ("x", "y"))
        return whole._replace(**changes)

    images, labels = made().train
    changed = images.copy()
    changed[3, 5, 5, 0] ^= 1
    others = [
        made(train=Pictures(changed, labels)),
        made(train=Pictures(images, 1 - labels)),
        made(train=Pictures(images.reshape(4, 4, 9, 1), labels)),
        made(train=Pictures(images, labels.astype(np.int32))),
        made(test=made().train, train=made().test),
        made(class_names=("y", "x")),
        made(class_names=("x", "y", "z")),
    ]
    prints = [dataset.fingerprint() for dataset in (made(), *others)]
    assert len(set(prints)) == len(prints)
    assert made(name="b").fingerprint() == prints[0]
    assert made(train=Pictures(np.asfortranarray(images), labels)).fingerprint() == prints[0]
    assert load("digits").fingerprint().startswith("db718d49"), (
        "the shipped digits, or their split, are not what they were"
    )


def test_importing_does_not_need_pillow() -> None:
    code = "import sys; sys.modules['PIL'] = None; from tinyresnet.data import load; load('digits'); load('fashion', channels=3)"
    subprocess.run([sys.executable, "-c", code], check=True)
