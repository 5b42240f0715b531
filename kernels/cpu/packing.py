"""Weights in the order in which the micro-kernel reads them: panels two registers wide, without gaps, the last one filled up with zeros."""

from __future__ import annotations

from typing import Any

from numba import njit

from .convolution import PANEL_BYTES
from .rows import clear, copy
from .steps import as_step, element_bytes, kernel, read, read_integer, share, write


@njit
def turn(like, rows, columns, source, row, column, target, apart):
    """target[r, j] = source[r * row + j * column]: a transposition, 16 rows at a time, so that every cache line that is read is used up."""
    size = element_bytes(like)
    for r0 in range(0, rows, 16):
        for j in range(columns):
            for r in range(r0, min(r0 + 16, rows)):
                write(like, target + r * apart + j * size, read(like, source + r * row + j * column))


@njit
def _pack_panel(like, s, tap, panel, size):
    """One tap's part of one panel: s.c rows of it."""
    width = PANEL_BYTES // size
    source = s.w + read_integer(s.a + 8 * tap) + panel * width * s.e
    target = s.y + (panel * s.taps + tap) * s.c * PANEL_BYTES
    columns = min(width, s.k - panel * width)
    if columns < width:
        clear(like, width * s.c, (target,))
    if s.e == size:
        for row in range(s.c):
            copy(like, columns, (target + row * PANEL_BYTES, source + row * s.d))
    else:
        turn(like, s.c, columns, source, s.d, s.e, target, PANEL_BYTES)


@kernel
def pack(step: Any, task: Any, scratch: Any, like: Any) -> None:
    """y = the packed form of B[tap][row, column], taps x c x k: element (row, column) is at w + a[tap] + row*d + column*e, in bytes.

    A task for some of the panels x taps. Reads w, y, c, k, taps, a (a table of byte offsets), d, e, tasks.
    """
    s = as_step(step)
    size = element_bytes(like)
    pieces = -(-s.k * size // PANEL_BYTES) * s.taps
    for piece in range(share(pieces, s.tasks, task), share(pieces, s.tasks, task + 1)):
        _pack_panel(like, s, piece % s.taps, piece // s.taps, size)


def packed_elements(taps: int, c: int, k: int, size: int) -> int:
    """How many elements the packed form has."""
    return -(-k * size // PANEL_BYTES) * taps * c * (PANEL_BYTES // size)
