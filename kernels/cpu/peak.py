"""What the micro-kernel reaches when nothing stands in its way: the measure that other kernels are held to."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from . import threads
from .convolution import PANEL_BYTES, TILE, tiles
from .plan import Plan
from .steps import as_step, kernel, write_integer

DEPTH = 256  # k: a panel of B, and the rows of A for a few tiles, stay in the first-level cache
TILES = 4
REPEATS = 500


@kernel
def product(step: Any, task: Any, scratch: Any, like: Any) -> None:
    """The same small product again and again, in a place of the task's own.

    Reads x (A), w (a panel of B), y, c (k), n (rows), d (bytes of a row of A), a (how often).
    """
    s = as_step(step)
    c = scratch + 8 * s.n
    for i in range(s.n):
        write_integer(scratch + 8 * i, s.x + i * s.d)
        write_integer(c + 8 * i, s.y + (task * s.n + i) * PANEL_BYTES)
    for _ in range(s.a):
        tiles(like, s.n, 1, s.c, scratch, 0, 0, s.w, c, 0, 0, 0, 0)


def micro_kernel_gflops(count: int, seconds: float = 1.0) -> float:
    """GFLOP/s of the micro-kernel alone in float32, `count` tasks at a time: the best of the rounds that fit into so many seconds."""
    rows, width = TILES * TILE, PANEL_BYTES // 4
    a, b = np.ones((rows, DEPTH + 16), np.float32), np.ones((DEPTH, width), np.float32)
    y = np.empty((count, rows, width), np.float32)
    plan = Plan(np.float32)
    plan.add(product, 16 * rows, tasks=count, x=a, w=b, y=y, c=DEPTH, n=rows, d=a.strides[0], a=REPEATS)
    steps, best, end = plan.steps(), 0.0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        threads.pool().run(steps, plan.scratch)
        best = max(best, 2 * rows * DEPTH * width * REPEATS * count / (time.perf_counter() - start) / 1e9)
    return best
