"""Logits without their two axes of length 1."""

from __future__ import annotations

from typing import NamedTuple

from ..backend import Array, op
from .checks import IMAGES, check_array, check_gradient, shape_text


class SqueezeSaved(NamedTuple):
    """What squeeze_backward needs."""

    shape: tuple[int, ...]  # of x


@op
def squeeze_forward(x: Array) -> tuple[Array, SqueezeSaved]:
    """x [N, 1, 1, C] -> y [N, C]. Raises ValueError if the map is larger than 1x1. TF-Slim: tf.squeeze(net, [1, 2])."""
    check_array("x", x, IMAGES)
    if x.shape[1:3] != (1, 1):
        raise ValueError(f"x must be [N, 1, 1, C] to be squeezed, but its shape is {shape_text(x.shape)}")
    return x.reshape(x.shape[0], x.shape[3]), SqueezeSaved(x.shape)


@op
def squeeze_backward(dy: Array, saved: SqueezeSaved) -> Array:
    """dy [N, C] -> dx [N, 1, 1, C]."""
    check_gradient(dy, (saved.shape[0], saved.shape[3]))
    return dy.reshape(saved.shape)
