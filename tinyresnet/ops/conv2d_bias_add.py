"""A composite: a convolution and the biases that follow it, so that a kernel can add them while the sums are still in registers."""

from __future__ import annotations

from typing import NamedTuple

from ..backend import Array, op
from .bias_add import BiasAddSaved, bias_add_backward, bias_add_forward
from .checks import Pair
from .conv2d import Conv2DSaved, conv2d_backward, conv2d_forward
from .windows import Pads


class Conv2DBiasAddSaved(NamedTuple):
    """What conv2d_bias_add_backward needs."""

    conv2d: Conv2DSaved
    bias_add: BiasAddSaved


@op(parts=("conv2d_forward", "bias_add_forward"))
def conv2d_bias_add_forward(
    x: Array, w: Array, b: Array, stride: int | Pair = 1, rate: int | Pair = 1, padding: str | Pads = "SAME"
) -> tuple[Array, Conv2DBiasAddSaved]:
    """y = conv2d(x, w) + b. b: [K], of x's dtype; the other arguments, and the errors, as conv2d_forward."""
    convolved, conv2d_saved = conv2d_forward(x, w, stride=stride, rate=rate, padding=padding)
    y, bias_add_saved = bias_add_forward(convolved, b)
    return y, Conv2DBiasAddSaved(conv2d_saved, bias_add_saved)


@op(parts=("conv2d_backward", "bias_add_backward"))
def conv2d_bias_add_backward(dy: Array, saved: Conv2DBiasAddSaved) -> tuple[Array | None, Array, Array]:
    """dy [N, OH, OW, K] -> dx [N, H, W, C], dw [KH, KW, C, K], db [K]."""
    d_convolved, db = bias_add_backward(dy, saved.bias_add)
    dx, dw = conv2d_backward(d_convolved, saved.conv2d)
    return dx, dw, db
