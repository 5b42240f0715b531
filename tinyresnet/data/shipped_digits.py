"""Pictures that come with the package: 1797 handwritten digits of 8x8 pixels (E. Alpaydin and C. Kaynak 1998, UCI optdigits).

DIGITS_LICENSE.txt, with whose they are and how they may be used, goes wherever digits.csv.gz goes.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from importlib.resources import files

import numpy as np

from ..backend import Array
from .dataset import Pictures
from .split import stratified_split

DIGITS_CLASSES = tuple("0123456789")
DIGITS_FILE = "digits.csv.gz"
SHA256 = "6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8"


def digits() -> tuple[Array, Array, Array, Array]:
    """train_images [1438, 8, 8, 1], train_labels [1438], test_images [359, 8, 8, 1], test_labels [359]; all uint8.

    Grey pictures: 0 is the background, 255 the brightest. A fifth of each class is in test, drawn with seed 0; `load("digits", ...)`
    draws others. New arrays at every call. Raises ValueError if the shipped file is damaged, FileNotFoundError if it is missing.
    """
    train, test = stratified_split(DIGITS_FILE, all_digits(), DIGITS_CLASSES, test_share=0.2, seed=0)
    return train.images, train.labels.astype(np.uint8), test.images, test.labels.astype(np.uint8)


def all_digits() -> Pictures:
    """images [1797, 8, 8, 1], labels [1797]. The file counts ink from 0 to 16, a sixteenth is 255 / 16 here, rounded."""
    packed = files(__package__).joinpath(DIGITS_FILE).read_bytes()
    try:
        text = gzip.decompress(packed)
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{DIGITS_FILE} is damaged, install tinyresnet again: {error}") from error
    if hashlib.sha256(text).hexdigest() != SHA256:
        raise ValueError(f"{DIGITS_FILE} is damaged, install tinyresnet again: it is not the file that was shipped")
    table = np.loadtxt(text.decode().splitlines(), delimiter=",", dtype=np.int64)  # [1797, 64 pixels and the label]
    images = np.rint(table[:, :64] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    return Pictures(images, table[:, 64])
