"""Pooling on compiled kernels."""

from __future__ import annotations

import numpy as np

from ...backend import REFERENCE, Array
from ...kernels.cpu import pooling, threads
from ...kernels.cpu.plan import Plan, pieces
from ..checks import IMAGES, Pair, check_array, check_gradient, positive_pair
from ..global_avg_pool import GlobalAvgPoolSaved, check_global_avg_pool
from ..max_pool2d import MaxPool2DSaved
from ..windows import Windows, windows
from .arrays import dense, result


def _geometry(shape: tuple[int, ...], win: Windows) -> dict[str, int]:
    n, h, width, c = shape
    (kh, kw), (sh, sw), (oh, ow) = win.kernel, win.stride, win.size
    sizes = dict(n=n, h=h, width=width, c=c, oh=oh, ow=ow)
    return sizes | dict(kh=kh, kw=kw, sh=sh, sw=sw, top=win.pads[0][0], left=win.pads[1][0])


def max_pool2d_forward(
    x: Array, kernel_size: int | Pair, stride: int | Pair = 2, padding: str = "VALID"
) -> tuple[Array, MaxPool2DSaved]:
    """As ops.max_pool2d_forward."""
    check_array("x", x, IMAGES)
    win = windows(x.shape, positive_pair("kernel_size", kernel_size), stride, 1, padding)
    if win.kernel[0] * win.kernel[1] > 256:  # who won does not fit into a byte
        return REFERENCE["max_pool2d_forward"](x, kernel_size, stride, padding)  # type: ignore[no-any-return]
    shape = (x.shape[0], *win.size, x.shape[3])
    y, winner, plan = result(shape, x), np.empty(shape, np.uint8), Plan(x.dtype)
    tasks = pieces(shape[0] * shape[1], 1, threads.get_num_threads())
    plan.add(pooling.max_pool, tasks=tasks, x=dense(x), y=y, winner=winner, **_geometry(x.shape, win))
    plan.run()
    return y, MaxPool2DSaved(winner, x.shape, win)


def max_pool2d_backward(dy: Array, saved: MaxPool2DSaved) -> Array:
    """As ops.max_pool2d_backward."""
    check_gradient(dy, saved.winner.shape)
    if saved.winner.dtype != np.uint8:
        return dense(REFERENCE["max_pool2d_backward"](dy, saved))
    dx, plan = result(saved.shape, dy), Plan(dy.dtype)
    tasks = pieces(saved.shape[0] * saved.shape[1], 1, threads.get_num_threads())
    fields = dict(dy=dense(dy), dx=dx, winner=dense(saved.winner))
    plan.add(pooling.max_pool_gradient, tasks=tasks, **fields, **_geometry(saved.shape, saved.windows))
    plan.run()
    return dx


def global_avg_pool_forward(x: Array) -> tuple[Array, GlobalAvgPoolSaved]:
    """As ops.global_avg_pool_forward."""
    check_global_avg_pool(x)
    n, h, w, c = x.shape
    y, plan = result((n, 1, 1, c), x), Plan(x.dtype)
    plan.add(pooling.global_mean, c * x.itemsize + 8 + 8 * c, tasks=n, x=dense(x), y=y, h=h * w, c=c)
    plan.run()
    return y, GlobalAvgPoolSaved(x.shape)


def global_avg_pool_backward(dy: Array, saved: GlobalAvgPoolSaved) -> Array:
    """As ops.global_avg_pool_backward."""
    n, h, w, c = saved.shape
    check_gradient(dy, (n, 1, 1, c))
    dx, plan = result(saved.shape, dy), Plan(dy.dtype)
    plan.add(pooling.global_mean_gradient, c * dy.itemsize, tasks=n, dy=dense(dy), dx=dx, h=h * w, c=c)
    plan.run()
    return dx
