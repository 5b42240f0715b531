"""CIFAR-10 (A. Krizhevsky 2009), as published at www.cs.toronto.edu/~kriz/cifar.html: the archive or its folder, binary or Python version.

Nothing is unpacked to disk, and no pickle is executed: see `plain_pickle.py`.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from ..backend import Array
from .checks import opened
from .dataset import Found, Pictures
from .plain_pickle import ByteArray, read_plain_pickle

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
VALUES = 3 * 32 * 32  # a picture: all red values row by row, then all green, then all blue
BATCH_AT_MOST = 64 * 2**20  # the published files are of 31 MB
ARCHIVE_AT_MOST = 512 * 2**20  # all in all, unpacked; the published archives come to 184 MB
TRAIN, TEST = tuple(f"data_batch_{i}" for i in range(1, 6)), "test_batch"
BINARY = "cifar-10-batches-bin"
PYTHON = "cifar-10-batches-py"


def is_cifar10_folder(folder: Path) -> bool:
    """Whether the first batch of either version is there."""
    return any((folder / f"{TRAIN[0]}{ending}").is_file() for ending in (".bin", ""))


def read_cifar10_folder(folder: Path) -> Found:
    """data_batch_1 to _5 and test_batch, with .bin (binary version) or without (Python version). Raises ValueError, OSError."""
    ending = ".bin" if (folder / f"{TRAIN[0]}.bin").is_file() else ""
    parts = {}
    for name in (*TRAIN, TEST):
        path = folder / f"{name}{ending}"
        if not path.exists():
            raise ValueError(
                f"{folder} has no {path.name}: all of data_batch_1 to data_batch_5 and test_batch are needed"
            )
        with opened(path, "a batch of CIFAR-10") as file:
            data = file.read(BATCH_AT_MOST + 1)
            if len(data) > BATCH_AT_MOST:
                raise ValueError(f"it is larger than {BATCH_AT_MOST} bytes")
            parts[name] = (_from_binary if ending else _from_pickle)(data)
    return _joined(parts)


def read_cifar10_archive(path: Path) -> Found:
    """cifar-10-binary.tar.gz or cifar-10-python.tar.gz. Only the six batches are looked at. Raises ValueError, OSError."""
    parts: dict[str, Pictures] = {}
    with opened(path, "cifar-10-binary.tar.gz or cifar-10-python.tar.gz") as file:
        for member in _members(gzip.GzipFile(fileobj=file)):
            found = _batch(member.name)
            if found is None:
                continue
            name, decode = found
            if member.kind not in (b"0", b"\0"):
                raise ValueError(f"{member.name} in it is not a plain file")
            if name in parts:
                raise ValueError(f"{name} is in it twice")
            try:
                parts[name] = decode(member.read())
            except ValueError as error:
                raise ValueError(f"{member.name}: {error}") from error
        missing = [name for name in (*TRAIN, TEST) if name not in parts]
        if missing:
            raise ValueError(f"it has no {BINARY}/{missing[0]}.bin and no {PYTHON}/{missing[0]}")
    return _joined(parts)


def _batch(name: str) -> tuple[str, Callable[[bytes], Pictures]] | None:
    """(data_batch_1 or another, how it is decoded) for the path of a batch in one of the two archives."""
    folder, _, file = name.removeprefix("./").partition("/")
    if folder == BINARY and file.endswith(".bin") and file.removesuffix(".bin") in (*TRAIN, TEST):
        return file.removesuffix(".bin"), _from_binary
    return (file, _from_pickle) if folder == PYTHON and file in (*TRAIN, TEST) else None


def _joined(parts: Mapping[str, Pictures]) -> Found:
    train = [parts[name] for name in TRAIN]
    images, labels = (np.concatenate([part[i] for part in train]) for i in range(2))
    return Found(Pictures(images, labels), parts[TEST], CIFAR10_CLASSES)


# ---- a batch -----------------------------------------------------------------------------------------------------------
def _from_binary(data: bytes) -> Pictures:
    """Records of one byte, the label, and 3072, the picture."""
    if not data or len(data) % (1 + VALUES):
        raise ValueError(f"it must be records of {1 + VALUES} bytes, but is of {len(data)} bytes")
    records = np.frombuffer(data, np.uint8).reshape(-1, 1 + VALUES)
    return _pictures(records[:, 1:], records[:, 0].astype(np.int64))


def _from_pickle(data: bytes) -> Pictures:
    """A pickled dict: "data", an array uint8 [N, 3072], and "labels", a list of N integers."""
    batch = read_plain_pickle(data)
    if not isinstance(batch, dict) or not {"data", "labels"} <= batch.keys():
        raise ValueError("it is a pickle, but not of a dict with data and labels")
    array, labels = batch["data"], batch["labels"]
    if not isinstance(array, ByteArray) or len(array.shape) != 2 or array.shape[1] != VALUES or not array.shape[0]:
        raise ValueError(f"data must be an array uint8 [N, {VALUES}]")
    if not isinstance(labels, list) or not all(type(label) is int and 0 <= label <= 9 for label in labels):
        raise ValueError("labels must be a list of integers from 0 to 9")
    if len(labels) != array.shape[0]:
        raise ValueError(f"there are {array.shape[0]} pictures, but {len(labels)} labels")
    return _pictures(np.frombuffer(array.data, np.uint8).reshape(array.shape), np.array(labels, np.int64))


def _pictures(values: Array, labels: Array) -> Pictures:
    """values [N, 3072], labels [N] -> images [N, 32, 32, 3]."""
    if labels.max() > 9:
        raise ValueError(f"labels must be from 0 to 9, but one is {labels.max()}")
    return Pictures(np.ascontiguousarray(values.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)), labels)


# ---- a tar file --------------------------------------------------------------------------------------------------------
class Member(NamedTuple):
    """A file, link or folder in a tar file."""

    name: str
    kind: bytes  # b"0" or b"\\0": a plain file
    read: Callable[[], bytes]  # before the next member is asked for


def _members(file: BinaryIO | gzip.GzipFile) -> Iterator[Member]:
    """Front to back: a header of 512 bytes, the content, zeros up to the next 512 (POSIX ustar). Raises ValueError."""
    budget = ARCHIVE_AT_MOST
    while (header := file.read(512)).strip(b"\0"):
        if len(header) != 512 or _number(header[148:156]) != sum(header[:148]) + 8 * 32 + sum(header[156:]):
            raise ValueError("it is no tar file: the checksum of a header is wrong")
        size = _number(header[124:136])
        budget -= 512 + size
        if budget < 0:
            raise ValueError(f"unpacked it is larger than {ARCHIVE_AT_MOST} bytes")
        content = _Content(file, size)
        yield Member(header[:100].partition(b"\0")[0].decode("latin-1"), header[156:157], content.read)
        content.skip()
    while left := len(file.read(2**20)):  # to the end, where gzip compares the checksum of everything
        budget -= left
        if budget < 0:
            raise ValueError(f"unpacked it is larger than {ARCHIVE_AT_MOST} bytes")


class _Content:
    """What stands between two headers."""

    def __init__(self, file: BinaryIO | gzip.GzipFile, size: int) -> None:
        self.file, self.size, self.unread = file, size, size + -size % 512

    def read(self) -> bytes:
        if self.size > BATCH_AT_MOST:
            raise ValueError(f"it is larger than {BATCH_AT_MOST} bytes")
        content = self.file.read(self.size)
        if len(content) != self.size:
            raise ValueError(f"it ends after {len(content)} of {self.size} bytes")
        self.unread -= self.size
        return content

    def skip(self) -> None:
        while self.unread:
            skipped = len(self.file.read(min(self.unread, 2**20)))
            if not skipped:
                raise ValueError("it ends within a member")
            self.unread -= skipped


def _number(field: bytes) -> int:
    """Octal digits between blanks and zero bytes. Larger sizes, which are written in another way, do not occur here."""
    digits = field.strip(b" \0")
    if digits.strip(b"01234567"):
        raise ValueError("it is no tar file: a number in a header is none")
    return int(digits or b"0", 8)
