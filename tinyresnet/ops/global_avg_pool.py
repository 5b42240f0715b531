"""The mean of each feature map."""

from __future__ import annotations

from typing import NamedTuple

from ..backend import Array, get_array_module, op
from .checks import IMAGES, check_array, check_gradient


class GlobalAvgPoolSaved(NamedTuple):
    """What global_avg_pool_backward needs."""

    shape: tuple[int, ...]  # of x


def check_global_avg_pool(x: Array) -> None:
    """x [N, H, W, C] with at least one pixel. Raises ValueError."""
    check_array("x", x, IMAGES)
    if min(x.shape[1:3]) < 1:
        raise ValueError(f"x must have at least one pixel to average, but its shape is {list(x.shape)}")


@op
def global_avg_pool_forward(x: Array) -> tuple[Array, GlobalAvgPoolSaved]:
    """y[n,0,0,c] = the mean of x[n,:,:,c]. x [N, H, W, C] -> y [N, 1, 1, C]. Raises ValueError.

    TF-Slim: resnet_v2's tf.reduce_mean(net, [1, 2], keep_dims=True).
    """
    check_global_avg_pool(x)
    y = x.sum(2, keepdims=True).sum(1, keepdims=True) / (x.shape[1] * x.shape[2])
    return y, GlobalAvgPoolSaved(x.shape)


@op
def global_avg_pool_backward(dy: Array, saved: GlobalAvgPoolSaved) -> Array:
    """dy [N, 1, 1, C] -> dx [N, H, W, C]: each of the H*W pixels has an equal share."""
    n, h, w, c = saved.shape
    check_gradient(dy, (n, 1, 1, c))
    return get_array_module(dy).broadcast_to(dy / (h * w), saved.shape).copy()  # type: ignore[no-any-return]
