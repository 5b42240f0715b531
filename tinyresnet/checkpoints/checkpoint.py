"""A checkpoint: arrays by name, and texts about them, in one safetensors file."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from ..backend import Array, to_host
from ..extras import require
from .files import write_atomically
from .header import TEXTS, read_header

FORMAT, FORMAT_VERSION = "tinyresnet-checkpoint", 1
DTYPES = ("float32", "float64", "int32", "int64", "uint8", "bool")


class Checkpoint(NamedTuple):
    """What `load` found: arrays by name, on the host, and the texts that were saved with them."""

    path: Path
    arrays: dict[str, Array]
    metadata: dict[str, str]


# ---- writing -----------------------------------------------------------------------------------------------------------
def save(path: str | Path, arrays: Mapping[str, Array], metadata: Mapping[str, str]) -> None:
    """Writes it atomically; with the format, its version, tinyresnet's own and a checksum added to the metadata.

    arrays   name -> array, on the host or the device, float32 or float64 (or integers). Names are TF-Slim's, but any will do.
    Raises MissingExtra without safetensors, TypeError and ValueError for what cannot be saved, OSError.
    """
    from .. import __version__

    host = {name: _host_array(name, array) for name, array in arrays.items()}
    for key, text in metadata.items():
        if not (isinstance(key, str) and isinstance(text, str)):
            raise TypeError(f"metadata must be texts by name, but has {key!r}: {text!r}")
    ours = {"format": FORMAT, "format_version": str(FORMAT_VERSION), "tinyresnet_version": __version__}
    texts = {**metadata, **ours}
    texts["checksum"] = _checksum(host, texts)
    write_atomically(path, require("safetensors.numpy", "train").save(host, texts))


def _host_array(name: str, array: Array) -> Array:
    """As safetensors wants it: on the host, rows one after the other, in this machine's byte order."""
    if not isinstance(name, str) or not name or name == TEXTS:
        raise ValueError(f"the name of an array must be a string, not empty and not {TEXTS!r}, but one is {name!r}")
    if not (hasattr(array, "shape") and hasattr(array, "dtype")):
        raise TypeError(f"array {name} must be an array, not {type(array).__name__}")
    if array.dtype.name not in DTYPES:
        raise ValueError(f"array {name} must be of dtype {', '.join(DTYPES)} to be saved, not {array.dtype}")
    return np.asarray(to_host(array), dtype=array.dtype.newbyteorder("="), order="C")


def _checksum(arrays: Mapping[str, Array], metadata: Mapping[str, str]) -> str:
    """CRC-32 of every text, name, dtype, shape and number: safetensors itself does not see a bit that has flipped."""
    texts = sorted(item for item in metadata.items() if item[0] != "checksum")
    crc = zlib.crc32(json.dumps(texts).encode())
    for name, array in sorted(arrays.items()):
        crc = zlib.crc32(f"{name} {array.dtype} {array.shape}".encode(), crc)
        crc = zlib.crc32(array.data, crc)
    return f"{crc:08x}"


# ---- reading -----------------------------------------------------------------------------------------------------------
def load(path: str | Path) -> Checkpoint:
    """Reads a checkpoint that `save` wrote; of a foreign file no more than the header.

    Raises FileNotFoundError, ValueError for damaged, foreign and newer files and for what is no file, MissingExtra.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} must be a file, a checkpoint")  # a named pipe would be waited for without end
    with path.open("rb") as file:
        metadata = _metadata(path, file)
        file.seek(0)
        arrays = _arrays(path, file.read())
    if metadata.get("checksum") != _checksum(arrays, metadata):
        raise ValueError(f"{path} is damaged: it is not as it was written, since its checksum does not fit")
    return Checkpoint(path, arrays, metadata)


def read_metadata(path: str | Path) -> dict[str, str]:
    """The texts of a checkpoint without its arrays, and so without its checksum looked at. Raises as `load`."""
    path = Path(path)
    with path.open("rb") as file:
        return _metadata(path, file)


def _metadata(path: Path, file: BinaryIO) -> dict[str, Any]:
    """The texts, if the file says that it is a checkpoint which this version reads. Raises ValueError."""
    metadata = read_header(path, file).get(TEXTS) or {}
    if metadata.get("format") != FORMAT:
        raise ValueError(
            f"{path} is a safetensors file, but no checkpoint of tinyresnet: its metadata has no format {FORMAT!r}"
        )
    if metadata.get("format_version") != str(FORMAT_VERSION):
        raise ValueError(
            f"{path} is of format version {metadata.get('format_version')}, written by tinyresnet "
            f"{metadata.get('tinyresnet_version', '?')}; this version reads {FORMAT_VERSION}"
        )
    return metadata


def _arrays(path: Path, data: bytes) -> dict[str, Array]:
    """By safetensors itself, which compares sizes and offsets. Raises ValueError for a damaged file, MissingExtra."""
    # KeyError: a dtype that NumPy lacks; ValueError: a shape
    damage = (require("safetensors", "train").SafetensorError, KeyError, ValueError)
    try:
        return require("safetensors.numpy", "train").load(data)  # type: ignore[no-any-return]
    except damage as error:
        raise ValueError(f"{path} is damaged: {error}") from error
