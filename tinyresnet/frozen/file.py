"""A frozen net as one file: the graph as JSON and its constants by number and name, in safetensors' format.

Weights are stored folded, but as they are, not in the order in which some machine's kernels want them: a file works everywhere.
Saved nodes can name nothing but the kinds of graph.py, so a foreign file can at worst be a wrong net, never a program.
"""

from __future__ import annotations

import functools
import json
import os
import zlib
from collections.abc import Callable, Mapping
from dataclasses import fields
from io import BufferedReader
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ..backend import Array
from ..checkpoints.files import write_atomically
from ..checkpoints.header import TEXTS, read_header
from ..extras import require
from ..ops.checks import FLOATS
from .frozen import Frozen
from .graph import KINDS, Graph, Node
from .validity import check_graph
from .weights import Weights

FORMAT, FORMAT_VERSION = "tinyresnet-frozen", 1
DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F64": np.dtype("<f8")}  # safetensors is little-endian


# ---- writing -------------------------------------------------------------------------------------------------------------
def save_graph(path: str | Path, graph: Graph) -> None:
    """Writes it atomically. Raises MissingExtra without safetensors, OSError."""
    from .. import __version__

    arrays = {
        f"{i}.{name}": value.get() if isinstance(value, Weights) else value
        for i, node in enumerate(graph.nodes)
        for name, value in node.constants.items()
    }
    texts = {
        "format": FORMAT,
        "format_version": str(FORMAT_VERSION),
        "tinyresnet_version": __version__,
        "graph": json.dumps(_to_json(graph)),
    }
    texts["checksum"] = _checksum(arrays, _crcs(arrays), texts)
    write_atomically(path, require("safetensors.numpy", "train").save(arrays, texts))


def _to_json(graph: Graph) -> dict[str, Any]:
    nodes = [
        {"kind": type(node).__name__}
        | {field.name: getattr(node, field.name) for field in fields(node) if field.name not in node.constants}
        for node in graph.nodes
    ]
    return {
        "name": graph.name,
        "input_shape": graph.input_shape,
        "dtype": graph.dtype,
        "nodes": nodes,
        "shapes": list(graph.shapes.items()),
        "output": graph.output,
        "output_shape": graph.output_shape,
    }


def _checksum(arrays: Mapping[str, Array], crcs: Mapping[str, int], texts: Mapping[str, str]) -> str:
    """CRC-32 of every text, and of every array's name, dtype, shape and (by its own CRC-32) numbers."""
    crc = zlib.crc32(json.dumps(sorted(item for item in texts.items() if item[0] != "checksum")).encode())
    for name, array in sorted(arrays.items()):
        crc = zlib.crc32(f"{name} {array.dtype} {array.shape} {crcs[name]}".encode(), crc)
    return f"{crc:08x}"


def _crcs(arrays: Mapping[str, Array]) -> dict[str, int]:
    return {name: zlib.crc32(array.data) for name, array in arrays.items()}


# ---- reading -------------------------------------------------------------------------------------------------------------
def load_frozen(path: str | Path) -> Frozen:
    """The frozen net of a file that `frozen.save(path)` wrote. Reading needs NumPy alone.

    Raises FileNotFoundError, and ValueError for damaged, foreign and newer files and for what is no file.
    """
    return Frozen(_read_graph(Path(path)))


def _read_graph(path: Path) -> Graph:
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} must be a file, a frozen net")  # a named pipe would be waited for without end
    with path.open("rb") as file:
        header = read_header(path, file, "frozen net of tinyresnet")
        texts = _texts(path, header)
        try:
            arrays = {name: _array(file, entry) for name, entry in header.items() if name != TEXTS}
            _check_length(file, header)
        except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
            raise ValueError(f"{path} is damaged: an array in it cannot be read ({error})") from error
    crcs = _crcs(arrays)
    if texts.get("checksum") != _checksum(arrays, crcs, texts):
        raise ValueError(f"{path} is damaged: it is not as it was written, since its checksum does not fit")
    try:
        again = functools.partial(_array_again, Path(os.path.abspath(path)), texts, crcs)
        graph = _from_json(json.loads(texts["graph"]), arrays, again)
        check_graph(graph)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError, OverflowError, MemoryError) as error:
        raise ValueError(f"{path} is no frozen net that this version can run: {error}") from error
    return graph


def _texts(path: Path, header: dict[str, Any]) -> dict[str, str]:
    """The metadata, if it says that the file is a frozen net which this version reads. Raises ValueError."""
    texts: dict[str, str] = header.get(TEXTS, {})
    name, version, writer = (texts.get(key) for key in ("format", "format_version", "tinyresnet_version"))
    if name != FORMAT:
        raise ValueError(f"{path} is no frozen net of tinyresnet: its format is {name!r}, not {FORMAT!r}")
    if version != str(FORMAT_VERSION):
        raise ValueError(
            f"{path} is of format version {version}, written by tinyresnet {writer}; this version reads {FORMAT_VERSION}"
        )
    return texts


def _check_length(file: BufferedReader, header: dict[str, Any]) -> None:
    """The file ends with the last of its arrays. Raises ValueError."""
    file.seek(0)
    start = 8 + int.from_bytes(file.read(8), "little")
    end = start + max((entry["data_offsets"][1] for name, entry in header.items() if name != TEXTS), default=0)
    size = os.fstat(file.fileno()).st_size
    if size != end:
        raise ValueError(f"the file has {size} bytes, and its header speaks of {end}")


def _array(file: BufferedReader, entry: dict[str, Any]) -> Array:
    """One array, read straight to its place: {"dtype": "F32", "shape": [3, 4], "data_offsets": [0, 48]}. Raises ValueError."""
    dtype, shape, (first, end) = DTYPES[entry["dtype"]], tuple(entry["shape"]), entry["data_offsets"]
    if not all(isinstance(number, int) and number >= 0 for number in (*shape, first, end)):
        raise ValueError(f"its sizes are {shape}, its place is {first} to {end}")
    if end - first != prod(shape) * dtype.itemsize:
        raise ValueError(f"{prod(shape)} numbers of {dtype} do not fit in {end - first} bytes")
    file.seek(0)
    start = 8 + int.from_bytes(file.read(8), "little")
    if start + end > os.fstat(file.fileno()).st_size:
        raise ValueError(f"it ends at byte {start + end}, behind the end of the file")
    array = np.empty(shape, dtype)
    file.seek(start + first)
    file.readinto(array.reshape(-1).view(np.uint8).data)
    return array.astype(dtype.newbyteorder("="), copy=False)


def _array_again(path: Path, texts: dict[str, str], crcs: dict[str, int], name: str) -> Array:
    """An array of a file that was loaded before. Raises ValueError if the file is no longer the same, and OSError."""
    with path.open("rb") as file:
        header = read_header(path, file, "frozen net of tinyresnet")
        array = _array(file, header[name]) if header.get(TEXTS) == texts else None
    if array is not None and _crcs({name: array}) == {name: crcs[name]}:
        return array
    raise ValueError(f"{path} has changed since the frozen net was loaded from it: load it again")


def _from_json(said: dict[str, Any], arrays: dict[str, Array], again: Callable[[str], Array]) -> Graph:
    if said["dtype"] not in FLOATS:
        raise ValueError(f"its dtype is {said['dtype']!r}, not float32 or float64")
    constants: dict[str, dict[str, Any]] = {}  # number of the node -> name of the field -> array
    for key, array in arrays.items():
        number, _, field = key.partition(".")
        array.flags.writeable = False
        constants.setdefault(number, {})[field] = (
            Weights.owned(array, functools.partial(again, key)) if field == "w" else array
        )
    return Graph(
        name=str(said["name"]),
        input_shape=_tuples(said["input_shape"]),
        dtype=said["dtype"],
        nodes=tuple(_node(node, constants.get(str(i), {})) for i, node in enumerate(said["nodes"])),
        shapes={value: _tuples(shape) for value, shape in said["shapes"]},
        output=said["output"],
        output_shape=_tuples(said["output_shape"]),
    )


def _node(said: dict[str, Any], constants: dict[str, Any]) -> Node:
    kind = KINDS.get(said["kind"])
    if kind is None:
        raise ValueError(f"it has a step {said['kind']!r}, which is none of {', '.join(KINDS)}")
    return kind(**{name: _tuples(value) for name, value in said.items() if name != "kind"}, **constants)


def _tuples(value: Any) -> Any:
    """JSON has lists where a graph has tuples."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
