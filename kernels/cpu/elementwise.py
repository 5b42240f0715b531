"""Addition, ReLU, bias, and every-factor-th pixel: one pass over memory each."""

from __future__ import annotations

from typing import Any

from .batch_norm import BLOCK, add_up, clear_doubles
from .micro_kernel import RELU
from .rows import add, affine, affine_relu, clear, copy, relu, relu_gradient
from .steps import as_step, element_bytes, kernel, share
from .vectors import Pixel, Sum, Vectors, column_operation

ADD, RELU_FORWARD, RELU_BACKWARD = 0, 1, 2


@column_operation
def _sum(v: Vectors, total: Sum, x: Pixel) -> None:
    total.value = v.add(total.value, x.value)


@kernel
def elementwise(step: Any, task: Any, scratch: Any, like: Any) -> None:
    """y = x + residual (an address here), max(x, 0), or dx = dy where y > 0: b says which. A task: some of the n elements.

    Reads x, residual, y, dy, dx, n, b, tasks.
    """
    s = as_step(step)
    size = element_bytes(like)
    first = share(s.n, s.tasks, task)
    count, at = share(s.n, s.tasks, task + 1) - first, first * size
    if s.b == ADD:
        add(like, count, (s.y + at, s.x + at, s.residual + at))
    elif s.b == RELU_FORWARD:
        relu(like, count, (s.y + at, s.x + at))
    else:
        relu_gradient(like, count, (s.dx + at, s.dy + at, s.y + at))


@kernel
def scale_and_shift(step: Any, task: Any, scratch: Any, like: Any) -> None:
    """y = scale * x + shift for each channel, or x + shift where there is no scale (0), then ReLU if `flags` say. A task: some pixels.

    Reads x, y, n (pixels), c, scale, shift, flags, tasks.
    """
    s = as_step(step)
    row = s.c * element_bytes(like)
    for i in range(share(s.n, s.tasks, task), share(s.n, s.tasks, task + 1)):
        if s.scale == 0:
            add(like, s.c, (s.y + i * row, s.x + i * row, s.shift))
        elif s.flags & RELU:
            affine_relu(like, s.c, (s.y + i * row, s.x + i * row, s.scale, s.shift))
        else:
            affine(like, s.c, (s.y + i * row, s.x + i * row, s.scale, s.shift))


@kernel
def channel_sums(step: Any, task: Any, scratch: Any, like: Any) -> None:
    """sums[part] = the sum of x over a part's pixels, c float64. A task: a part. Reads x, n (pixels), c, sums, tasks."""
    s = as_step(step)
    row = s.c * element_bytes(like)
    sums = s.sums + task * 8 * s.c
    clear_doubles(sums, s.c)
    end = share(s.n, s.tasks, task + 1)
    for first in range(share(s.n, s.tasks, task), end, BLOCK):
        clear(like, s.c, (scratch,))
        _sum(like, s.c, min(BLOCK, end - first), row, (scratch, s.x + first * row))
        add_up(like, s.c, (sums, scratch))


@kernel
def subsample(step: Any, task: Any, scratch: Any, like: Any) -> None:
    """y[n, p, q] = x[n, p*sh, q*sh], or backward dx = dy there and 0 elsewhere (b = 1). A task: some rows, of y forward, of dx backward.

    Reads x and y, or dy and dx; n, h, width, c, oh, ow, sh, b, tasks.
    """
    s = as_step(step)
    pixel = s.c * element_bytes(like)
    rows = s.n * (s.h if s.b else s.oh)
    for r in range(share(rows, s.tasks, task), share(rows, s.tasks, task + 1)):
        if not s.b:
            image, p = r // s.oh, r % s.oh
            source = s.x + (image * s.h + p * s.sh) * s.width * pixel
            for q in range(s.ow):
                copy(like, s.c, (s.y + (r * s.ow + q) * pixel, source + q * s.sh * pixel))
            continue
        image, p = r // s.h, r % s.h
        clear(like, s.width * s.c, (s.dx + r * s.width * pixel,))
        if p % s.sh == 0:
            source = s.dy + (image * s.oh + p // s.sh) * s.ow * pixel
            for q in range(s.ow):
                copy(like, s.c, (s.dx + (r * s.width + q * s.sh) * pixel, source + q * pixel))
