"""Max pooling and the global mean."""

from __future__ import annotations

from typing import Any

from numba import njit

from .batch_norm import BLOCK, add_up, clear_doubles
from .rows import clear, copy
from .steps import as_step, element_bytes, kernel, read, read_double, share, write
from .vectors import Byte, Channel, Pixel, Place, Sum, Vectors, column_operation, row_operation


@row_operation
def _start(v: Vectors, y: Place, winner: Byte) -> None:
    y.store(v.constant(float("-inf")))
    winner.store(winner.constant(v.integer(0)))


@row_operation
def _take_larger(v: Vectors, y: Place, winner: Byte, x: Place, tap: Any) -> None:
    """y = max(y, x), and which tap it was: strictly larger, so that on a tie the first one stays. A NaN stays."""
    best, candidate = y.load(), x.load()
    larger = v.greater(candidate, best)
    no_number = v.builder.fcmp_unordered("uno", candidate, candidate)
    y.store(v.where(v.builder.or_(larger, no_number), candidate, best))
    winner.store(v.where(larger, winner.constant(tap), winner.load()))


@row_operation
def _start_alone(v: Vectors, y: Place) -> None:
    y.store(v.constant(float("-inf")))


@column_operation
def _largest(v: Vectors, y: Sum, x: Pixel) -> None:
    """y = max(y, x) over some pixels, as _take_larger, but without saying which: so y stays in registers."""
    smaller = v.builder.fcmp_ordered("<=", x.value, y.value)
    no_number = v.builder.fcmp_unordered("uno", y.value, y.value)
    y.value = v.where(v.builder.or_(smaller, no_number), y.value, x.value)


@row_operation
def _give_back(v: Vectors, dx: Place, dy: Place, winner: Byte, tap: Any) -> None:
    """dx += dy where this tap won."""
    won = v.builder.icmp_unsigned("==", winner.load(), winner.constant(tap))
    dx.store(v.add(dx.load(), v.where(won, dy.load(), v.zero)))


@kernel
def max_pool(step: Any, task: Any, scratch: Any, like: Any) -> None:
    """y = the largest x of each window, winner = which of the kh x kw it was (a byte). A task: some rows of y.

    Reads x, y, winner (0: nobody wants to know); n, h, width, c, oh, ow, kh, kw, sh, sw, top, left, tasks.
    """
    s = as_step(step)
    pixel = s.c * element_bytes(like)
    for r in range(share(s.n * s.oh, s.tasks, task), share(s.n * s.oh, s.tasks, task + 1)):
        image, top = r // s.oh, (r % s.oh) * s.sh - s.top
        for q in range(s.ow):
            left = q * s.sw - s.left
            y, winner = s.y + (r * s.ow + q) * pixel, s.winner + (r * s.ow + q) * s.c
            if s.winner:
                _start(like, s.c, (y, winner))
            else:
                _start_alone(like, s.c, (y,))
            for i in range(max(0, -top), min(s.kh, s.h - top)):
                source = s.x + (image * s.h + top + i) * s.width * pixel
                first, last = max(0, -left), min(s.kw, s.width - left)
                if not s.winner:
                    _largest(like, s.c, last - first, pixel, (y, source + (left + first) * pixel))
                    continue
                for j in range(first, last):
                    _take_larger(like, s.c, (y, winner, source + (left + j) * pixel, i * s.kw + j))


@kernel
def max_pool_gradient(step: Any, task: Any, scratch: Any, like: Any) -> None:
    """dx = for each pixel, the dy of the windows that it won. A task: some rows of dx. Reads dy, dx, winner, and what max_pool reads."""
    s = as_step(step)
    pixel = s.c * element_bytes(like)
    for r in range(share(s.n * s.h, s.tasks, task), share(s.n * s.h, s.tasks, task + 1)):
        image, row = r // s.h, r % s.h + s.top
        clear(like, s.width * s.c, (s.dx + r * s.width * pixel,))
        for i in range(s.kh):
            p = (row - i) // s.sh
            if row < i or (row - i) % s.sh != 0 or p >= s.oh:
                continue
            for q in range(s.ow):
                at = (image * s.oh + p) * s.ow + q
                left = q * s.sw - s.left
                for j in range(max(0, -left), min(s.kw, s.width - left)):
                    dx = s.dx + (r * s.width + left + j) * pixel
                    _give_back(like, s.c, (dx, s.dy + at * pixel, s.winner + at * s.c, i * s.kw + j))


@column_operation
def _sum(v: Vectors, total: Sum, x: Pixel) -> None:
    total.value = v.add(total.value, x.value)


@column_operation
def _sum_of_passed(v: Vectors, total: Sum, x: Pixel, scale: Channel, shift: Channel) -> None:
    total.value = v.add(total.value, v.max(v.fma(scale.value, x.value, shift.value), v.zero))


@njit
def _sums_of_image(like, s, image, row, sums, scratch):
    clear_doubles(sums, s.c)
    for first in range(0, s.h, BLOCK):
        clear(like, s.c, (scratch,))
        rows, x = min(BLOCK, s.h - first), s.x + (image * s.h + first) * row
        if s.scale == 0:
            _sum(like, s.c, rows, row, (scratch, x))
        else:
            _sum_of_passed(like, s.c, rows, row, (scratch, x, s.scale, s.shift))
        add_up(like, s.c, (sums, scratch))


@kernel
def global_mean(step: Any, task: Any, scratch: Any, like: Any) -> None:
    """y[image] = the mean of x (or of max(scale * x + shift, 0), where there is a scale) over h pixels. A task: an image.

    Reads x, y, h (pixels of an image), c, scale, shift; tasks (= images). Scratch: c elements and c float64.
    """
    s = as_step(step)
    size = element_bytes(like)
    sums = scratch + -(-s.c * size // 8) * 8
    _sums_of_image(like, s, task, s.c * size, sums, scratch)
    for i in range(s.c):
        write(like, s.y + (task * s.c + i) * size, read_double(sums + 8 * i) / s.h)


@kernel
def global_mean_gradient(step: Any, task: Any, scratch: Any, like: Any) -> None:
    """dx[image, pixel] = dy[image] / h. A task: an image. Reads dy, dx, h (pixels of an image), c, tasks (= images)."""
    s = as_step(step)
    row = s.c * element_bytes(like)
    size = element_bytes(like)
    for i in range(s.c):
        write(like, scratch + i * size, read(like, s.dy + task * row + i * size) / s.h)
    for p in range(s.h):
        copy(like, s.c, (s.dx + (task * s.h + p) * row, scratch))
