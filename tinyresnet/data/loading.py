"""`load`: looks at what a source is, has it read, and brings it into the form that training expects."""

from __future__ import annotations

import numbers
import os
from pathlib import Path
from typing import Any

import numpy as np

from ..backend import Array
from ..ops.checks import not_negative_int, positive_int
from .checks import check_found, check_memory, opened
from .cifar10 import is_cifar10_folder, read_cifar10_archive, read_cifar10_folder
from .dataset import Dataset, Found, Pictures
from .idx import find_idx, read_idx_folder
from .npz import read_npz
from .picture_files import resized
from .picture_folder import read_picture_folder
from .shipped_digits import DIGITS_CLASSES, all_digits
from .shipped_fashion import FASHION_MNIST_CLASSES, fashion_mnist
from .split import stratified_split

SOURCES = (
    '"fashion", "digits", or the path of: a folder with a folder of pictures for each class; a folder with train-images-idx3-ubyte '
    "and its three companions (or .gz); CIFAR-10's archive (.tar.gz) or its folder; an .npz file of images and labels"
)


def load(
    source: str | Path,
    *,
    image_size: int | None = None,
    channels: int | None = None,
    test_share: float = 0.2,
    seed: int = 0,
) -> Dataset:
    """Reads a data set: pictures uint8 [N, H, W, C] and labels int64 [N], in two parts.

    source      "fashion" (6000 + 1000 shipped pictures of clothes), "digits" (1797 shipped ones), or a path; a file or folder
                that has such a name is ./fashion. See SOURCES, and the readers for what each is to look like
    image_size  pixels a side: the shorter side is brought to it, the longer one cut equally on both sides (None: as they are)
    channels    1: grey, by the weights of ITU-R BT.601; 3: red, green, blue (None: as they are)
    test_share  of each class, 0 < test_share < 1, drawn by `seed` >= 0, if the source has no test part of its own; else unused

    Raises ValueError that names the argument or the file, OSError, MissingExtra if pictures must be read or resized without Pillow.
    """
    image_size = None if image_size is None else positive_int("image_size", image_size)
    if channels not in (None, 1, 3):
        raise ValueError(f"channels must be 1, 3 or None, not {channels!r}")
    if not isinstance(test_share, numbers.Real) or not 0 < test_share < 1:
        raise ValueError(f"test_share must be a number between 0 and 1, not {test_share!r}")
    seed = not_negative_int("seed", seed)
    name, found = _found(source, image_size, channels)
    check_found(source, found)
    train, test, class_names = found
    if test is None:
        train, test = stratified_split(source, train, class_names, test_share=float(test_share), seed=seed)
    train, test = (_brought(source, part, image_size, channels) for part in (train, test))
    return Dataset(name, train, test, class_names)


def _found(source: str | Path, image_size: int | None, channels: int | None) -> tuple[str, Found]:
    """(a name, what is there)."""
    if source == "fashion":
        images, labels, test_images, test_labels = fashion_mnist()
        train, test = Pictures(images, labels.astype(np.int64)), Pictures(test_images, test_labels.astype(np.int64))
        return "fashion", Found(train, test, FASHION_MNIST_CLASSES)
    if source == "digits":
        return "digits", Found(all_digits(), None, DIGITS_CLASSES)
    if not isinstance(source, (str, os.PathLike)) or not str(source):
        raise ValueError(f"source must be {SOURCES}; not {source!r}")
    path = Path(source)
    name = path.resolve().name
    if path.is_dir():
        return name, _in_folder(path, image_size, channels)
    if not path.exists():
        raise FileNotFoundError(f"there is no file or folder {path}. A source is {SOURCES}")
    with opened(path, "a data set") as file:
        start = file.read(4)
    if start[:2] == b"\x1f\x8b":  # gzip
        return name, read_cifar10_archive(path)
    if start[:2] == b"PK" or path.suffix == ".npz":
        return name, read_npz(path)
    raise ValueError(f"{path} is neither an .npz file nor a .tar.gz archive. A source is {SOURCES}")


def _in_folder(folder: Path, image_size: int | None, channels: int | None) -> Found:
    if any(find_idx(folder, part, kind) for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")):
        return read_idx_folder(folder)
    if is_cifar10_folder(folder):
        return read_cifar10_folder(folder)
    if any(path.is_dir() for path in folder.iterdir()):
        return read_picture_folder(folder, image_size, channels)
    raise ValueError(f"{folder} has no data set in it. A source is {SOURCES}")


def _brought(where: Any, part: Pictures, image_size: int | None, channels: int | None) -> Pictures:
    """To the channels and the size asked for."""
    images = part.images
    n, h, w, c = images.shape
    check_memory(where, (n, image_size or h, image_size or w, channels or c))
    if image_size is not None:
        images = resized(images, image_size)
    if channels == 3 and c == 1:
        images = np.repeat(images, 3, -1)
    elif channels == 1 and c == 3:
        images = as_grey(images)
    return Pictures(images, part.labels)


def as_grey(images: Array) -> Array:
    """uint8 [N, H, W, 3] -> [N, H, W, 1], just as Pillow does: 0.299 R + 0.587 G + 0.114 B in 65536ths, rounded."""
    weights = np.array([19595, 38470, 7471], np.uint32)
    grey: Array = np.empty((*images.shape[:-1], 1), np.uint8)
    for i, image in enumerate(images):  # one by one: the sums need four bytes each
        grey[i, ..., 0] = (image.astype(np.uint32) @ weights + 32768) >> 16
    return grey
