"""Small data sets in every format that `load` reads, in the layouts in which they are published."""

from __future__ import annotations

import gzip
import io
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np

BATCHES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")


def pictures(n: int, side: int = 6, channels: int = 1, seed: int = 0) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, (n, side, side, channels), np.uint8)


def labels_of(n: int, k: int = 3) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return (np.arange(n) % k).astype(np.uint8)


def idx(array: np.ndarray[Any, Any]) -> bytes:
    head = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return head + array.astype(np.uint8).tobytes()


def write_idx_folder(folder: Path, *, packed: bool = False) -> Path:
    """9 + 6 pictures 6x6 of classes 0, 1, 2."""
    folder.mkdir(exist_ok=True)
    for part, n, seed in (("train", 9, 0), ("t10k", 6, 1)):
        for name, array in (
            (f"{part}-images-idx3-ubyte", pictures(n, seed=seed)[..., 0]),
            (f"{part}-labels-idx1-ubyte", labels_of(n)),
        ):
            content = idx(array)
            (folder / f"{name}{'.gz' * packed}").write_bytes(gzip.compress(content, mtime=0) if packed else content)
    return folder


def cifar_batch(number: int, n: int = 4) -> tuple[np.ndarray[Any, Any], list[int]]:
    """images [n, 32, 32, 3] and labels of batch 0 to 5."""
    return pictures(n, 32, 3, seed=10 + number), [(number + i) % 10 for i in range(n)]


def binary_batch(number: int) -> bytes:
    images, labels = cifar_batch(number)
    return b"".join(
        bytes([label]) + image.transpose(2, 0, 1).tobytes() for image, label in zip(images, labels, strict=True)
    )


def python2_batch(number: int) -> bytes:
    """The instructions that Python 2's cPickle wrote with protocol 2, which is what the published files are."""

    def text(data: bytes) -> bytes:
        return b"U" + bytes([len(data)]) + data if len(data) < 256 else b"T" + len(data).to_bytes(4, "little") + data

    images, labels = cifar_batch(number)
    n, values = len(labels), images.transpose(0, 3, 1, 2).tobytes()
    return b"".join(
        [
            b"\x80\x02}q\x01(",
            text(b"batch_label") + b"q\x02" + text(b"training batch 1 of 5") + b"q\x03",
            text(b"labels") + b"q\x04]q\x05(" + b"".join(b"K" + bytes([label]) for label in labels) + b"e",
            text(b"data")
            + b"q\x06cnumpy.core.multiarray\n_reconstruct\nq\x07cnumpy\nndarray\nq\x08K\x00\x85U\x01b\x87Rq\x09",
            b"(K\x01K" + bytes([n]) + b"M\x00\x0c\x86cnumpy\ndtype\nq\x0aU\x02u1K\x00K\x01\x87Rq\x0b",
            b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89" + text(values) + b"tb",
            text(b"filenames") + b"]q\x0c(" + b"".join(text(b"picture.png") for _ in range(n)) + b"e",
            b"u.",
        ]
    )


def python3_batch(number: int, protocol: int) -> bytes:
    """What somebody gets who loads a published file in Python 3, encoding="bytes", and dumps it again."""
    images, labels = cifar_batch(number)
    return pickle.dumps({b"data": images.transpose(0, 3, 1, 2).reshape(-1, 3072), b"labels": labels}, protocol=protocol)


def cifar_files(version: str) -> dict[str, bytes]:
    """Path in the archive -> content. version: "binary" or "python"."""
    if version == "binary":
        files = {f"cifar-10-batches-bin/{name}.bin": binary_batch(i) for i, name in enumerate(BATCHES)}
        return {
            "cifar-10-batches-bin/batches.meta.txt": b"airplane\n",
            **files,
            "cifar-10-batches-bin/readme.html": b"<p>",
        }
    return {f"cifar-10-batches-py/{name}": python2_batch(i) for i, name in enumerate(BATCHES)}


def tar_gz(files: dict[str, bytes], extra: tuple[tarfile.TarInfo, ...] = ()) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for info in extra:
            archive.addfile(info)
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return gzip.compress(packed.getvalue(), compresslevel=1, mtime=0)


def write_cifar_folder(folder: Path, version: str) -> Path:
    for name, content in cifar_files(version).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    return folder / f"cifar-10-batches-{'bin' if version == 'binary' else 'py'}"


def write_npz(path: Path, **changes: Any) -> Path:
    """12 pictures 6x6 of 3 classes; changes: arrays by name, None leaves one out."""
    arrays = {"images": pictures(12)[..., 0], "labels": labels_of(12).astype(np.int64), **changes}
    np.savez_compressed(path, **{name: array for name, array in arrays.items() if array is not None})
    return path
