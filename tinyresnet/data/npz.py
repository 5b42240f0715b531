"""NumPy's .npz archives: pictures and labels under the usual names. Read without NumPy's loader, which believes each header.

`numpy.savez_compressed("mine.npz", images=images, labels=labels)` writes one.
"""

from __future__ import annotations

import math
import re
import zipfile
from pathlib import Path
from typing import IO

import numpy as np

from ..backend import Array
from ..ops.checks import shape_text
from .checks import MAX_BYTES, MAX_CLASSES, check_memory, labels_from, opened
from .dataset import Found, Pictures

# train images, train labels, test images, test labels
SETS = (
    ("train_images", "train_labels", "test_images", "test_labels"),
    ("x_train", "y_train", "x_test", "y_test"),  # as in Keras' mnist.npz
    ("images", "labels"),
)
# As every NumPy writes it: the keys are sorted. 'shape' is () or (3,) or (3, 4).
HEADER = re.compile(
    r"\{'descr': '([<>|]?[A-Za-z][0-9]{0,9})', 'fortran_order': (True|False), 'shape': \(([0-9, ]*)\), *\} *\n"
)
HEADER_AT_MOST = 10_000


def read_npz(path: Path) -> Found:
    """images uint8 [N, H, W] or [N, H, W, C], 0 to 255; labels integers [N] or [N, 1]; class_names (optional): strings [K].

    Raises ValueError that names the file, OSError.
    """
    with opened(path, "an .npz file of pictures and labels") as file, zipfile.ZipFile(file) as archive:
        members = {name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")}
        names = next((names for names in SETS if set(names) <= members), None)
        if names is None:
            wanted = "; or ".join(", ".join(names) for names in SETS)
            raise ValueError(f"it must hold {wanted}; it holds {', '.join(sorted(members)[:10]) or 'nothing'}")
        parts = [
            Pictures(_images(archive, names[i]), labels_from(names[i + 1], read_array(archive, names[i + 1])))
            for i in range(0, len(names), 2)
        ]
        for name, part in zip(names[::2], parts, strict=True):
            if len(part.images) != len(part.labels) or not len(part.images):
                raise ValueError(f"there are {len(part.images)} {name}, but {len(part.labels)} labels")
        class_names = _names(archive) if "class_names" in members else None
    k = 1 + max(int(part.labels.max()) for part in parts)
    return Found(parts[0], parts[1] if len(parts) == 2 else None, class_names or tuple(map(str, range(k))))


def _images(archive: zipfile.ZipFile, name: str) -> Array:
    images = read_array(archive, name)
    if images.dtype != np.uint8:
        said = f"{name} must be uint8, 0 to 255, but is {images.dtype}"
        if images.dtype.kind == "f":
            said += f"; if it goes from 0 to 1: numpy.rint({name} * 255).astype(numpy.uint8)"
        raise ValueError(said)
    if images.ndim not in (3, 4):
        raise ValueError(f"{name} must be [N, H, W] or [N, H, W, C], but is {shape_text(images.shape)}")
    return images if images.ndim == 4 else images[..., None]


def _names(archive: zipfile.ZipFile) -> tuple[str, ...]:
    names = read_array(archive, "class_names")
    if names.ndim != 1 or names.dtype.kind not in "US" or len(names) > MAX_CLASSES:
        raise ValueError(f"class_names must be strings [K], but is {names.dtype} {shape_text(names.shape)}")
    encoding = "utf-8" if names.dtype.kind == "S" else f"utf-32-{'be' if names.dtype.byteorder == '>' else 'le'}"
    width, data = names.dtype.itemsize, names.tobytes()
    rows = [data[start : start + width] for start in range(0, len(data), width)] if width else []
    return tuple(row.decode(encoding).rstrip("\0") for row in rows)


def read_array(archive: zipfile.ZipFile, name: str) -> Array:
    """One member. Its size in the zip's directory, its own header and its bytes must agree; the first two before it is read."""
    info = archive.getinfo(f"{name}.npy")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or info.flag_bits & 1:
        raise ValueError(f"{name} is encrypted or compressed as NumPy never does")
    with archive.open(info) as file:
        dtype, fortran, shape, header = _header(name, file)
        size = math.prod(shape) * dtype.itemsize
        if size > MAX_BYTES:
            check_memory(name, (*shape, dtype.itemsize))
        if header + size != info.file_size:
            raise ValueError(f"{name} announces {size} bytes of values, but has {info.file_size - header}")
        data = file.read()  # to the end, where zipfile compares the checksum
        if len(data) != size:
            raise ValueError(f"{name} announces {size} bytes of values, but has {len(data)}")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


def _header(name: str, file: IO[bytes]) -> tuple[np.dtype[np.generic], bool, tuple[int, ...], int]:
    """dtype, order, shape, and the length of all before the values (numpy.lib.format's versions 1, 2 and 3)."""
    start = file.read(8)
    wide = start[6:7] in (b"\2", b"\3")
    if start[:6] != b"\x93NUMPY" or not (wide or start[6:7] == b"\1"):
        raise ValueError(f"{name} is no .npy file of version 1, 2 or 3")
    prefix = file.read(4 if wide else 2)
    length = int.from_bytes(prefix, "little")
    if length > HEADER_AT_MOST:
        raise ValueError(f"the header of {name} is of {length} bytes")
    text = file.read(length).decode("latin-1")
    found = HEADER.fullmatch(text)
    if found is None or found[1].endswith("O"):
        raise ValueError(f"{name} is not an array of plain numbers or strings: its header is {text[:80].strip()!r}")
    try:
        dtype = np.dtype(found[1])
    except TypeError as error:
        raise ValueError(f"{name} is of a type that NumPy does not know, {found[1]!r}") from error
    if dtype.hasobject:  # pickles: never
        raise ValueError(f"{name} holds Python objects")
    shape = tuple(int(size) for size in found[3].replace(" ", "").split(",") if size)
    return dtype, found[2] == "True", shape, 8 + len(prefix) + length
