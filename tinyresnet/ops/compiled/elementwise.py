"""Sums, ReLU, bias, and every factor-th pixel on compiled kernels."""

from __future__ import annotations

import numpy as np

from ...backend import Array
from ...kernels.cpu import elementwise, threads
from ...kernels.cpu.batch_norm import BLOCK
from ...kernels.cpu.plan import Plan, pieces
from ..bias_add import BiasAddSaved
from ..checks import CHANNELS_LAST, IMAGES, check_array, check_gradient, check_like, positive_int
from ..relu import ReluSaved
from ..subsample import SubsampleSaved
from .arrays import dense, pixels_of, result

FLOATS = 16384  # elements, the least that is worth a task
PARTS = 32  # as for batch norm's sums


def _tasks(count: int, row: int = 1) -> int:
    return int(pieces(count, -(-FLOATS // max(row, 1)), threads.get_num_threads()))


def _run(result: Array, kernel_number: int, **arrays: Array) -> None:
    plan = Plan(result.dtype)
    plan.add(elementwise.elementwise, tasks=_tasks(result.size), n=result.size, b=kernel_number, **arrays)
    plan.run()


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


def bias_add_forward(x: Array, b: Array) -> tuple[Array, BiasAddSaved]:
    """As ops.bias_add_forward."""
    check_array("x", x, CHANNELS_LAST)
    check_like("b", b, x.shape[-1:], x.dtype, "as x has channels")
    y, (n, c), plan = result(x.shape, x), pixels_of(x), Plan(x.dtype)
    plan.add(elementwise.scale_and_shift, tasks=_tasks(n, c), x=dense(x), y=y, n=n, c=c, shift=dense(b))
    plan.run()
    return y, BiasAddSaved(x.shape)


def bias_add_backward(dy: Array, saved: BiasAddSaved) -> tuple[Array, Array]:
    """As ops.bias_add_backward."""
    check_gradient(dy, saved.shape)
    (n, c), plan = pixels_of(dy), Plan(dy.dtype)
    parts = max(1, min(PARTS, n // BLOCK))
    sums = np.empty((parts, c))
    plan.add(elementwise.channel_sums, c * dy.itemsize, tasks=parts, x=dense(dy), n=n, c=c, sums=sums)
    plan.run()
    return dy, sums.sum(0).astype(dy.dtype)


def subsample_forward(x: Array, factor: int) -> tuple[Array, SubsampleSaved]:
    """As ops.subsample_forward."""
    check_array("x", x, IMAGES)
    factor = positive_int("factor", factor)
    n, h, w, c = x.shape
    y, plan = result((n, -(-h // factor), -(-w // factor), c), x), Plan(x.dtype)
    shape = dict(n=n, h=h, width=w, c=c, oh=y.shape[1], ow=y.shape[2], sh=factor)
    plan.add(elementwise.subsample, tasks=_tasks(n * y.shape[1], y.shape[2] * c), x=dense(x), y=y, **shape)
    plan.run()
    return y, SubsampleSaved(x.shape, factor)


def subsample_backward(dy: Array, saved: SubsampleSaved) -> Array:
    """As ops.subsample_backward."""
    (n, h, w, c), factor = saved
    check_gradient(dy, (n, -(-h // factor), -(-w // factor), c))
    dx, plan = result(saved.shape, dy), Plan(dy.dtype)
    shape = dict(n=n, h=h, width=w, c=c, oh=dy.shape[1], ow=dy.shape[2], sh=factor, b=1)
    plan.add(elementwise.subsample, tasks=_tasks(n * h, w * c), dy=dense(dy), dx=dx, **shape)
    plan.run()
    return dx
