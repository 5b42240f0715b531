"""The numbers that both sides make for themselves, so that no fixture has to carry them; and how a fixture holds many arrays.

`record.py` (live TF-Slim, NumPy 1.x) and `test_tf_slim.py` (tinyresnet, NumPy 2.x) both import this file; it needs NumPy only.
Every number comes from `Generator.random`, an integer times 2**-53, and from single IEEE operations: the same bits everywhere,
which `normal` would not promise. Each array has a stream of its own, [crc32(name), seed], so order does not matter.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

WHOLE = 250  # an array of at most this many entries is kept whole, of a larger one this many seeded samples
NEGLIGIBLE = 1e-4  # a gradient whose largest entry is below this part of the largest of all is 0 but for rounding
ALLOWED_FLOAT64 = 1e-9
ALLOWED = {  # the error of a float32 array, divided by scale(...) of it
    "net": 2e-5,
    "end_points": 2e-5,
    "gradients": 1e-4,
    "gradients_at": 1e-4,
    "moving": 1e-5,
    "regularization_loss": 1e-6,
}
RANGES = {
    "gamma": (0.5, 1.5),
    "beta": (-0.5, 0.5),
    "biases": (-0.5, 0.5),
    "moving_mean": (-0.5, 0.5),
    "moving_variance": (0.5, 1.5),
}


def uniform(name: str, seed: int, shape: tuple[int, ...], low: float = -1.0, high: float = 1.0) -> np.ndarray:
    """float32, uniform in [low, high): images, upstream gradients."""
    stream = np.random.default_rng([zlib.crc32(name.encode()), seed])
    return (low + (high - low) * stream.random(shape)).astype(np.float32)


def variable(name: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """A value for a variable, by the last part of its name: nothing is left at the 0 or 1 that could hide a mistake."""
    leaf = name.rpartition("/")[2]
    if leaf == "weights":
        bound = math.sqrt(6.0 / math.prod(shape[:-1]))  # variance 2 / fan_in
        return uniform(name, seed, shape, -bound, bound)
    return uniform(name, seed, shape, *RANGES[leaf])


def mesh(shape: tuple[int, ...]) -> np.ndarray:
    """row + column, the picture and the kernel of TF-Slim's resnet_v2_test.py; a 1-D shape (biases) gives zeros."""
    if len(shape) == 1:
        return np.zeros(shape, np.float32)
    rows, columns = (shape[0], shape[1]) if shape[2:] == (1, 1) else (shape[1], shape[2])
    return (np.arange(rows)[:, None] + np.arange(columns)[None, :]).astype(np.float32).reshape(shape)


def count(shape: tuple[int, ...]) -> np.ndarray:
    """0, 1, 2, ... in row order: the input of TF-Slim's subsample tests."""
    return np.arange(math.prod(shape), dtype=np.float32).reshape(shape)


def scale(group: str, largest: float, largest_of_all: float) -> float:
    """What the error of an array is divided by: its own largest |entry|.

    But a gradient may be 0 in exact arithmetic, and is rounding noise then: that of biases, where every path leads into a batch
    norm, which takes a constant away again. What is left of terms that cancel is as large as the rounding of those
    terms, whose size the other gradients show: the scale is the largest entry of all gradients.
    """
    cancelled = group == "gradients" and largest < NEGLIGIBLE * largest_of_all
    return max(largest_of_all if cancelled else largest, float(np.finfo(np.float32).tiny))


class Recorded(NamedTuple):
    """What a fixture knows about one array: all entries or seeded samples, the largest |entry|, and one random projection.

    The projection (the sum of entry * a seeded number in [-1, 1)) sees the entries that the samples miss.
    """

    name: str
    shape: tuple[int, ...]
    entries: np.ndarray  # flat: all of them, or those at sample_indices(...)
    largest: float
    projection: float

    def entries_of(self, array: np.ndarray) -> np.ndarray:
        """The same entries of another array of this shape."""
        return array.reshape(-1)[sample_indices(self.name, array.size, self.entries.size)]

    def projection_of(self, array: np.ndarray) -> float:
        return projection(self.name, array)


def sample_indices(name: str, size: int, kept: int) -> np.ndarray:
    if size == kept:
        return np.arange(size)
    stream = np.random.default_rng([zlib.crc32(name.encode()), size])
    return (stream.random(kept) * size).astype(np.int64)


def projection(name: str, array: np.ndarray) -> float:
    stream = np.random.default_rng([zlib.crc32(b"projection of " + name.encode()), array.size])
    return float((array.reshape(-1).astype(np.float64) * (2.0 * stream.random(array.size) - 1.0)).sum())


def pack(case: str, groups: Mapping[str, Mapping[str, np.ndarray]], whole: int = WHOLE) -> dict[str, np.ndarray]:
    """Many named arrays as four flat ones and a JSON table; `unpack` reads them back."""
    table, entries, largest, projections = [], [], [], []
    for group, arrays in groups.items():
        for name, array in arrays.items():
            kept = min(array.size, whole)
            table.append([group, name, list(array.shape), kept])
            entries.append(array.reshape(-1)[sample_indices(name, array.size, kept)])
            largest.append(float(np.abs(array).max(initial=0)))
            projections.append(projection(name, array))
    return {
        f"{case}/table": pack_json(table),
        f"{case}/entries": np.concatenate(entries),
        f"{case}/largest": np.array(largest, np.float64),
        f"{case}/projections": np.array(projections, np.float64),
    }


def unpack(fixture: Mapping[str, np.ndarray], case: str) -> dict[str, dict[str, Recorded]]:
    """group -> name -> what was recorded."""
    entries, largest, projections = (fixture[f"{case}/{part}"] for part in ("entries", "largest", "projections"))
    groups: dict[str, dict[str, Recorded]] = {}
    start = 0
    for i, (group, name, shape, kept) in enumerate(unpack_json(fixture[f"{case}/table"])):
        recorded = Recorded(name, tuple(shape), entries[start : start + kept], float(largest[i]), float(projections[i]))
        groups.setdefault(group, {})[name] = recorded
        start += kept
    return groups


def pack_json(value: Any) -> np.ndarray:
    return np.frombuffer(json.dumps(value).encode(), np.uint8)


def unpack_json(array: np.ndarray) -> Any:
    return json.loads(array.tobytes())
