"""The gradient of weights: dw = sum over pixels of x[pixel]^T dy[pixel], a sum of outer products.

Each tile of dw (14 channels of x by two registers of channels of dy) stays in registers while the pixels go by: one number of x in every
lane, times a vector of dy. Both are copied first, a block of pixels at a time, so that a tile reads them in a line; x is gathered tap by
tap.
"""

from __future__ import annotations

from typing import Any

from numba import njit, types
from numba.extending import intrinsic

from .convolution import AFFINE, PADDING, PANEL_BYTES, PATCHES, TILE, lay_patch
from .micro_kernel import VECTORS, Loop
from .rows import add, affine_relu, clear, copy
from .steps import as_step, element_bytes, kernel, share
from .vectors import Vectors

BLOCK = 128  # pixels that are copied at a time
ACCUMULATE = 8  # flag: dw += instead of dw =
ROWS, PANELS = 224, 8  # a task's part of dw: so many channels of x, so many panels of dy's, at most
UNROLL = 2


def _outer_tile(rows: int) -> Any:
    """tile(like, pixels, x, x_apart, dy, dy_apart, c, c_apart, accumulate): c[rows, two vectors] (+)= sum of x^T dy."""

    @intrinsic
    def tile(typing_context, like, pixels, x, x_apart, dy, dy_apart, c, c_apart, accumulate):
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            _, pixels, x, x_apart, dy, dy_apart, c, c_apart, accumulate = args
            v = Vectors(builder, like)

            def products(step: int, x: Any, dy: Any, sums: list[Any]) -> list[Any]:
                for _ in range(step):
                    columns = [v.load(v.move(dy, j * v.bytes)) for j in range(VECTORS)]
                    for i in range(rows):
                        a = v.broadcast(v.move(x, i * v.bytes_of_one))
                        for j, column in enumerate(columns):
                            sums[i * VECTORS + j] = v.fma(a, column, sums[i * VECTORS + j])
                    x, dy = builder.add(x, x_apart), builder.add(dy, dy_apart)
                return [*sums, x, dy]

            state = [*[v.zero] * (rows * VECTORS), x, dy]
            whole = builder.and_(pixels, v.integer(-UNROLL))
            for begin, end, step in ((v.integer(0), whole, UNROLL), (whole, pixels, 1)):
                loop = Loop(builder, begin, end, step, state)
                *sums, x, dy = loop.carried
                state = loop.close(products(step, x, dy, list(sums)))
            sums = state[: rows * VECTORS]
            old = v.builder.icmp_signed("!=", accumulate, v.integer(0))
            for i in range(rows):
                place = builder.add(c, builder.mul(c_apart, v.integer(i)))
                for j in range(VECTORS):
                    here, value = v.move(place, j * v.bytes), sums[i * VECTORS + j]
                    with builder.if_else(old) as (then, otherwise):
                        with then:
                            v.store(v.add(value, v.load(here)), here)
                        with otherwise:
                            v.store(value, here)
            return context.get_dummy_value()

        return types.void(like, *[types.intp] * 8), generate

    return tile


outer_14, outer_8, outer_6, outer_4, outer_2, outer_1 = map(_outer_tile, (14, 8, 6, 4, 2, 1))

WHOLE, WHOLE_TILE = (14, outer_14) if TILE == 14 else (6, outer_6)
HALF, HALF_TILE = (8, outer_8) if TILE == 14 else (4, outer_4)


@njit
def outer_rows(like, rows, pixels, x, x_apart, dy, dy_apart, c, c_apart, accumulate):
    """`rows` channels of x by one panel of dy: whole tiles, then smaller ones for the rest."""
    size = element_bytes(like)
    i = 0
    while rows - i >= WHOLE:
        WHOLE_TILE(like, pixels, x + i * size, x_apart, dy, dy_apart, c + i * c_apart, c_apart, accumulate)
        i += WHOLE
    if rows - i >= HALF:
        HALF_TILE(like, pixels, x + i * size, x_apart, dy, dy_apart, c + i * c_apart, c_apart, accumulate)
        i += HALF
    if rows - i >= 4:
        outer_4(like, pixels, x + i * size, x_apart, dy, dy_apart, c + i * c_apart, c_apart, accumulate)
        i += 4
    if rows - i >= 2:
        outer_2(like, pixels, x + i * size, x_apart, dy, dy_apart, c + i * c_apart, c_apart, accumulate)
        i += 2
    if rows - i >= 1:
        outer_1(like, pixels, x + i * size, x_apart, dy, dy_apart, c + i * c_apart, c_apart, accumulate)


@njit
def _lay_x(like, s, tap, first, rows, channel, channels, size, room, apart):
    """What tap number `tap` sees of x at output pixels first, first + 1, ...: some channels (whole patches with PATCHES)."""
    i, j = tap // s.kw, tap % s.kw
    for r in range(rows):
        image, rest = (first + r) // (s.oh * s.ow), (first + r) % (s.oh * s.ow)
        p, q = rest // s.ow, rest % s.ow
        here = room + r * apart
        if s.flags & PATCHES:
            lay_patch(like, s, image, p, q, size, here)
            continue
        row, column = p * s.sh + i * s.rh - s.top, q * s.sw + j * s.rw - s.left
        if not (0 <= row < s.h and 0 <= column < s.width):
            clear(like, channels, (here,))
            continue
        pixel = s.x + image * s.x_image + row * s.x_row + column * s.x_pixel + channel * size
        if s.flags & AFFINE:
            affine_relu(like, channels, (here, pixel, s.scale + channel * size, s.shift + channel * size))
        else:
            copy(like, channels, (here, pixel))


@njit
def _lay_dy(like, s, first, rows, panel, panels, size, room):
    """Panels of dy at output pixels first, first + 1, ...; the last one is filled up with zeros."""
    width = PANEL_BYTES // size
    for j in range(panels):
        columns = min(width, s.k - (panel + j) * width)
        for r in range(rows):
            here = room + (j * BLOCK + r) * PANEL_BYTES
            if columns < width:
                clear(like, width, (here,))
            copy(like, columns, (here, s.dy + ((first + r) * s.k + (panel + j) * width) * size))


def scratch_bytes(c: int, k: int, size: int) -> int:
    """How much scratch `weights_gradient` needs, for tasks of c channels (of a patch with PATCHES): blocks of x and of dy, a part of dw."""
    panels = min(-(-k * size // PANEL_BYTES), PANELS)
    return BLOCK * (c * size + PADDING) + panels * BLOCK * PANEL_BYTES + panels * PANEL_BYTES * c + 256


@kernel
def weights_gradient(step: Any, task: Any, scratch: Any, like: Any) -> None:
    """dw[tap, c, k] = sum over pixels of x^T dy. A task: a tap, some channels of x, some panels of dy, and one of `split` parts of the
    pixels.

    Part number i goes to dw + i * taps*c*k elements: `add_parts` adds them up. Reads x, dy [n, oh, ow, k], dw; n, h, width, c, oh, ow, k,
    kh, kw, sh, sw, rh, rw, top, left; taps; x's strides; flags (AFFINE: of max(scale * x + shift, 0); PATCHES); row_tasks, column_tasks,
    split.
    """
    s = as_step(step)
    size = element_bytes(like)
    part, rest = task % s.split, task // s.split
    column_task, rest = rest % s.column_tasks, rest // s.column_tasks
    row_task, tap = rest % s.row_tasks, rest // s.row_tasks
    terms = s.kh * s.kw * s.c if s.flags & PATCHES else s.c
    channel = share(terms, s.row_tasks, row_task)
    channels = share(terms, s.row_tasks, row_task + 1) - channel
    total = -(-s.k * size // PANEL_BYTES)
    panel = share(total, s.column_tasks, column_task)
    panels = share(total, s.column_tasks, column_task + 1) - panel
    pixels = s.n * s.oh * s.ow
    start, end = share(pixels, s.split, part), share(pixels, s.split, part + 1)
    apart = channels * size + PADDING
    room_dy = -(-(scratch + BLOCK * apart) // 64) * 64
    sums = room_dy + panels * BLOCK * PANEL_BYTES
    clear(like, panels * channels * (PANEL_BYTES // size), (sums,))
    for first in range(start, end, BLOCK):
        rows = min(BLOCK, end - first)
        _lay_x(like, s, tap, first, rows, channel, channels, size, scratch, apart)
        _lay_dy(like, s, first, rows, panel, panels, size, room_dy)
        for j in range(panels):
            here = sums + j * channels * PANEL_BYTES
            outer_rows(
                like,
                channels,
                rows,
                scratch,
                apart,
                room_dy + j * BLOCK * PANEL_BYTES,
                PANEL_BYTES,
                here,
                PANEL_BYTES,
                1,
            )
    dw = s.dw + (part * s.taps * s.c * s.k + (tap * s.c + channel) * s.k) * size
    for j in range(panels):
        columns = min(PANEL_BYTES // size, s.k - (panel + j) * (PANEL_BYTES // size))
        for i in range(channels):
            copy(
                like,
                columns,
                (dw + i * s.k * size + (panel + j) * PANEL_BYTES, sums + (j * channels + i) * PANEL_BYTES),
            )


@kernel
def add_parts(step: Any, task: Any, scratch: Any, like: Any) -> None:
    """y = the sum of `split` arrays of `a` elements, which lie one after the other at x. Reads x, y, a, split, tasks."""
    s = as_step(step)
    size = element_bytes(like)
    first = share(s.a, s.tasks, task)
    count = share(s.a, s.tasks, task + 1) - first
    y = s.y + first * size
    copy(like, count, (y, s.x + first * size))
    for i in range(1, s.split):
        add(like, count, (y, y, s.x + (i * s.a + first) * size))
