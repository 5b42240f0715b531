"""What kernels ask of an array: its elements in order, without gaps, where the processor expects them."""

from __future__ import annotations

import numpy as np

from ...backend import Array
from ...kernels.cpu.memory import MEMORY

KEPT = 512  # templates (see kernels/cpu/template.py) that each kind of an op keeps, at most: a net has a few dozen geometries


def dense(x: Array) -> Array:
    """x itself if it is C-contiguous, aligned and in the machine's byte order, else a copy that is."""
    if x.flags.c_contiguous and x.flags.aligned and x.dtype.isnative:
        return x
    return np.array(x, x.dtype.newbyteorder("="), order="C", copy=True)


def pixels_of(x: Array) -> tuple[int, int]:
    """x [..., C] as (pixels, C)."""
    c = x.shape[-1]
    return (x.size // c if c else 0), c


def result(shape: tuple[int, ...], like: Array) -> Array:
    """A new array of this shape, of the type of `like` in the machine's byte order, to be filled."""
    y: Array = MEMORY.empty(shape, like.dtype.newbyteorder("="))
    return y
