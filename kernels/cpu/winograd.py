"""3x3 convolutions with fewer multiplications: Winograd's minimal filtering F(4x4, 3x3) and F(2x2, 3x3).

A tile of F x F output pixels needs (F+2) x (F+2) input pixels d and, done directly, 9 F^2 multiplications a channel. Instead

    y = A^T [ (G w G^T) * (B^T d B) ] A          (* is elementwise; Lavin & Gray 2016, equation 8)

multiplies (F+2)^2 times: 36 instead of 144 for F = 4, 16 instead of 36 for F = 2. The elementwise products, summed over the channels, are
(F+2)^2 independent matrix products over many tiles, and so work for the micro-kernel. G w G^T is made once (`transform_weights`).

The price is rounding: F(4x4) adds numbers up to eight times as large as its result, and loses about one digit of float32's seven.

An atrous convolution of rate r sees each r-th pixel only: it is r x r convolutions on maps of every r-th row and column, so the same
tiles do, with pixels r apart. The list of tiles comes from outside (ops/compiled/), a pair (row, column) of first output pixels for each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit

from .convolution import AFFINE, ASIDE, PADDING, PANEL_BYTES, multiply
from .micro_kernel import RELU, RESIDUAL
from .packing import turn
from .rows import affine_relu, clear, copy
from .steps import as_step, element_bytes, kernel, read_integer, share, write_integer
from .vectors import Place, Vectors, block_operation, row_operation, total

GAP = 192  # bytes
GROUP = 2  # panels of output channels whose products are kept until they are transformed

# G for the points 0, 1, -1, 2, -2, infinity (F = 4) and 0, 1, -1, infinity (F = 2)
G4 = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)
G2 = ((1, 0, 0), (1 / 2, 1 / 2, 1 / 2), (1 / 2, -1 / 2, 1 / 2), (0, 0, 1))
Line = Callable[[Vectors, list[Any]], list[Any]]


def input_line_4(v: Vectors, d: list[Any]) -> list[Any]:
    """B^T d for six numbers: 4 d0 - 5 d2 + d4, then two pairs that differ in a sign only, then 4 d1 - 5 d3 + d5."""
    even, odd = v.fma(v.constant(-4), d[2], d[4]), v.fma(v.constant(-4), d[1], d[3])
    near, far = v.sub(d[4], d[2]), v.mul(v.constant(2), v.sub(d[3], d[1]))
    first = v.fma(v.constant(4), d[0], v.fma(v.constant(-5), d[2], d[4]))
    last = v.fma(v.constant(4), d[1], v.fma(v.constant(-5), d[3], d[5]))
    return [first, v.add(even, odd), v.sub(even, odd), v.add(near, far), v.sub(near, far), last]


def output_line_4(v: Vectors, m: list[Any]) -> list[Any]:
    """A^T m for six numbers: the rows are (1 1 1 1 1 0), (0 1 -1 2 -2 0), (0 1 1 4 4 0), (0 1 -1 8 -8 1)."""
    sum1, difference1 = v.add(m[1], m[2]), v.sub(m[1], m[2])
    sum2, difference2 = v.add(m[3], m[4]), v.sub(m[3], m[4])
    return [
        v.add(v.add(m[0], sum1), sum2),
        v.fma(v.constant(2), difference2, difference1),
        v.fma(v.constant(4), sum2, sum1),
        v.add(v.fma(v.constant(8), difference2, difference1), m[5]),
    ]


def input_line_2(v: Vectors, d: list[Any]) -> list[Any]:
    """B^T d for four numbers."""
    return [v.sub(d[0], d[2]), v.add(d[1], d[2]), v.sub(d[2], d[1]), v.sub(d[1], d[3])]


def output_line_2(v: Vectors, m: list[Any]) -> list[Any]:
    """A^T m for four numbers."""
    return [v.add(v.add(m[0], m[1]), m[2]), v.sub(v.sub(m[1], m[2]), m[3])]


def weights_line(g: tuple[tuple[float, ...], ...]) -> Line:
    """G w for three numbers."""
    return lambda v, w: [total(v, list(zip(row, w, strict=True))) for row in g]


def both_ways(v: Vectors, line: Line, square: list[list[Any]]) -> list[list[Any]]:
    """The transform of every column, then of every row of what that gave."""
    columns = [line(v, [row[j] for row in square]) for j in range(len(square[0]))]
    return [line(v, [column[i] for column in columns]) for i in range(len(columns[0]))]


def square(place: Place, v: Vectors, n: int, row: Any, column: Any) -> list[list[Any]]:
    """n x n vectors from memory, `row` and `column` bytes apart."""
    b = v.builder
    return [
        [place.beyond(b.add(b.mul(row, v.integer(i)), b.mul(column, v.integer(j)))).load() for j in range(n)]
        for i in range(n)
    ]


def _to_tiles(line: Line, n: int) -> Any:
    """A row operation: n x n vectors at x, transformed, to y, y + apart, y + 2 apart, ..."""

    @block_operation
    def transform(v: Vectors, y: Place, apart: Any, x: Place, row: Any, column: Any) -> None:
        for i, values in enumerate(both_ways(v, line, square(x, v, n, row, column))):
            for j, value in enumerate(values):
                y.beyond(v.builder.mul(apart, v.integer(i * len(values) + j))).store(value)

    return transform


def _from_tiles(line: Line, n: int) -> Any:
    """A row operation: vectors at x, x + apart, ..., transformed to a square at y; max(value + bias, lowest)."""

    @block_operation
    def transform(
        v: Vectors, y: Place, row: Any, column: Any, x: Place, apart: Any, bias: Place, lowest: Place
    ) -> None:
        b = v.builder
        offset, least = bias.load(), lowest.load()
        for i, values in enumerate(both_ways(v, line, square(x, v, n, b.mul(apart, v.integer(n)), apart))):
            for j, value in enumerate(values):
                at = b.add(b.mul(row, v.integer(i)), b.mul(column, v.integer(j)))
                y.beyond(at).store(v.max(v.add(value, offset), least))

    return transform


@row_operation
def _add_residual(v: Vectors, y: Place, value: Place, residual: Place, lowest: Place) -> None:
    y.store(v.max(v.add(value.load(), residual.load()), lowest.load()))


input_4, input_2 = _to_tiles(input_line_4, 6), _to_tiles(input_line_2, 4)
output_4, output_2 = _from_tiles(output_line_4, 6), _from_tiles(output_line_2, 4)
weights_4, weights_2 = _to_tiles(weights_line(G4), 3), _to_tiles(weights_line(G2), 3)


@njit
def plane_bytes(panels, c):
    """From one place of the transformed weights to the next.

    Without the gap they would lie a power of two apart, all in one set of the cache.
    """
    return panels * c * PANEL_BYTES + GAP


@njit
def load_tile(like, s, f, image, row, column, size, first, channels, room):
    """Where a tile's input can be read: (address, bytes to the next row, to the next column). In x itself, or copied to `room`.

    It is copied if it reaches outside the image, or if s.flags ask for max(scale * x + shift, 0) in its place. `channels` channels from
    `first` on.
    """
    n = f + 2
    top, left = row - s.top, column - s.left
    bottom, right = top + (n - 1) * s.rh, left + (n - 1) * s.rw
    corner = s.x + image * s.x_image + top * s.x_row + left * s.x_pixel + first * size
    if not s.flags & AFFINE and top >= 0 and left >= 0 and bottom < s.h and right < s.width:
        return corner, s.rh * s.x_row, s.rw * s.x_pixel
    for i in range(n):
        for j in range(n):
            here = room + (i * n + j) * channels * size
            if not (0 <= top + i * s.rh < s.h and 0 <= left + j * s.rw < s.width):
                clear(like, channels, (here,))
                continue
            pixel = corner + i * s.rh * s.x_row + j * s.rw * s.x_pixel
            if s.flags & AFFINE:
                affine_relu(like, channels, (here, pixel, s.scale + first * size, s.shift + first * size))
            else:
                copy(like, channels, (here, pixel))
    return room, n * channels * size, channels * size


@njit
def _store_tile(like, s, f, image, row, column, size, m, apart, panel, columns, room):
    """The products of one tile, for `columns` output channels from panel `panel` on, transformed to output pixels."""
    offset = panel * PANEL_BYTES
    y = s.y + image * s.y_image + row * s.y_row + column * s.y_pixel + offset
    lowest = s.e if s.flags & RELU else s.d
    whole = row + (f - 1) * s.rh < s.oh and column + (f - 1) * s.rw < s.ow and not s.flags & RESIDUAL
    target, next_row, next_column = y, s.rh * s.y_row, s.rw * s.y_pixel
    if not whole:
        target, next_row, next_column = room, f * columns * size, columns * size
        if s.flags & RESIDUAL:
            lowest = s.d
    if f == 4:
        output_4(like, columns, (target, next_row, next_column, m, apart, s.bias + offset, lowest))
    else:
        output_2(like, columns, (target, next_row, next_column, m, apart, s.bias + offset, lowest))
    if whole:
        return
    for i in range(f):
        for j in range(f):
            if row + i * s.rh < s.oh and column + j * s.rw < s.ow:
                here, value = y + i * s.rh * s.y_row + j * s.rw * s.y_pixel, room + (i * f + j) * columns * size
                if s.flags & RESIDUAL:
                    _add_residual(like, columns, (here, value, here + s.residual, s.e if s.flags & RELU else s.d))
                else:
                    copy(like, columns, (here, value))


def scratch_bytes(f: int, rows: int, c: int, size: int) -> int:
    """How much scratch `convolve` needs: a tile's input, the transformed tiles, the products, two tables."""
    n2 = (f + 2) ** 2
    tile, tables = n2 * max(c * size, GROUP * PANEL_BYTES), 16 * rows + ASIDE
    return tile + n2 * rows * (c * size + PADDING + GROUP * PANEL_BYTES + PADDING) + tables + 512


@kernel
def convolve(step: Any, task: Any, scratch: Any, like: Any) -> None:
    """y = 3x3 convolution (stride 1) of x with transformed weights w, and bias, residual, ReLU as `flags` say.

    A task: some tiles x some panels of output channels. Reads x, w, y, bias (k elements, always), residual, scale, shift; n, h, width, c,
    oh, ow, k; rh, rw, top, left; b: 4 or 2, the F of F(FxF); a: the tiles of an image, taps: how many; d, e: k numbers -inf, k zeros;
    x's and y's strides; rows (tiles of a task, at most), row_tasks, column_tasks.
    """
    s = as_step(step)
    size = element_bytes(like)
    f, n2 = s.b, (s.b + 2) * (s.b + 2)
    tiles, panels = s.n * s.taps, -(-s.k * size // PANEL_BYTES)
    row_task, column_task = task // s.column_tasks, task % s.column_tasks
    first, last = share(tiles, s.row_tasks, row_task), share(tiles, s.row_tasks, row_task + 1)
    rows = last - first
    pitch = s.c * size + PADDING
    room = scratch
    v = room + n2 * max(s.c * size, GROUP * PANEL_BYTES)
    m = v + n2 * rows * pitch
    m_pitch = GROUP * PANEL_BYTES + PADDING
    table = m + n2 * rows * m_pitch
    aside = table + 16 * rows
    for i in range(rows):
        g = first + i
        at = s.a + 16 * (g % s.taps)
        x, row, column = load_tile(like, s, f, g // s.taps, read_integer(at), read_integer(at + 8), size, 0, s.c, room)
        if f == 4:
            input_4(like, s.c, (v + i * pitch, rows * pitch, x, row, column))
        else:
            input_2(like, s.c, (v + i * pitch, rows * pitch, x, row, column))
        write_integer(table + 8 * i, v + i * pitch)
        write_integer(table + 8 * (rows + i), m + i * m_pitch)
    end = share(panels, s.column_tasks, column_task + 1)
    for panel in range(share(panels, s.column_tasks, column_task), end, GROUP):
        some = min(GROUP, end - panel)
        width = some * PANEL_BYTES // size
        for xi in range(n2):
            multiply(
                like, rows, 1, s.c, table, 0, xi * rows * pitch, s.w + xi * plane_bytes(panels, s.c), panel, panel + some, panels * width,
                table + 8 * rows, xi * rows * m_pitch, 0, 0, 0, aside,
            )  # fmt: skip
        columns = min(width, s.k - panel * PANEL_BYTES // size)
        for i in range(rows):
            g = first + i
            at = s.a + 16 * (g % s.taps)
            _store_tile(
                like, s, f, g // s.taps, read_integer(at), read_integer(at + 8), size,
                m + i * m_pitch, rows * m_pitch, panel, columns, room,
            )  # fmt: skip


@kernel
def transform_weights(step: Any, task: Any, scratch: Any, like: Any) -> None:
    """y = G w G^T, packed: (F+2)^2 times the panels of c rows. A task: one panel, some of the rows.

    Element (i, j, row, column) of w is at w + a[3i + j] + row*d + column*e bytes (a: a table), so w may be turned round and transposed,
    as the input gradient needs it. Reads w, y, a, b (F), c, k, d, e; row_tasks, column_tasks (= panels).
    """
    s = as_step(step)
    size = element_bytes(like)
    panel, part = task // s.row_tasks, task % s.row_tasks
    width, panels = PANEL_BYTES // size, s.column_tasks
    columns = min(width, s.k - panel * width)
    clear(like, 16 * 9 * width, (scratch,))
    for first in range(share(s.c, s.row_tasks, part), share(s.c, s.row_tasks, part + 1), 16):
        rows = min(16, share(s.c, s.row_tasks, part + 1) - first)
        for tap in range(9):
            source = s.w + read_integer(s.a + 8 * tap) + first * s.d + panel * width * s.e
            if s.e == size:
                for row in range(rows):
                    copy(like, columns, (scratch + (row * 9 + tap) * PANEL_BYTES, source + row * s.d))
            else:
                turn(like, rows, columns, source, s.d, s.e, scratch + tap * PANEL_BYTES, 9 * PANEL_BYTES)
        for row in range(rows):
            y = s.y + (panel * s.c + first + row) * PANEL_BYTES
            x = scratch + row * 9 * PANEL_BYTES
            if s.b == 4:
                weights_4(like, width, (y, plane_bytes(panels, s.c), x, 3 * PANEL_BYTES, PANEL_BYTES))
            else:
                weights_2(like, width, (y, plane_bytes(panels, s.c), x, 3 * PANEL_BYTES, PANEL_BYTES))


WEIGHTS_SCRATCH = 16 * 9 * PANEL_BYTES  # bytes of scratch that `transform_weights` needs


def transformed_elements(f: int, c: int, k: int, size: int) -> int:
    """How many elements the transformed weights have."""
    return (f + 2) ** 2 * (-(-k * size // PANEL_BYTES) * c * PANEL_BYTES + GAP) // size
