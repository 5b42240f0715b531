"""Pictures to train on: those that come with the package, those of well-known archives, and your own.

`load(source)` reads any of them. `fashion_mnist()` and `digits()` are the shipped ones as plain arrays.
"""

from __future__ import annotations

from .dataset import Dataset, Pictures
from .loading import load
from .picture_files import read_picture
from .shipped_digits import DIGITS_CLASSES, digits
from .shipped_fashion import (
    FASHION_MNIST_CLASSES,
    FASHION_MNIST_FILE,
    SHAPES,
    Bytes,
    FashionMNIST,
    check_arrays,
    fashion_mnist,
)

__all__ = [
    "DIGITS_CLASSES",
    "FASHION_MNIST_CLASSES",
    "FASHION_MNIST_FILE",
    "SHAPES",
    "Bytes",
    "Dataset",
    "FashionMNIST",
    "Pictures",
    "check_arrays",
    "digits",
    "fashion_mnist",
    "load",
    "read_picture",
]
