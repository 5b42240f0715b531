"""The weights of a convolution in a graph: large, so there is one copy of them at a time."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from ..backend import Array


class Weights:
    """[KH, KW, C, K] of a dtype, and how to get them.

    While a net is folded they are the store's array, not copied, and a factor for each output channel, not yet multiplied. Whoever runs
    the graph either keeps them as an array, or has them in an order of its own, from which it can bring them back, and needs no other copy.
    """

    def __init__(self, array: Array, scale: Array | None = None) -> None:
        self.shape, self.dtype, self.size = array.shape, array.dtype, array.size
        self._foundation: tuple[Array, Array | None] | None = (array, scale)
        self._source: Callable[[], Array] = lambda: _scaled(array, scale)
        self._origin: Callable[[], Array] | None = None

    @classmethod
    def owned(cls, array: Array, origin: Callable[[], Array] | None = None) -> Weights:
        """Weights that are in nobody else's hands. `origin` can get them again: from the file that they were read from."""
        weights = cls(array)
        weights.replace(lambda: array)
        weights._origin = origin
        return weights

    def times(self, scale: Array) -> Weights:
        """The same, with output channel k times scale[k]. Only before `keep` and `replace`."""
        assert self._foundation is not None
        array, before = self._foundation
        return Weights(array, scale if before is None else before * scale)

    def get(self) -> Array:
        """As an array that nobody may write to."""
        array = self._source()
        array.flags.writeable = False
        return array

    def same_as(self, other: Weights) -> bool:
        """Whether both stand for the same numbers. Only before `keep` and `replace`."""
        assert self._foundation is not None and other._foundation is not None
        (a, scale), (b, other_scale) = self._foundation, other._foundation
        return (a is b or np.array_equal(a, b, equal_nan=True)) and scale is other_scale is None

    def keep(self) -> Array:
        """`get`, and from now on always this very array: what they came from may change."""
        array = self.get()
        self.replace(lambda: array)
        return array

    def settle(self) -> None:
        """For whoever does not need them any more, and cannot bring them back: they are got again from where they came from.

        That is a file, or the store's array, which nobody copies: whoever replaces a variable puts another array there. One who writes into
        it is found out by a checksum.
        """
        if self._origin is not None:
            self.replace(self._origin)
        elif self._foundation is not None:
            array, scale = self._foundation
            self.replace(functools.partial(_unchanged, array, scale, _checksum(array)))

    def replace(self, source: Callable[[], Array]) -> None:
        """From now on `source` makes them, and what they were made of is let go of."""
        self._source, self._foundation = source, None


def _checksum(array: Array) -> int:
    return zlib.crc32(np.ascontiguousarray(array).data)


def _unchanged(array: Array, scale: Array | None, checksum: int) -> Any:
    if _checksum(array) != checksum:
        raise RuntimeError(
            f"weights {list(array.shape)} of the store were written to after the net was frozen, so they are no longer the frozen net's: "
            "save it before, or replace variables (variables[name] = array) and leave the arrays as they are"
        )
    return _scaled(array, scale)


def _scaled(array: Array, scale: Array | None) -> Any:
    """In float64, rounded once; in any case a copy."""
    if scale is None:
        return np.array(array, order="C")
    return np.ascontiguousarray((array.astype(np.float64) * scale).astype(array.dtype))
