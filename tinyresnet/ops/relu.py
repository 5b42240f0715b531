"""The rectifier."""

from __future__ import annotations

from typing import NamedTuple

from ..backend import Array, get_array_module, op
from .checks import check_array, check_gradient


class ReluSaved(NamedTuple):
    """What relu_backward needs: y, which the next layer keeps anyway; y > 0 just where x > 0."""

    y: Array


@op
def relu_forward(x: Array) -> tuple[Array, ReluSaved]:
    """y = max(x, 0). x, y [...], float32 or float64. Raises ValueError."""
    check_array("x", x, ("...",))
    y = get_array_module(x).maximum(x, 0)
    return y, ReluSaved(y)


@op
def relu_backward(dy: Array, saved: ReluSaved) -> Array:
    """dy [...] -> dx [...]: the gradient passes where x > 0 (at 0 the derivative is taken as 0)."""
    check_gradient(dy, saved.y.shape, saved.y.dtype)
    return dy * (saved.y > 0)
