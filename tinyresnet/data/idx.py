"""Folders of four files in the format of MNIST (yann.lecun.com/exdb/mnist), plain or gzipped: MNIST, Fashion-MNIST and their kin."""

from __future__ import annotations

import gzip
import hashlib
import math
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from ..backend import Array
from .checks import MAX_BYTES, check_memory, labels_from, opened
from .dataset import Found, Pictures
from .shipped_fashion import FASHION_MNIST_CLASSES

# Of the 60000 training labels: by them the full Fashion-MNIST is known, in whatever folder it lies.
FASHION_LABELS = "657fbd221bfc9f4198cc14b5619cc33ec57c58dd0e47af4d99d6650759e869a7"
GZIP_AT_MOST = 1032  # deflate makes no file smaller than by this factor


def find_idx(folder: Path, part: str, kind: str) -> Path | None:
    """The file of one part, "train" or "t10k", and kind, "images-idx3" or "labels-idx1"; a plain one before a gzipped one."""
    names = (f"{part}-{kind}-ubyte", f"{part}-{kind}-ubyte".replace("-idx", ".idx"))
    paths = [folder / f"{name}{ending}" for ending in ("", ".gz") for name in names]
    return next((path for path in paths if path.is_file()), None)


def read_idx_folder(folder: Path) -> Found:
    """train and test as the files say. Names: those in classes.txt (a line each), else Fashion-MNIST's if it is that, else "0", "1", ...

    Raises ValueError that names the file, OSError.
    """
    train, test = _read_part(folder, "train"), _read_part(folder, "t10k")
    return Found(train, test, _class_names(folder, train, test))


def _read_part(folder: Path, part: str) -> Pictures:
    arrays = []
    for kind, rank in (("images-idx3", 3), ("labels-idx1", 1)):
        path = find_idx(folder, part, kind)
        if path is None:
            raise ValueError(f"{folder} has no {part}-{kind}-ubyte or {part}-{kind}-ubyte.gz")
        arrays.append(read_idx(path, rank))
    images, labels = arrays
    if len(images) != len(labels):
        raise ValueError(f"{folder}: there are {len(images)} {part} pictures, but {len(labels)} labels")
    return Pictures(images[..., None], labels_from(f"{part} labels", labels))  # [N, H, W, 1], [N]


def _class_names(folder: Path, train: Pictures, test: Pictures) -> tuple[str, ...]:
    listed = folder / "classes.txt"
    if listed.exists():
        with opened(listed, "a UTF-8 text with a class name on each line") as file:
            lines = file.read(2**20).decode("utf-8-sig").splitlines()
        return tuple(line.strip() for line in lines if line.strip())
    if hashlib.sha256(train.labels.astype(np.uint8).tobytes()).hexdigest() == FASHION_LABELS:
        return FASHION_MNIST_CLASSES
    return tuple(str(k) for k in range(1 + max(int(train.labels.max()), int(test.labels.max()))))


def read_idx(path: Path, rank: int) -> Array:
    """The uint8 array of that rank. Nothing is unpacked beyond what the header announces and the file could hold.

    Raises ValueError, OSError.
    """
    packed = path.suffix == ".gz"
    with opened(path, f"an IDX file of bytes in {rank} dimensions") as raw:
        file = cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if packed else raw
        head = file.read(4 + 4 * rank)
        if head[:4] != bytes([0, 0, 8, rank]):
            raise ValueError(
                f"it must begin with 00 00 08 {rank:02x}, but begins with {head[:4].hex(' ') or 'nothing'}"
            )
        if len(head) != 4 + 4 * rank:
            raise ValueError("it ends within its header")
        shape = tuple(np.frombuffer(head, ">u4", offset=4).tolist())  # big-endian
        size = math.prod(shape)
        could_hold = min(MAX_BYTES, path.stat().st_size * (GZIP_AT_MOST if packed else 1))
        if not 0 < size <= could_hold:
            check_memory(path.name, shape)
            raise ValueError(f"its header announces {size} bytes of values, which it cannot hold")
        values = file.read(size + 1)
        if len(values) != size:
            raise ValueError(f"its header announces {size} bytes of values, but there are {_count(len(values), size)}")
    return np.frombuffer(values, np.uint8).reshape(shape)


def _count(found: int, announced: int) -> str:
    return "more" if found > announced else str(found)
