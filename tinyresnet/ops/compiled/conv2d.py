"""Convolution on compiled kernels."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from ...backend import REFERENCE, Array
from ...kernels.cpu import threads
from ...kernels.cpu.plan_convolution import (
    Epilogue,
    Geometry,
    choose,
    convolve,
    input_gradient,
    packed_size,
    prepare_weights,
    weights_gradient,
)
from ...kernels.cpu.template import Operand, Template
from ..bias_add import BiasAddSaved
from ..checks import Pair, check_gradient, check_like
from ..conv2d import Conv2DSaved, check_conv2d
from ..conv2d_bias_add import Conv2DBiasAddSaved
from ..windows import Pads, Windows
from .arrays import KEPT, dense, result
from .elementwise import bias_add_backward

MOST_PHASES = 64  # a stride beyond this many phases (8 x 8) is left to NumPy


def geometry(shape: tuple[int, ...], w_shape: tuple[int, ...], win: Windows) -> Geometry:
    """The kernels' words for what x [N, H, W, C], w [KH, KW, C, K] and the windows say."""
    n, h, width, c = shape
    return Geometry(
        n, h, width, c, *win.size, w_shape[3], *win.kernel, *win.stride, *win.rate, win.pads[0][0], win.pads[1][0]
    )  # fmt: skip


@lru_cache(KEPT)
def _convolution(g: Geometry, method: str, biases: bool, dtype: str, workers: int) -> Template:
    """Of any weights: operands x, w, y, and biases, if there are any."""
    plan = Template(dtype)
    packed = plan.room(packed_size(method, g, plan.dtype))
    prepare_weights(plan, method, g, Operand(1), packed)
    convolve(plan, method, g, Operand(0), packed, Operand(2), Epilogue(bias=Operand(3) if biases else None))
    return plan.close()


def _convolved(x: Array, w: Array, bias: Array | None, win: Windows) -> Array:
    g = geometry(x.shape, w.shape, win)
    y = result((g.n, g.oh, g.ow, g.k), x)
    if y.size:
        method = choose(g, x.dtype.itemsize, False)
        template = _convolution(g, method, bias is not None, x.dtype.char, threads.get_num_threads())
        template.run(dense(x), dense(w), y, *(() if bias is None else (dense(bias),)))
    return y


@lru_cache(KEPT)
def _weights_gradient(g: Geometry, method: str, dtype: str, workers: int) -> Template:
    """Operands x, dy, dw."""
    plan = Template(dtype)
    weights_gradient(plan, g, Operand(0), Operand(1), Operand(2), method=method)
    return plan.close()


@lru_cache(KEPT)
def _input_gradient(g: Geometry, method: str, dtype: str, workers: int) -> Template:
    """Operands dy, w, dx."""
    plan = Template(dtype)
    input_gradient(plan, g, Operand(0), Operand(1), Operand(2), method=method)
    return plan.close()


def conv2d_forward(
    x: Array, w: Array, stride: int | Pair = 1, rate: int | Pair = 1, padding: str | Pads = "SAME"
) -> tuple[Array, Conv2DSaved]:
    """As ops.conv2d_forward."""
    win = check_conv2d(x, w, stride, rate, padding)
    return _convolved(x, w, None, win), Conv2DSaved(x, w, win.stride, win.rate, win.pads)


def conv2d_bias_add_forward(
    x: Array, w: Array, b: Array, stride: int | Pair = 1, rate: int | Pair = 1, padding: str | Pads = "SAME"
) -> tuple[Array, Conv2DBiasAddSaved]:
    """As ops.conv2d_bias_add_forward."""
    win = check_conv2d(x, w, stride, rate, padding)
    check_like("b", b, w.shape[3:], x.dtype, "as x has channels")
    y = _convolved(x, w, b, win)
    return y, Conv2DBiasAddSaved(Conv2DSaved(x, w, win.stride, win.rate, win.pads), BiasAddSaved(y.shape))


def conv2d_backward(dy: Array, saved: Conv2DSaved) -> tuple[Array | None, Array]:
    """As ops.conv2d_backward."""
    win = saved.windows()
    if win.stride[0] * win.stride[1] > MOST_PHASES:
        in_padded, dw = REFERENCE["conv2d_backward"](dy, saved)
        return None if in_padded is None else dense(in_padded), dw
    x, w = saved.x, saved.w
    g = geometry(x.shape, w.shape, win)
    check_gradient(dy, (g.n, g.oh, g.ow, g.k), x.dtype)
    dy, size, workers = dense(dy), x.dtype.itemsize, threads.get_num_threads()
    dx: Any = None
    dw = result(w.shape, w)
    if dy.size:
        _weights_gradient(g, choose(g, size, True), x.dtype.char, workers).run(dense(x), dy, dw)
    else:
        dw[...] = 0
    if saved.input_gradient:
        dx = result(x.shape, x)
        if dx.size:
            method = choose(g.turned(), size, False, True)
            _input_gradient(g, method, x.dtype.char, workers).run(dy, dense(w), dx)
    return dx, dw


def conv2d_bias_add_backward(dy: Array, saved: Conv2DBiasAddSaved) -> tuple[Array | None, Array, Array]:
    """As ops.conv2d_bias_add_backward."""
    _, db = bias_add_backward(dy, saved.bias_add)
    return *conv2d_backward(dy, saved.conv2d), db
