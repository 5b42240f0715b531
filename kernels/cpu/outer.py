"""The gradient of weights: dw = sum over pixels of x[pixel]^T dy[pixel], a sum of outer products.

Each tile of dw (14 channels of x by two registers of channels of dy) stays in registers while the pixels go by: one number of x in every
lane, times a vector of dy. Both are copied first, a block of pixels at a time, so that a tile reads them in a line: x lies tile by tile,
dy panel by panel; x is gathered tap by tap. There are many pixels and little work for each, so memory would be waited for: the next
block is asked for while this one is computed.
"""

from __future__ import annotations

from typing import Any

from numba import njit, types
from numba.extending import intrinsic

from .convolution import AFFINE, PADDING, PANEL_BYTES, PATCHES, TILE, lay_patch
from .micro_kernel import VECTORS, Loop
from .rows import add, affine_relu, clear, copy
from .steps import as_step, element_bytes, kernel, share
from .vectors import LINE, Vectors, prefetch

BLOCK = 128  # pixels that are copied at a time
ACCUMULATE = 8  # flag: dw += instead of dw =
ROWS, PANELS = 128, 1024 // PANEL_BYTES  # a task's part of dw: so many channels of x, so many panels of dy's, at most
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


def _copy_of(elements: int) -> Any:
    """copy_of(like, y, x): some elements, and what follows them up to whole vectors. (0: two vectors, a panel's width.)"""

    @intrinsic
    def copy_of(typing_context, like, y, x):
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            _, y, x = args
            v = Vectors(builder, like)
            for j in range(-(-elements // v.lanes) if elements else VECTORS):
                v.store(v.load(v.move(x, j * v.bytes)), v.move(y, j * v.bytes))
            return context.get_dummy_value()

        return types.void(like, types.intp, types.intp), generate

    return copy_of


outer_14, outer_8, outer_6, outer_4, outer_2, outer_1 = map(_outer_tile, (14, 8, 6, 4, 2, 1))

WHOLE, WHOLE_TILE = (14, outer_14) if TILE == 14 else (6, outer_6)
HALF, HALF_TILE = (8, outer_8) if TILE == 14 else (4, outer_4)
copy_panel = _copy_of(0)
copy_tile = _copy_of(WHOLE)  # what it writes beyond the tile's channels, the next pixel's are written over


@njit
def outer_rest(like, rows, pixels, x, x_apart, dy, dy_apart, c, c_apart, accumulate):
    """Fewer channels of x than a whole tile has, by one panel of dy: smaller tiles."""
    size = element_bytes(like)
    i = 0
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
def outer_rows(like, rows, pixels, x, x_apart, dy, dy_apart, c, c_apart, accumulate):
    """`rows` channels of x by one panel of dy: whole tiles, then smaller ones for the rest."""
    size = element_bytes(like)
    i = 0
    while rows - i >= WHOLE:
        WHOLE_TILE(like, pixels, x + i * size, x_apart, dy, dy_apart, c + i * c_apart, c_apart, accumulate)
        i += WHOLE
    outer_rest(like, rows - i, pixels, x + i * size, x_apart, dy, dy_apart, c + i * c_apart, c_apart, accumulate)


@njit
def _tile_apart(size):
    """From one tile's channels of a block of x to the next one's."""
    return BLOCK * WHOLE * size + PADDING


@njit
def _deal(like, channels, x, size, room):
    """A pixel's channels to their tiles: the first few to the first tile's block, the next few to the second one's."""
    last = (channels - 1) // WHOLE
    for t in range(last):
        copy_tile(like, room + t * _tile_apart(size), x + t * WHOLE * size)
    copy(like, channels - last * WHOLE, (room + last * _tile_apart(size), x + last * WHOLE * size))


@njit
def _seen(s, tap, pixel, channel, size):
    """Where tap number `tap` sees x at output pixel number `pixel`, from a channel on; 0 where that is outside the image."""
    image, rest = pixel // (s.oh * s.ow), pixel % (s.oh * s.ow)
    row = rest // s.ow * s.sh + tap // s.kw * s.rh - s.top
    column = rest % s.ow * s.sw + tap % s.kw * s.rw - s.left
    if 0 <= row < s.h and 0 <= column < s.width:
        return s.x + image * s.x_image + row * s.x_row + column * s.x_pixel + channel * size
    return 0


@njit
def _lay_x(like, s, tap, first, rows, channel, channels, size, aside, room):
    """What tap number `tap` sees of x at output pixels first, first + 1, ...: some channels (whole patches with PATCHES), tile by tile."""
    for r in range(rows):
        x = aside
        if s.flags & PATCHES:
            image, rest = (first + r) // (s.oh * s.ow), (first + r) % (s.oh * s.ow)
            lay_patch(like, s, image, rest // s.ow, rest % s.ow, size, aside)
        else:
            x = _seen(s, tap, first + r, channel, size)
            if x == 0:
                x = aside
                clear(like, channels, (aside,))
            elif s.flags & AFFINE:
                affine_relu(like, channels, (aside, x, s.scale + channel * size, s.shift + channel * size))
                x = aside
        _deal(like, channels, x, size, room + r * WHOLE * size)


DY_APART = BLOCK * PANEL_BYTES + PADDING  # from a panel of dy's block to the next


@njit
def _lay_dy(like, s, first, rows, panel, panels, size, room):
    """Panels of dy at output pixels first, first + 1, ...; the last one is filled up with zeros."""
    width = PANEL_BYTES // size
    for r in range(rows):
        dy, here = s.dy + ((first + r) * s.k + panel * width) * size, room + r * PANEL_BYTES
        for j in range(panels):
            columns = min(width, s.k - (panel + j) * width)
            if columns == width:
                copy_panel(like, here + j * DY_APART, dy + j * PANEL_BYTES)
            else:
                clear(like, width, (here + j * DY_APART,))
                copy(like, columns, (here + j * DY_APART, dy + j * PANEL_BYTES))


@njit
def _fetch_ahead(like, s, tap, first, rows, channel, channels, panel, panels, size):
    """Asks for what the next block will copy, a few pixels at a time: memory is at work while tiles are computed."""
    for pixel in range(first, first + rows):
        dy = s.dy + (pixel * s.k * size + panel * PANEL_BYTES)
        for line in range(0, panels * PANEL_BYTES, LINE):
            prefetch(like, dy + line)
        x = 0 if s.flags & PATCHES else _seen(s, tap, pixel, channel, size)
        if x != 0:
            for line in range(0, channels * size, LINE):
                prefetch(like, x + line)


def scratch_bytes(c: int, k: int, size: int) -> int:
    """How much scratch `weights_gradient` needs, for tasks of c channels (of a patch with PATCHES): a pixel, blocks of x and of dy, a part
    of dw."""
    panels = min(-(-k * size // PANEL_BYTES), PANELS)
    block = -(-c // WHOLE) * (BLOCK * WHOLE * size + PADDING)
    return c * size + block + panels * DY_APART + panels * PANEL_BYTES * c + 384


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
    room_x = -(-(scratch + channels * size) // 64) * 64
    room_dy = -(-(room_x + -(-channels // WHOLE) * _tile_apart(size)) // 64) * 64
    sums = room_dy + panels * DY_APART
    whole = channels // WHOLE
    clear(like, panels * channels * (PANEL_BYTES // size), (sums,))
    for first in range(start, end, BLOCK):
        rows = min(BLOCK, end - first)
        _lay_x(like, s, tap, first, rows, channel, channels, size, scratch, room_x)
        _lay_dy(like, s, first, rows, panel, panels, size, room_dy)
        ahead = max(min(BLOCK, end - first - BLOCK), 0)
        for j in range(panels):
            dy, here = room_dy + j * DY_APART, sums + j * channels * PANEL_BYTES
            for t in range(whole):
                x, c = room_x + t * _tile_apart(size), here + t * WHOLE * PANEL_BYTES
                WHOLE_TILE(like, rows, x, WHOLE * size, dy, PANEL_BYTES, c, PANEL_BYTES, 1)
                turn = j * whole + t
                now = share(ahead, panels * whole, turn)
                some = share(ahead, panels * whole, turn + 1) - now
                _fetch_ahead(like, s, tap, first + BLOCK + now, some, channel, channels, panel, panels, size)
            x, c = room_x + whole * _tile_apart(size), here + whole * WHOLE * PANEL_BYTES
            outer_rest(like, channels - whole * WHOLE, rows, x, WHOLE * size, dy, PANEL_BYTES, c, PANEL_BYTES, 1)
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
