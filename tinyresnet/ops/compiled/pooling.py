"""Pooling on compiled kernels."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ...backend import REFERENCE, Array
from ...kernels.cpu import pooling, threads
from ...kernels.cpu.plan import pieces
from ...kernels.cpu.template import Operand, Template
from ..checks import IMAGES, Pair, check_array, check_gradient, positive_pair
from ..global_avg_pool import GlobalAvgPoolSaved, check_global_avg_pool
from ..max_pool2d import MaxPool2DSaved
from ..windows import Windows, windows
from .arrays import KEPT, dense, result


def _fields(shape: tuple[int, ...], win: Windows) -> dict[str, int]:
    n, h, width, c = shape
    (kh, kw), (sh, sw), (oh, ow) = win.kernel, win.stride, win.size
    sizes = dict(n=n, h=h, width=width, c=c, oh=oh, ow=ow)
    return sizes | dict(kh=kh, kw=kw, sh=sh, sw=sw, top=win.pads[0][0], left=win.pads[1][0])


@lru_cache(KEPT)
def _max_pool(shape: tuple[int, ...], win: Windows, dtype: str, workers: int) -> Template:
    """Of images of this shape: operands x, y, winner."""
    plan = Template(dtype)
    places = dict(x=Operand(0), y=Operand(1), winner=Operand(2))
    plan.add(pooling.max_pool, tasks=pieces(shape[0] * win.size[0], 1, workers), **places, **_fields(shape, win))
    return plan.close()


@lru_cache(KEPT)
def _max_pool_gradient(shape: tuple[int, ...], win: Windows, dtype: str, workers: int) -> Template:
    """Of images of this shape: operands dy, winner, dx."""
    plan = Template(dtype)
    places = dict(dy=Operand(0), winner=Operand(1), dx=Operand(2))
    plan.add(pooling.max_pool_gradient, tasks=pieces(shape[0] * shape[1], 1, workers), **places, **_fields(shape, win))
    return plan.close()


def max_pool2d_forward(
    x: Array, kernel_size: int | Pair, stride: int | Pair = 2, padding: str = "VALID"
) -> tuple[Array, MaxPool2DSaved]:
    """As ops.max_pool2d_forward."""
    check_array("x", x, IMAGES)
    win = windows(x.shape, positive_pair("kernel_size", kernel_size), stride, 1, padding)
    if win.kernel[0] * win.kernel[1] > 256:  # who won does not fit into a byte
        return REFERENCE["max_pool2d_forward"](x, kernel_size, stride, padding)  # type: ignore[no-any-return]
    shape = (x.shape[0], *win.size, x.shape[3])
    y, winner = result(shape, x), np.empty(shape, np.uint8)
    _max_pool(x.shape, win, x.dtype.char, threads.get_num_threads()).run(dense(x), y, winner)
    return y, MaxPool2DSaved(winner, x.shape, win)


def max_pool2d_backward(dy: Array, saved: MaxPool2DSaved) -> Array:
    """As ops.max_pool2d_backward."""
    check_gradient(dy, saved.winner.shape)
    if saved.winner.dtype != np.uint8:
        return dense(REFERENCE["max_pool2d_backward"](dy, saved))
    dx = result(saved.shape, dy)
    template = _max_pool_gradient(saved.shape, saved.windows, dy.dtype.char, threads.get_num_threads())
    template.run(dense(dy), dense(saved.winner), dx)
    return dx


@lru_cache(KEPT)
def _mean(shape: tuple[int, ...], dtype: str) -> Template:
    """Of images of this shape: operands x, y."""
    plan, (n, h, w, c) = Template(dtype), shape
    scratch = c * (plan.dtype.itemsize + 8) + 8
    plan.add(pooling.global_mean, scratch, tasks=n, x=Operand(0), y=Operand(1), h=h * w, c=c)
    return plan.close()


@lru_cache(KEPT)
def _mean_gradient(shape: tuple[int, ...], dtype: str) -> Template:
    """Of images of this shape: operands dy, dx."""
    plan, (n, h, w, c) = Template(dtype), shape
    scratch = c * plan.dtype.itemsize
    plan.add(pooling.global_mean_gradient, scratch, tasks=n, dy=Operand(0), dx=Operand(1), h=h * w, c=c)
    return plan.close()


def global_avg_pool_forward(x: Array) -> tuple[Array, GlobalAvgPoolSaved]:
    """As ops.global_avg_pool_forward."""
    check_global_avg_pool(x)
    y = result((x.shape[0], 1, 1, x.shape[3]), x)
    _mean(x.shape, x.dtype.char).run(dense(x), y)
    return y, GlobalAvgPoolSaved(x.shape)


def global_avg_pool_backward(dy: Array, saved: GlobalAvgPoolSaved) -> Array:
    """As ops.global_avg_pool_backward."""
    n, _, _, c = saved.shape
    check_gradient(dy, (n, 1, 1, c))
    dx = result(saved.shape, dy)
    _mean_gradient(saved.shape, dy.dtype.char).run(dense(dy), dx)
    return dx
