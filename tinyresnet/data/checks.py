"""What is asked of data wherever it comes from. Every error names the file or folder."""

from __future__ import annotations

import errno
import gzip
import math
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..backend import Array
from ..ops.checks import shape_text
from .dataset import Found, Pictures

MAX_BYTES = 4 * 2**30  # pictures are held in memory, a byte a number
MAX_CLASSES = 100_000
# What Python's readers of compressed files raise at bytes that are not theirs.
DAMAGE = (EOFError, OverflowError, NotImplementedError, struct.error, zlib.error, zipfile.BadZipFile, gzip.BadGzipFile)


@contextmanager
def opened(path: Path, what: str) -> Iterator[BinaryIO]:
    """The file, for reading; whatever a damaged one leads to inside the block becomes a ValueError that names it.

    Raises OSError if it cannot be opened.
    """
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} must be a file, {what}")  # a named pipe would be waited for without end
    with path.open("rb") as file:
        try:
            yield file
        except (ValueError, *DAMAGE) as error:
            said = str(error) if str(error) else type(error).__name__
            raise ValueError(f"{path} cannot be read as {what}: {said}") from error
        except OSError as error:
            if error.errno != errno.EINVAL:  # EINVAL: a directory of a zip that points to before the file
                raise
            raise ValueError(f"{path} cannot be read as {what}: {error}") from error


def check_memory(where: Any, shape: tuple[int, ...]) -> None:
    """Refuses uint8 pictures [N, H, W, C] that would not fit, before anything of that size is made."""
    size = math.prod(map(int, shape))
    if size > MAX_BYTES:
        raise ValueError(
            f"{where}: pictures {shape_text(shape)} are {size / 2**30:.1f} GiB, but at most {MAX_BYTES / 2**30:.3g} GiB "
            "are held in memory: a smaller image_size, or channels=1, makes them smaller"
        )


def labels_from(name: str, labels: Array) -> Array:
    """Integers [N] or [N, 1] -> int64 [N], each from 0 to less than MAX_CLASSES."""
    if labels.ndim == 2 and labels.shape[1] == 1:  # as Keras has CIFAR's
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(f"{name} must be integers [N], but is {labels.dtype} {shape_text(labels.shape)}")
    if labels.size and not 0 <= int(labels.min()) <= int(labels.max()) < MAX_CLASSES:
        raise ValueError(f"{name} must be from 0 to {MAX_CLASSES - 1}, but are from {labels.min()} to {labels.max()}")
    return labels.astype(np.int64)


def check_found(where: Any, found: Found) -> None:
    """Refuses what no net could learn from, or what does not go together."""
    k = len(found.class_names)
    if k < 2:
        raise ValueError(
            f"{where}: there must be two classes or more, but {'only ' + repr(found.class_names[0]) if k else 'none'} is there"
        )
    if len(set(found.class_names)) != k:
        twice = next(name for name in found.class_names if found.class_names.count(name) > 1)
        raise ValueError(f"{where}: two classes have the same name, {twice!r}")
    parts = [("train", found.train)] + ([("test", found.test)] if found.test is not None else [])
    for name, part in parts:
        _check_part(where, name if len(parts) == 2 else "the", part, k)
    learnt = np.unique(found.train.labels)
    if len(learnt) < 2:
        raise ValueError(f"{where}: all pictures to learn from are of one class, {found.class_names[int(learnt[0])]!r}")
    if found.test is not None and found.test.images.shape[1:] != found.train.images.shape[1:]:
        raise ValueError(
            f"{where}: train and test pictures must be of one shape, "
            f"but are {shape_text(found.train.images.shape[1:])} and {shape_text(found.test.images.shape[1:])}"
        )


def _check_part(where: Any, name: str, part: Pictures, k: int) -> None:
    images, labels = part
    shape = images.shape
    if images.dtype != np.uint8 or len(shape) != 4 or shape[3] not in (1, 3) or 0 in shape:
        raise ValueError(
            f"{where}: {name} pictures must be uint8 [N, H, W, C] with C 1 or 3, but are {images.dtype} {shape_text(shape)}"
        )
    if labels.shape != shape[:1]:
        raise ValueError(f"{where}: there are {len(images)} {name} pictures, but {len(labels)} labels")
    if not 0 <= int(labels.min()) <= int(labels.max()) < k:
        raise ValueError(
            f"{where}: {name} labels must be from 0 to {k - 1}, as there are {k} classes, "
            f"but are from {labels.min()} to {labels.max()}"
        )
