"""Batch norm, with or without the ReLU that follows: two passes over memory forward, two backward.

Forward, the first pass takes the mean and the variance of each channel, the second one normalises. The pixels are cut into parts; a
part's sums are taken of x - pivot, where the pivot is the part's first pixel: sums of x and x^2 themselves would cancel where a mean is
large. Parts are joined as Chan, Golub & LeVeque 1979 do. Running sums stay in registers for 64 pixels and are then added up in float64.

Backward, the first pass takes sum(dy) and sum(dy * xhat), the second one dx. Whether ReLU let a gradient pass is computed again from x,
as forward computed it: that costs nothing beside reading x, and saves reading y.
"""

from __future__ import annotations

import math
from typing import Any

from numba import njit

from .micro_kernel import RELU
from .rows import clear
from .steps import as_step, element_bytes, kernel, read, read_double, share, write, write_double
from .vectors import Channel, Double, Pixel, Place, Sum, Vectors, column_operation, row_operation

BLOCK = 64  # pixels whose sums stay in the element type


@column_operation
def _deviations(v: Vectors, total: Sum, squares: Sum, x: Pixel, pivot: Channel) -> None:
    d = v.sub(x.value, pivot.value)
    total.value, squares.value = v.add(total.value, d), v.fma(d, d, squares.value)


@column_operation
def _gradients(v: Vectors, total: Sum, products: Sum, dy: Pixel, x: Pixel, mean: Channel) -> None:
    total.value = v.add(total.value, dy.value)
    products.value = v.fma(dy.value, v.sub(x.value, mean.value), products.value)


@column_operation
def _passed_gradients(
    v: Vectors, total: Sum, products: Sum, dy: Pixel, x: Pixel, mean: Channel, scale: Channel, beta: Channel
) -> None:
    d = v.sub(x.value, mean.value)
    y = v.fma(scale.value, d, beta.value)
    passed = v.where(v.greater(y, v.zero), dy.value, v.zero)
    total.value, products.value = v.add(total.value, passed), v.fma(passed, d, products.value)


@row_operation
def add_up(v: Vectors, total: Double, part: Place) -> None:
    """total += part, in float64."""
    total.add(part.load())


@row_operation
def _normalize(v: Vectors, y: Place, x: Place, mean: Place, scale: Place, beta: Place) -> None:
    y.store(v.fma(scale.load(), v.sub(x.load(), mean.load()), beta.load()))


@row_operation
def _normalize_relu(v: Vectors, y: Place, x: Place, mean: Place, scale: Place, beta: Place) -> None:
    y.store(v.max(v.fma(scale.load(), v.sub(x.load(), mean.load()), beta.load()), v.zero))


@row_operation
def _input_gradient(
    v: Vectors, dx: Place, dy: Place, x: Place, mean: Place, scale: Place, slope: Place, offset: Place
) -> None:
    d = v.sub(x.load(), mean.load())
    dx.store(v.fma(scale.load(), dy.load(), v.fma(slope.load(), d, offset.load())))


@row_operation
def _input_gradient_relu(
    v: Vectors, dx: Place, dy: Place, x: Place, mean: Place, scale: Place, beta: Place, slope: Place, offset: Place
) -> None:
    d = v.sub(x.load(), mean.load())
    y = v.fma(scale.load(), d, beta.load())
    passed = v.where(v.greater(y, v.zero), dy.load(), v.zero)
    dx.store(v.fma(scale.load(), passed, v.fma(slope.load(), d, offset.load())))


@njit
def _add_block(like, s, size, sums, scratch):
    """The block's two sums (one after the other in scratch) to the part's."""
    add_up(like, 2 * s.c, (sums, scratch))
    clear(like, 2 * s.c, (scratch,))


@njit
def clear_doubles(address, count):
    """`count` zeros."""
    for i in range(count):
        write_double(address + 8 * i, 0.0)


@kernel
def statistics(step: Any, task: Any, scratch: Any, like: Any) -> None:
    """sums[part] = the sum of x - pivot and of its squares, 2 x c float64. A task: a part. Reads x, n (pixels), c, sums, tasks."""
    s = as_step(step)
    size = element_bytes(like)
    start, end = share(s.n, s.tasks, task), share(s.n, s.tasks, task + 1)
    sums, pivot = s.sums + task * 16 * s.c, s.x + start * s.c * size
    clear_doubles(sums, 2 * s.c)
    clear(like, 2 * s.c, (scratch,))
    for first in range(start, end, BLOCK):
        rows = min(BLOCK, end - first)
        _deviations(like, s.c, rows, s.c * size, (scratch, scratch + s.c * size, s.x + first * s.c * size, pivot))
        _add_block(like, s, size, sums, scratch)


@kernel
def join_statistics(step: Any, task: Any, scratch: Any, like: Any) -> None:
    """mean, var, inv_std of each channel from the parts' sums; scale = gamma * inv_std. A task: some channels.

    Reads x, n (pixels), c, sums, split (parts), gamma, value (epsilon), mean, var, inv_std, scale.
    """
    s = as_step(step)
    size = element_bytes(like)
    for i in range(share(s.c, s.tasks, task), share(s.c, s.tasks, task + 1)):
        count, mean, squares = 0, 0.0, 0.0
        for part in range(s.split):
            start = share(s.n, s.split, part)
            n = share(s.n, s.split, part + 1) - start
            if n == 0:
                continue
            at = s.sums + part * 16 * s.c + 8 * i
            d, d2 = read_double(at), read_double(at + 8 * s.c)
            difference = read(like, s.x + (start * s.c + i) * size) + d / n - mean
            squares += d2 - d * d / n + difference * difference * (count * n / (count + n))
            mean += difference * (n / (count + n))
            count += n
        var = max(squares, 0.0) / max(s.n, 1) if squares == squares else squares
        inv_std = 1 / math.sqrt(var + s.value) if var + s.value > 0 or var != var else math.inf
        write(like, s.mean + i * size, mean)
        write(like, s.var + i * size, var)
        write(like, s.inv_std + i * size, inv_std)
        # of the rounded inv_std, as backward will compute it again: else the two might not agree on what ReLU lets pass
        write(like, s.scale + i * size, read(like, s.gamma + i * size) * read(like, s.inv_std + i * size))


@kernel
def normalize(step: Any, task: Any, scratch: Any, like: Any) -> None:
    """y = scale * (x - mean) + beta, then ReLU if `flags` say. A task: some pixels.

    Reads x, y, n (pixels), c, mean, scale, beta, flags, tasks.
    """
    s = as_step(step)
    row = s.c * element_bytes(like)
    for i in range(share(s.n, s.tasks, task), share(s.n, s.tasks, task + 1)):
        if s.flags & RELU:
            _normalize_relu(like, s.c, (s.y + i * row, s.x + i * row, s.mean, s.scale, s.beta))
        else:
            _normalize(like, s.c, (s.y + i * row, s.x + i * row, s.mean, s.scale, s.beta))


@kernel
def gradient_sums(step: Any, task: Any, scratch: Any, like: Any) -> None:
    """sums[part] = the sum of dy and of dy * (x - mean), 2 x c float64, of what passes ReLU if `flags` say. A task: a part.

    Reads x, dy, n (pixels), c, mean, scale, beta, sums, flags, tasks.
    """
    s = as_step(step)
    size = element_bytes(like)
    row, products = s.c * size, scratch + s.c * size
    sums = s.sums + task * 16 * s.c
    clear_doubles(sums, 2 * s.c)
    clear(like, 2 * s.c, (scratch,))
    end = share(s.n, s.tasks, task + 1)
    for first in range(share(s.n, s.tasks, task), end, BLOCK):
        rows, dy, x = min(BLOCK, end - first), s.dy + first * row, s.x + first * row
        if s.flags & RELU:
            _passed_gradients(like, s.c, rows, row, (scratch, products, dy, x, s.mean, s.scale, s.beta))
        else:
            _gradients(like, s.c, rows, row, (scratch, products, dy, x, s.mean))
        _add_block(like, s, size, sums, scratch)


@kernel
def join_gradient_sums(step: Any, task: Any, scratch: Any, like: Any) -> None:
    """column_sums = dgamma, dbeta, and the slope and offset of dx = scale * dy + slope * (x - mean) + offset; 4 x c. A task: some channels.

    Reads n (pixels), c, sums, split (parts), scale, inv_std, column_sums; b: 0 if mean and variance are constants (slope = offset = 0).
    """
    s = as_step(step)
    size = element_bytes(like)
    for i in range(share(s.c, s.tasks, task), share(s.c, s.tasks, task + 1)):
        total, products = 0.0, 0.0
        for part in range(s.split):
            at = s.sums + part * 16 * s.c + 8 * i
            total += read_double(at)
            products += read_double(at + 8 * s.c)
        inv_std, scale = read(like, s.inv_std + i * size), read(like, s.scale + i * size)
        dgamma, n = products * inv_std, max(s.n, 1)
        for place, value in enumerate((dgamma, total, -scale * inv_std * dgamma / n * s.b, -scale * total / n * s.b)):
            write(like, s.column_sums + (place * s.c + i) * size, value)


@kernel
def input_gradient(step: Any, task: Any, scratch: Any, like: Any) -> None:
    """dx = scale * dy + slope * (x - mean) + offset, of what passes ReLU if `flags` say. A task: some pixels.

    Reads x, dy, dx, n (pixels), c, mean, scale, beta, column_sums (see join_gradient_sums), flags, tasks.
    """
    s = as_step(step)
    row = s.c * element_bytes(like)
    slope, offset = s.column_sums + 2 * row, s.column_sums + 3 * row
    for i in range(share(s.n, s.tasks, task), share(s.n, s.tasks, task + 1)):
        dx, dy, x = s.dx + i * row, s.dy + i * row, s.x + i * row
        if s.flags & RELU:
            _input_gradient_relu(like, s.c, (dx, dy, x, s.mean, s.scale, s.beta, slope, offset))
        else:
            _input_gradient(like, s.c, (dx, dy, x, s.mean, s.scale, slope, offset))
