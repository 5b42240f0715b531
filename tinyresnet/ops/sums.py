"""Sums over all pixels of a channel, which must not lose float32's digits."""

from __future__ import annotations

from ..backend import Array


def sum_over_pixels(x: Array) -> Array:
    """[..., C] -> [C], one axis after the other.

    A plain float32 sum of the 400,000 values that a channel of conv1 has loses two digits, as small numbers drown in the big
    total. Summed axis by axis, no running total has more terms than one axis has entries.
    """
    while x.ndim > 1:
        x = x.sum(-2)
    return x
