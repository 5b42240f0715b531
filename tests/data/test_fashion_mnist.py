"""The pictures that ship with the package, and what the loader says about a file that is not them."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinyresnet.data
from tinyresnet.data import FASHION_MNIST_CLASSES, FASHION_MNIST_FILE, fashion_mnist, shipped_fashion

# Of the arrays' bytes. They are the ones that the accuracies in the docs were measured on.
SHA256 = [
    "a99d5b6f85da8561228aa2ac89b08e0ba505be31f244c25486bf68c0c2de5522",
    "0017bc811c31230612eba9ab2c6676739763cff368f4487a464c093767042029",
    "3bf8a5c9b639ba6a33dd97b86bfbd7f98f345ff6eed27a3d798a4742e49e71bf",
    "4882bfa732fbe17e5eb8965a847009ede0748c58ea5da5b50e98856f4fe44991",
]


def test_shapes_and_types() -> None:
    arrays = fashion_mnist()
    assert [array.shape for array in arrays] == [(6000, 28, 28, 1), (6000,), (1000, 28, 28, 1), (1000,)]
    assert {array.dtype for array in arrays} == {np.dtype(np.uint8)}


def test_every_class_is_there_equally_often() -> None:
    _, train_labels, _, test_labels = fashion_mnist()
    assert np.bincount(train_labels).tolist() == [600] * len(FASHION_MNIST_CLASSES)
    assert np.bincount(test_labels).tolist() == [100] * len(FASHION_MNIST_CLASSES)
    assert len(set(FASHION_MNIST_CLASSES)) == 10


def test_labels_are_shuffled() -> None:
    """A net that sees the classes one after the other learns nothing; neighbours are equal in a tenth of the places."""
    for labels in fashion_mnist()[1::2]:
        assert 0.05 < float((labels[1:] == labels[:-1]).mean()) < 0.15
        assert np.bincount(labels[: len(labels) // 10], minlength=10).min() > 0


def test_no_picture_is_there_twice() -> None:
    train_images, _, test_images, _ = fashion_mnist()
    assert len({image.tobytes() for image in (*train_images, *test_images)}) == 7000


def test_the_pictures_are_the_published_ones() -> None:
    assert [hashlib.sha256(array.tobytes()).hexdigest() for array in fashion_mnist()] == SHA256


def test_a_caller_may_write_to_its_arrays() -> None:
    images = fashion_mnist()[0]
    images[:] = 0
    assert fashion_mnist()[0].any()


def test_the_licence_stands_beside_the_data() -> None:
    text = files(tinyresnet.data).joinpath("FASHION_MNIST_LICENSE.txt").read_text(encoding="utf-8")
    assert "Copyright (c) 2017 Zalando SE, https://tech.zalando.com" in text
    assert 'THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND' in text


def without_test_labels(arrays: dict[str, Any]) -> None:
    del arrays["test_labels"]


def as_floats(arrays: dict[str, Any]) -> None:
    arrays["train_images"] = arrays["train_images"].astype(np.float32)


def one_picture_short(arrays: dict[str, Any]) -> None:
    arrays["test_images"] = arrays["test_images"][1:]


def an_eleventh_class(arrays: dict[str, Any]) -> None:
    arrays["train_labels"][0] = 10


def one_label_changed(arrays: dict[str, Any]) -> None:
    arrays["test_labels"][0] = (arrays["test_labels"][0] + 1) % 10


def objects_for_labels(arrays: dict[str, Any]) -> None:
    arrays["test_labels"] = arrays["test_labels"].astype(object)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (without_test_labels, "must hold train_images, train_labels, test_images, test_labels"),
        (as_floats, r"train_images must be uint8 \[6000, 28, 28, 1\], but is float32"),
        (one_picture_short, r"test_images must be uint8 \[1000, 28, 28, 1\], but is uint8 \[999, 28, 28, 1\]"),
        (an_eleventh_class, "train_labels must have each label from 0 to 9 600 times"),
        (one_label_changed, "test_labels must have each label from 0 to 9 100 times"),
        (objects_for_labels, "damaged.*allow_pickle"),
    ],
)
def test_a_spoiled_file_is_refused(
    spoil: Callable[[dict[str, Any]], None], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["train_images", "train_labels", "test_images", "test_labels"]
    arrays: dict[str, Any] = dict(zip(names, fashion_mnist(), strict=True))
    spoil(arrays)
    np.savez(tmp_path / FASHION_MNIST_FILE, **arrays)
    monkeypatch.setattr(shipped_fashion, "files", lambda package: tmp_path)
    with pytest.raises(ValueError, match=said):
        fashion_mnist()


@pytest.mark.parametrize("damage", ["cut off", "a bit flipped", "empty", "another format"])
def test_a_damaged_file_is_refused(damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = files(tinyresnet.data).joinpath(FASHION_MNIST_FILE).read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    another = io.BytesIO()
    np.save(another, np.zeros(3))
    content = {
        "cut off": whole[: len(whole) // 2],
        "a bit flipped": bytes(flipped),
        "empty": b"",
        "another format": another.getvalue(),
    }
    (tmp_path / FASHION_MNIST_FILE).write_bytes(content[damage])
    monkeypatch.setattr(shipped_fashion, "files", lambda package: tmp_path)
    with pytest.raises(ValueError, match="is damaged, install tinyresnet again"):
        fashion_mnist()
