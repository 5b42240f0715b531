"""A bias for every channel."""

from __future__ import annotations

from typing import NamedTuple

from ..backend import Array, op
from .checks import CHANNELS_LAST, check_array, check_gradient, check_like
from .sums import sum_over_pixels


class BiasAddSaved(NamedTuple):
    """What bias_add_backward needs: nothing but the shape of x, to check dy."""

    shape: tuple[int, ...]


@op
def bias_add_forward(x: Array, b: Array) -> tuple[Array, BiasAddSaved]:
    """y = x + b. x, y [..., C], float32 or float64; b [C] of the same dtype. Raises ValueError. TensorFlow: tf.nn.bias_add."""
    check_array("x", x, CHANNELS_LAST)
    check_like("b", b, x.shape[-1:], x.dtype, "as x has channels")
    return x + b, BiasAddSaved(x.shape)


@op
def bias_add_backward(dy: Array, saved: BiasAddSaved) -> tuple[Array, Array]:
    """dy [..., C] -> dx = dy itself (a bias shifts, so the gradient passes), db [C] = the sum over all pixels."""
    check_gradient(dy, saved.shape)
    return dy, sum_over_pixels(dy)
