"""Sums, ReLU, bias, and every factor-th pixel on compiled kernels."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ...backend import Array
from ...kernels.cpu import elementwise, threads
from ...kernels.cpu.batch_norm import BLOCK
from ...kernels.cpu.plan import pieces
from ...kernels.cpu.template import Operand, Template
from ..bias_add import BiasAddSaved
from ..checks import CHANNELS_LAST, IMAGES, check_array, check_gradient, check_like, positive_int
from ..relu import ReluSaved
from ..subsample import SubsampleSaved
from .arrays import KEPT, dense, pixels_of, result

FLOATS = 16384  # elements, the least that is worth a task
PARTS = 32  # as for batch norm's sums


def _tasks(count: int, row: int = 1) -> int:
    return int(pieces(count, -(-FLOATS // max(row, 1)), threads.get_num_threads()))


@lru_cache(KEPT)
def _elementwise(count: int, dtype: str, kernel_number: int, names: tuple[str, ...], workers: int) -> Template:
    """One pass over arrays of `count` elements each, which are these fields of the Step. workers: what `_tasks` depends on."""
    plan = Template(dtype)
    fields = {name: Operand(i) for i, name in enumerate(names)}
    plan.add(elementwise.elementwise, tasks=_tasks(count), n=count, b=kernel_number, **fields)
    return plan.close()


def _run(result: Array, kernel_number: int, **arrays: Array) -> None:
    _elementwise(result.size, result.dtype.char, kernel_number, tuple(arrays), threads.get_num_threads()).run(
        *arrays.values()
    )


def add(a: Array, b: Array) -> Array:
    """As ops.add."""
    check_array("a", a, ("...",))
    check_like("b", b, a.shape, a.dtype, "as a has")
    y = result(a.shape, a)
    _run(y, elementwise.ADD, x=dense(a), residual=dense(b), y=y)
    return y


def relu_forward(x: Array) -> tuple[Array, ReluSaved]:
    """As ops.relu_forward."""
    check_array("x", x, ("...",))
    y = result(x.shape, x)
    _run(y, elementwise.RELU_FORWARD, x=dense(x), y=y)
    return y, ReluSaved(y)


def relu_backward(dy: Array, saved: ReluSaved) -> Array:
    """As ops.relu_backward."""
    check_gradient(dy, saved.y.shape, saved.y.dtype)
    dx = result(dy.shape, dy)
    _run(dx, elementwise.RELU_BACKWARD, dy=dense(dy), y=dense(saved.y), dx=dx)
    return dx


@lru_cache(KEPT)
def _shift(n: int, c: int, dtype: str, workers: int) -> Template:
    """y = x + b of n pixels: operands x, b, y."""
    plan = Template(dtype)
    plan.add(elementwise.scale_and_shift, tasks=_tasks(n, c), x=Operand(0), shift=Operand(1), y=Operand(2), n=n, c=c)
    return plan.close()


def bias_add_forward(x: Array, b: Array) -> tuple[Array, BiasAddSaved]:
    """As ops.bias_add_forward."""
    check_array("x", x, CHANNELS_LAST)
    check_like("b", b, x.shape[-1:], x.dtype, "as x has channels")
    y = result(x.shape, x)
    _shift(*pixels_of(x), x.dtype.char, threads.get_num_threads()).run(dense(x), dense(b), y)
    return y, BiasAddSaved(x.shape)


@lru_cache(KEPT)
def _channel_sums(n: int, c: int, dtype: str, parts: int) -> Template:
    """The sums over some of n pixels: operands x and sums [parts, c], float64."""
    plan = Template(dtype)
    scratch = c * plan.dtype.itemsize
    plan.add(elementwise.channel_sums, scratch, tasks=parts, x=Operand(0), sums=Operand(1), n=n, c=c)
    return plan.close()


def bias_add_backward(dy: Array, saved: BiasAddSaved) -> tuple[Array, Array]:
    """As ops.bias_add_backward."""
    check_gradient(dy, saved.shape)
    n, c = pixels_of(dy)
    parts = max(1, min(PARTS, n // BLOCK))
    sums = np.empty((parts, c))
    _channel_sums(n, c, dy.dtype.char, parts).run(dense(dy), sums)
    return dy, sums.sum(0).astype(dy.dtype)


@lru_cache(KEPT)
def _subsample(
    x: tuple[int, ...], y: tuple[int, ...], factor: int, backward: int, dtype: str, workers: int
) -> Template:
    """Of maps of these shapes. Operands x and y, or dy and dx."""
    plan = Template(dtype)
    (n, h, w, c), (_, oh, ow, _) = x, y
    shape = dict(n=n, h=h, width=w, c=c, oh=oh, ow=ow, sh=factor, b=backward)
    tasks = _tasks(n * h, w * c) if backward else _tasks(n * oh, ow * c)
    places = dict(dy=Operand(0), dx=Operand(1)) if backward else dict(x=Operand(0), y=Operand(1))
    plan.add(elementwise.subsample, tasks=tasks, **places, **shape)
    return plan.close()


def subsample_forward(x: Array, factor: int) -> tuple[Array, SubsampleSaved]:
    """As ops.subsample_forward."""
    check_array("x", x, IMAGES)
    factor = positive_int("factor", factor)
    n, h, w, c = x.shape
    y = result((n, -(-h // factor), -(-w // factor), c), x)
    _subsample(x.shape, y.shape, factor, 0, x.dtype.char, threads.get_num_threads()).run(dense(x), y)
    return y, SubsampleSaved(x.shape, factor)


def subsample_backward(dy: Array, saved: SubsampleSaved) -> Array:
    """As ops.subsample_backward."""
    (n, h, w, c), factor = saved
    check_gradient(dy, (n, -(-h // factor), -(-w // factor), c))
    dx = result(saved.shape, dy)
    _subsample(dx.shape, dy.shape, factor, 1, dy.dtype.char, threads.get_num_threads()).run(dense(dy), dx)
    return dx
