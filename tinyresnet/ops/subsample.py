"""Every factor-th pixel: how a unit's identity shortcut keeps up with a stride."""

from __future__ import annotations

from typing import NamedTuple

from ..backend import Array, get_array_module, op
from .checks import IMAGES, check_array, check_gradient, positive_int


class SubsampleSaved(NamedTuple):
    """What subsample_backward needs."""

    shape: tuple[int, ...]  # of x
    factor: int


@op
def subsample_forward(x: Array, factor: int) -> tuple[Array, SubsampleSaved]:
    """y = x[:, ::factor, ::factor]. x [N, H, W, C] -> y [N, ceil(H / factor), ceil(W / factor), C]. Raises ValueError.

    TF-Slim: resnet_utils.subsample (a 1x1 max pool with that stride, which is the same).
    """
    check_array("x", x, IMAGES)
    factor = positive_int("factor", factor)
    return x[:, ::factor, ::factor].copy(), SubsampleSaved(x.shape, factor)


@op
def subsample_backward(dy: Array, saved: SubsampleSaved) -> Array:
    """dy -> dx [N, H, W, C]: zero wherever a pixel was dropped."""
    (n, h, w, c), factor = saved
    check_gradient(dy, (n, -(-h // factor), -(-w // factor), c))
    dx: Array = get_array_module(dy).zeros(saved.shape, dy.dtype)
    dx[:, ::factor, ::factor] = dy
    return dx
