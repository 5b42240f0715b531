"""Pictures to train on that come with the package: 6000 + 1000 of Fashion-MNIST (Xiao, Rasul and Vollgraf 2017, arXiv 1708.07747).

`make_fashion_subset.py` made the file; FASHION_MNIST_LICENSE.txt, the MIT licence of Zalando SE, goes wherever it goes.
"""

from __future__ import annotations

import zipfile
import zlib
from importlib.resources import files
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Bytes: TypeAlias = npt.NDArray[np.uint8]
FashionMNIST: TypeAlias = tuple[Bytes, Bytes, Bytes, Bytes]

FASHION_MNIST_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
FASHION_MNIST_FILE = "fashion_mnist_6000_1000.npz"

SHAPES = {
    "train_images": (6000, 28, 28, 1),
    "train_labels": (6000,),
    "test_images": (1000, 28, 28, 1),
    "test_labels": (1000,),
}


def fashion_mnist() -> FashionMNIST:
    """train_images [6000, 28, 28, 1], train_labels [6000], test_images [1000, 28, 28, 1], test_labels [1000]; all uint8.

    Grey pictures of clothes: 0 is the background, 255 the brightest. Labels 0 to 9 count in FASHION_MNIST_CLASSES, each class
    equally often: 600 times in train, 100 times in test. The order is shuffled. New arrays at every call.
    Raises ValueError if the shipped file is damaged, FileNotFoundError if it is missing.
    """
    with files(__package__).joinpath(FASHION_MNIST_FILE).open("rb") as file:
        try:
            arrays = np.load(file, allow_pickle=False)
            if not isinstance(arrays, np.lib.npyio.NpzFile):
                raise ValueError("it is an .npy file, of one array")
            found = {name: arrays[name] for name in arrays.files}
        except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(f"{FASHION_MNIST_FILE} is damaged, install tinyresnet again: {error}") from error
    check_arrays(found)
    return found["train_images"], found["train_labels"], found["test_images"], found["test_labels"]


def check_arrays(arrays: dict[str, Bytes]) -> None:
    """Raises ValueError unless `arrays` are what `fashion_mnist` promises."""
    if set(arrays) != set(SHAPES):
        raise ValueError(
            f"{FASHION_MNIST_FILE} must hold {', '.join(SHAPES)}, but holds {', '.join(arrays) or 'nothing'}"
        )
    for name, shape in SHAPES.items():
        array = arrays[name]
        if array.shape != shape or array.dtype != np.uint8:
            raise ValueError(
                f"{FASHION_MNIST_FILE}: {name} must be uint8 {list(shape)}, but is {array.dtype} {list(array.shape)}"
            )
        if name.endswith("_labels"):
            each = shape[0] // len(FASHION_MNIST_CLASSES)
            counts = np.bincount(array, minlength=len(FASHION_MNIST_CLASSES))
            if counts.tolist() != [each] * len(FASHION_MNIST_CLASSES):
                raise ValueError(
                    f"{FASHION_MNIST_FILE}: {name} must have each label from 0 to 9 {each} times, but has them {counts.tolist()} times"
                )
