"""What every source of pictures comes to: pictures to learn from, pictures to be tested on, and the names of the classes."""

from __future__ import annotations

import hashlib
import json
from typing import NamedTuple

import numpy as np

from ..backend import Array


class Pictures(NamedTuple):
    """Pictures and what is in them."""

    images: Array  # [N, H, W, C] uint8
    labels: Array  # [N] int64: a class each; or [N, H, W] int64: a class for each pixel


class Dataset(NamedTuple):
    """Label k, in both parts, means class_names[k]."""

    name: str
    train: Pictures
    test: Pictures
    class_names: tuple[str, ...]

    def fingerprint(self) -> str:
        """SHA-256, in hex, of shapes, pictures, labels and class names; the name does not count. Equal data, equal fingerprint."""
        arrays = (*self.train, *self.test)
        head = [list(self.class_names), *([str(array.dtype), list(array.shape)] for array in arrays)]
        digest = hashlib.sha256(json.dumps(head).encode())
        for array in arrays:
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


class Found(NamedTuple):
    """What a reader found; `load` splits it where the source has no test part."""

    train: Pictures
    test: Pictures | None
    class_names: tuple[str, ...]
