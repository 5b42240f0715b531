"""The gradient of a 3x3 convolution's weights, in Winograd's transformed space: as many fewer multiplications as forward.

Forward is y = A^T [U * V] A with U = G w G^T and V = B^T d B, and every step is linear. So backward

    dU = sum over tiles of V * (A dy A^T),     dw = G^T dU G

where the sum is a matrix product for each of the (F+2)^2 places of a tile. First `transform` makes V and A dy A^T of some images' tiles,
then `weights_gradient` makes the products and, while a part of dU is in the cache, that part of dw: dU as a whole is never in memory.
"""

from __future__ import annotations

from typing import Any

from numba import njit

from .convolution import PADDING, PANEL_BYTES
from .outer import ACCUMULATE, outer_rows
from .rows import add, clear, copy
from .steps import as_step, element_bytes, kernel, read_integer, share
from .vectors import Place, Vectors, block_operation, total
from .winograd import G2, G4, Line, both_ways, input_2, input_4, load_tile, square

A4 = ((1, 0, 0, 0), (1, 1, 1, 1), (1, -1, 1, -1), (1, 2, 4, 8), (1, -2, 4, -8), (0, 0, 0, 1))
A2 = ((1, 0), (1, 1), (1, -1), (0, -1))
BLOCK = 64  # tiles whose products are summed in registers
ROWS = 56  # channels of x whose part of dU a task holds


def _line(matrix: Any) -> Line:
    """The product with a matrix, for a few numbers."""
    return lambda v, numbers: [total(v, list(zip(row, numbers, strict=True))) for row in matrix]


def _transform(matrix: Any, n: int) -> Any:
    """A row operation: n x n vectors at x, `row` and `column` bytes apart -> M x M^T at y, y + apart, ..."""

    @block_operation
    def transform(v: Vectors, y: Place, apart: Any, x: Place, row: Any, column: Any) -> None:
        for i, values in enumerate(both_ways(v, _line(matrix), square(x, v, n, row, column))):
            for j, value in enumerate(values):
                y.beyond(v.builder.mul(apart, v.integer(i * len(values) + j))).store(value)

    return transform


gradient_4, gradient_2 = _transform(A4, 4), _transform(A2, 2)
back_4, back_2 = _transform(tuple(zip(*G4, strict=True)), 6), _transform(tuple(zip(*G2, strict=True)), 4)


@njit
def _load_gradient(like, s, image, row, column, size, room):
    """A tile of dy, F x F pixels, as (address, next row, next column); copied, with zeros, where the tile reaches beyond the map."""
    pixel = s.k * size
    corner = s.dy + ((image * s.oh + row) * s.ow + column) * pixel
    if row + (s.b - 1) * s.rh < s.oh and column + (s.b - 1) * s.rw < s.ow:
        return corner, s.rh * s.ow * pixel, s.rw * pixel
    for i in range(s.b):
        for j in range(s.b):
            here = room + (i * s.b + j) * pixel
            if row + i * s.rh < s.oh and column + j * s.rw < s.ow:
                copy(like, s.k, (here, corner + (i * s.rh * s.ow + j * s.rw) * pixel))
            else:
                clear(like, s.k, (here,))
    return room, s.b * pixel, pixel


def transform_scratch_bytes(f: int, c: int, k: int, size: int) -> int:
    """How much scratch `transform` needs: a tile of x, a tile of dy, its transform."""
    return (f + 2) ** 2 * c * size + f * f * k * size + (f + 2) ** 2 * (k * size + PADDING) + 256


@kernel
def transform(step: Any, task: Any, scratch: Any, like: Any) -> None:
    """w = V: (F+2)^2 x tiles x (c, padded); y = A dy A^T: (F+2)^2 x panels x tiles x a panel. A task: some of the tiles.

    Reads x, dy, w (where V goes), y (where A dy A^T goes); n, h, width, c, oh, ow, k, rh, rw, top, left; b: F; a, taps: the tiles
    of an image; x's strides; flags (AFFINE).
    """
    s = as_step(step)
    size = element_bytes(like)
    n2, tiles, panels = (s.b + 2) * (s.b + 2), s.n * s.taps, -(-s.k * size // PANEL_BYTES)
    width, pitch = PANEL_BYTES // size, s.c * size + PADDING
    room_dy = scratch + n2 * s.c * size
    moved = room_dy + s.b * s.b * s.k * size
    for g in range(share(tiles, s.tasks, task), share(tiles, s.tasks, task + 1)):
        at = s.a + 16 * (g % s.taps)
        row, column = read_integer(at), read_integer(at + 8)
        x, next_row, next_column = load_tile(like, s, s.b, g // s.taps, row, column, size, 0, s.c, scratch)
        dy, dy_row, dy_column = _load_gradient(like, s, g // s.taps, row, column, size, room_dy)
        if s.b == 4:
            input_4(like, s.c, (s.w + g * pitch, tiles * pitch, x, next_row, next_column))
            gradient_4(like, s.k, (moved, s.k * size + PADDING, dy, dy_row, dy_column))
        else:
            input_2(like, s.c, (s.w + g * pitch, tiles * pitch, x, next_row, next_column))
            gradient_2(like, s.k, (moved, s.k * size + PADDING, dy, dy_row, dy_column))
        for xi in range(n2):
            for panel in range(panels):
                columns = min(width, s.k - panel * width)
                here = s.y + ((xi * panels + panel) * tiles + g) * PANEL_BYTES
                if columns < width:
                    clear(like, width, (here,))
                copy(like, columns, (here, moved + xi * (s.k * size + PADDING) + panel * PANEL_BYTES))


def scratch_bytes(f: int) -> int:
    """How much scratch `weights_gradient` needs: a part of dU, and one channel's dw."""
    return ((f + 2) ** 2 * ROWS + 9) * PANEL_BYTES + 256


@kernel
def weights_gradient(step: Any, task: Any, scratch: Any, like: Any) -> None:
    """dw[3, 3, c, k] = G^T dU G, or with ACCUMULATE dw += it. A task: some channels of x by one panel of dy's.

    Reads w (V), y (A dy A^T), dw; n, taps (tiles of an image), c, k, b (F), flags, row_tasks, column_tasks (= panels).
    """
    s = as_step(step)
    size = element_bytes(like)
    panel, part = task // s.row_tasks, task % s.row_tasks
    width, n2, tiles = PANEL_BYTES // size, (s.b + 2) * (s.b + 2), s.n * s.taps
    pitch, columns = s.c * size + PADDING, min(width, s.k - panel * width)
    first = share(s.c, s.row_tasks, part)
    rows = share(s.c, s.row_tasks, part + 1) - first
    for xi in range(n2):
        v, dy = s.w + xi * tiles * pitch + first * size, s.y + (xi * s.column_tasks + panel) * tiles * PANEL_BYTES
        for g in range(0, tiles, BLOCK):  # short sums: the longer one is, the more digits it loses
            outer_rows(
                like, rows, min(BLOCK, tiles - g), v + g * pitch, pitch, dy + g * PANEL_BYTES, PANEL_BYTES,
                scratch + xi * rows * PANEL_BYTES, PANEL_BYTES, g,
            )  # fmt: skip
    nine = scratch + n2 * rows * PANEL_BYTES
    for i in range(rows):
        u, apart = scratch + i * PANEL_BYTES, rows * PANEL_BYTES
        if s.b == 4:
            back_4(like, columns, (nine, PANEL_BYTES, u, 6 * apart, apart))
        else:
            back_2(like, columns, (nine, PANEL_BYTES, u, 4 * apart, apart))
        for tap in range(9):
            here = s.dw + ((tap * s.c + first + i) * s.k + panel * width) * size
            if s.flags & ACCUMULATE:
                add(like, columns, (here, here, nine + tap * PANEL_BYTES))
            else:
                copy(like, columns, (here, nine + tap * PANEL_BYTES))
