"""The sum of two branches."""

from __future__ import annotations

from ..backend import Array, op
from .checks import check_array, check_like


@op
def add(a: Array, b: Array) -> Array:
    """y = a + b, of equal shape and dtype (float32 or float64). Raises ValueError.

    There is no backward: an addition hands its gradient to both sides. It is an op, and not `+`, so that it can be replaced and traced.
    """
    check_array("a", a, ("...",))
    check_like("b", b, a.shape, a.dtype, "as a has")
    return a + b
