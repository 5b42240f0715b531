"""Convolution on compiled kernels."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...backend import REFERENCE, Array
from ...kernels.cpu.plan import Plan
from ...kernels.cpu.plan_convolution import (
    Geometry,
    choose,
    convolve,
    input_gradient,
    packed_size,
    prepare_weights,
    weights_gradient,
)
from ..checks import Pair, check_gradient
from ..conv2d import Conv2DSaved, check_conv2d
from ..windows import Pads, Windows
from .arrays import dense, result

MOST_PHASES = 64  # a stride beyond this many phases (8 x 8) is left to NumPy


def geometry(shape: tuple[int, ...], w_shape: tuple[int, ...], win: Windows) -> Geometry:
    """The kernels' words for what x [N, H, W, C], w [KH, KW, C, K] and the windows say."""
    n, h, width, c = shape
    return Geometry(
        n, h, width, c, *win.size, w_shape[3], *win.kernel, *win.stride, *win.rate, win.pads[0][0], win.pads[1][0]
    )  # fmt: skip


def conv2d_forward(
    x: Array, w: Array, stride: int | Pair = 1, rate: int | Pair = 1, padding: str | Pads = "SAME"
) -> tuple[Array, Conv2DSaved]:
    """As ops.conv2d_forward."""
    win = check_conv2d(x, w, stride, rate, padding)
    g = geometry(x.shape, w.shape, win)
    plan, method = Plan(x.dtype), choose(g, x.dtype.itemsize, False)
    packed = plan.room(packed_size(method, g, x.dtype))
    y = result((g.n, g.oh, g.ow, g.k), x)
    if y.size:
        prepare_weights(plan, method, g, dense(w), packed)
        convolve(plan, method, g, dense(x), packed, y)
        plan.run()
    return y, Conv2DSaved(x, w, win.stride, win.rate, win.pads)


def conv2d_backward(dy: Array, saved: Conv2DSaved) -> tuple[Array | None, Array]:
    """As ops.conv2d_backward."""
    win = saved.windows()
    if win.stride[0] * win.stride[1] > MOST_PHASES:
        dx, dw = REFERENCE["conv2d_backward"](dy, saved)
        return None if dx is None else dense(dx), dw
    x, w = saved.x, saved.w
    g = geometry(x.shape, w.shape, win)
    check_gradient(dy, (g.n, g.oh, g.ow, g.k), x.dtype)
    dy = dense(dy)
    dx: Any = None
    dw = result(w.shape, w)
    plan = Plan(x.dtype)
    weights_gradient(plan, g, dense(x), dy, dw)
    plan.run()
    if saved.input_gradient:
        plan, dx = Plan(x.dtype), result(x.shape, x)
        if dx.size:
            input_gradient(plan, g, dy, dense(w), dx)
            plan.run()
    return dx, dw
