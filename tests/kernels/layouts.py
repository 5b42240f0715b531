"""The ways an array may lie in memory: slices, transposes, reversed, broadcast, read-only, unaligned."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def plain(a: np.ndarray) -> np.ndarray:
    return a.copy(order="C")


def every_second(a: np.ndarray) -> np.ndarray:
    """A slice with a step along every axis; what lies between would spoil a sum."""
    big = np.full([2 * size + 1 for size in a.shape], 1e9, a.dtype)
    view = big[tuple(slice(1, None, 2) for _ in a.shape)]
    view[...] = a
    return view


def some_channels(a: np.ndarray) -> np.ndarray:
    """The middle of a wider array, as a split along the channels gives it: rows are contiguous, pixels are not neighbours."""
    big = np.full((*a.shape[:-1], a.shape[-1] + 5), 1e9, a.dtype)
    big[..., 2:-3] = a
    return big[..., 2:-3]


def cropped(a: np.ndarray) -> np.ndarray:
    """A window of larger images."""
    big = np.full((a.shape[0], *(size + 3 for size in a.shape[1:-1]), a.shape[-1]), 1e9, a.dtype) if a.ndim > 1 else a
    view = big[(slice(None), *(slice(1, -2) for _ in a.shape[1:-1]))]
    view[...] = a
    return view


def fortran(a: np.ndarray) -> np.ndarray:
    return np.asfortranarray(a)


def channels_first(a: np.ndarray) -> np.ndarray:
    """NHWC seen through a transpose of NCHW."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(a, -1, 0)), 0, -1)


def reversed_(a: np.ndarray) -> np.ndarray:
    """Negative strides along every axis."""
    backwards = tuple(slice(None, None, -1) for _ in a.shape)
    return a[backwards].copy()[backwards]


def broadcast(a: np.ndarray) -> np.ndarray:
    """Its first image, or entry, again and again: stride 0, read-only. The values are others than `a`'s."""
    return np.broadcast_to(a[:1], a.shape)


def read_only(a: np.ndarray) -> np.ndarray:
    copy = a.copy()
    copy.flags.writeable = False
    return copy


def one_number_later(a: np.ndarray) -> np.ndarray:
    """Aligned for its dtype, but for no vector."""
    view = np.empty(a.size + 1, a.dtype)[1:].reshape(a.shape)
    view[...] = a
    return view


def unaligned(a: np.ndarray) -> np.ndarray:
    """As a file with an odd header gives it: not aligned even for its dtype."""
    view = np.empty(a.nbytes + 1, np.uint8)[1:].view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    layout.__name__.strip("_"): layout
    for layout in (
        plain, every_second, some_channels, cropped, fortran, channels_first, reversed_, broadcast, read_only,
        one_number_later, unaligned,
    )
}  # fmt: skip
