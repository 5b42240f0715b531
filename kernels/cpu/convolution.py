"""Convolution with any kernel, stride, rate and padding, and matrix products: rows of addresses for the micro-kernel.

Output pixel (p, q) of an image is  y[p, q, :] = sum over taps t of  x[p*sh + t.row, q*sw + t.column, :] @ w[t].  A tap is one of the KH*KW
places of the kernel; outside the image x is zero. So for each tap the micro-kernel is given the address of the pixel that each of its
rows sees: no pixel is copied, except where that pays (`PACK`, below). A 1x1 convolution has one tap, and is a matrix product.

The gradient dx of a convolution is a convolution of dy: with stride 1 by the kernel turned round, with a larger stride by a part of it
for each phase of the input pixels (see ops/compiled/conv2d.py). All that is needed for it here is that y may be a map with gaps: it has
strides.
"""

from __future__ import annotations

from typing import Any

from numba import njit

from .micro_kernel import (
    BIAS,
    RELU,
    RESIDUAL,
    VECTORS,
    tile_1,
    tile_2,
    tile_4,
    tile_6,
    tile_8,
    tile_14,
    tile_rows,
)
from .rows import affine_relu, clear, copy
from .steps import as_step, element_bytes, kernel, read, read_integer, share, write, write_integer
from .vectors import register_bits

PANEL_BYTES = VECTORS * register_bits() // 8  # a panel of packed weights is so many bytes wide
TILE = tile_rows()
PACK = 16  # flag: copy the rows of x that a task works on, so that they do not fall into the same few sets of the cache
AFFINE = 32  # flag: convolve max(scale * x + shift, 0); implies PACK
PATCHES = 128  # flag: few channels, a tap is not worth a loop: lay each pixel's whole patch out as one row (im2col, in the cache)
PADDING = 64  # bytes between two packed rows

WHOLE, WHOLE_TILE = (
    (14, tile_14) if TILE == 14 else (6, tile_6)
)  # the tile that fills the registers, and the largest for what is left
HALF, HALF_TILE = (8, tile_8) if TILE == 14 else (4, tile_4)


@njit
def tiles(like, rows, taps, k, a, taps_apart, a_offset, b, c, c_offset, bias, residual, flags):
    """`rows` rows of C: whole tiles, then smaller ones for the rest."""
    i = 0
    while rows - i >= WHOLE:
        WHOLE_TILE(like, taps, k, a + 8 * i, taps_apart, a_offset, b, c + 8 * i, c_offset, bias, residual, flags)
        i += WHOLE
    if rows - i >= HALF:
        HALF_TILE(like, taps, k, a + 8 * i, taps_apart, a_offset, b, c + 8 * i, c_offset, bias, residual, flags)
        i += HALF
    if rows - i >= 4:
        tile_4(like, taps, k, a + 8 * i, taps_apart, a_offset, b, c + 8 * i, c_offset, bias, residual, flags)
        i += 4
    if rows - i >= 2:
        tile_2(like, taps, k, a + 8 * i, taps_apart, a_offset, b, c + 8 * i, c_offset, bias, residual, flags)
        i += 2
    if rows - i >= 1:
        tile_1(like, taps, k, a + 8 * i, taps_apart, a_offset, b, c + 8 * i, c_offset, bias, residual, flags)


@njit
def _finish(like, rows, columns, tile, c, c_offset, bias, residual, flags):
    """The last, narrower panel: its tile was computed aside, since it is wider than what is left of C; the columns that exist go to C."""
    size = element_bytes(like)
    for i in range(rows):
        row = read_integer(c + 8 * i) + c_offset
        for j in range(columns):
            value = read(like, tile + i * PANEL_BYTES + j * size)
            if flags & BIAS:
                value += read(like, bias + j * size)
            if flags & RESIDUAL:
                value += read(like, row + j * size + residual)
            if flags & RELU and value < 0:
                write(like, row + j * size, 0.0)
            else:
                write(like, row + j * size, value)


@njit
def multiply(
    like, rows, taps, k, a, taps_apart, a_offset, b, first, last, n, c, c_offset, bias, residual, flags, aside
):
    """Panels `first` to `last` of C, n columns wide in all: C = sum over taps of A[tap] @ B[tap], and what `flags` say.

    a_offset, c_offset: bytes after A's addresses, and after C's for the first of the panels.
    aside: room for a tile, and for a table of its rows.
    """
    size = element_bytes(like)
    width = PANEL_BYTES // size
    for j in range(first, last):
        panel = b + j * taps * k * PANEL_BYTES
        offset = c_offset + (j - first) * PANEL_BYTES
        columns = n - j * width
        if columns >= width:
            tiles(
                like, rows, taps, k, a, taps_apart, a_offset, panel, c, offset, bias + j * PANEL_BYTES, residual, flags
            )
            continue
        table = aside + TILE * PANEL_BYTES
        for i in range(TILE):
            write_integer(table + 8 * i, aside + i * PANEL_BYTES)
        for i in range(0, rows, TILE):
            some = min(TILE, rows - i)
            tiles(like, some, taps, k, a + 8 * i, taps_apart, a_offset, panel, table, 0, 0, 0, 0)
            _finish(like, some, columns, aside, c + 8 * i, offset, bias + j * PANEL_BYTES, residual, flags)


ASIDE = TILE * (PANEL_BYTES + 8)  # bytes of scratch that `multiply` needs


def scratch_bytes(rows: int, taps: int, c: int, size: int, flags: int) -> int:
    """How much scratch `convolve` needs: the tables of addresses, a tile aside, packed rows of c elements (a patch's with PATCHES)."""
    packed = rows * (c * size + PADDING) if flags & (PACK | AFFINE | PATCHES) else 0
    return 8 * rows * (taps + 1) + ASIDE + 64 + packed


@njit
def _addresses(s, first, rows, size, a, c):
    """The tables for output pixels `first` to first + rows: where each tap sees each of them in x, and where they are in y."""
    image, rest = first // (s.oh * s.ow), first % (s.oh * s.ow)
    p, q = rest // s.ow, rest % s.ow
    for i in range(rows):
        write_integer(c + 8 * i, s.y + image * s.y_image + p * s.y_row + q * s.y_pixel)
        for t in range(s.taps):
            row, column = p * s.sh + read_integer(s.a + 16 * t), q * s.sw + read_integer(s.a + 16 * t + 8)
            address = s.zeros
            if 0 <= row < s.h and 0 <= column < s.width:
                address = s.x + image * s.x_image + row * s.x_row + column * s.x_pixel
            write_integer(a + 8 * (t * rows + i), address)
        q += 1
        if q == s.ow:
            q = 0
            p += 1
            if p == s.oh:
                p = 0
                image += 1


@njit
def _pack_rows(like, s, rows, size, a, room):
    """The rows of x that the table names, copied (with AFFINE through batch norm and ReLU), and the table with their new places."""
    apart = s.c * size + PADDING
    for i in range(rows):
        here = room + i * apart
        if s.flags & AFFINE:
            affine_relu(like, s.c, (here, read_integer(a + 8 * i), s.scale, s.shift))
        else:
            copy(like, s.c, (here, read_integer(a + 8 * i)))
        write_integer(a + 8 * i, here)


@njit
def lay_patch(like, s, image, p, q, size, here):
    """The kh x kw x c inputs that output pixel (p, q) sees, in a row; zeros for those outside the image."""
    pixel = s.c * size
    left = q * s.sw - s.left
    for i in range(s.kh):
        row, target = p * s.sh + i * s.rh - s.top, here + i * s.kw * pixel
        if row < 0 or row >= s.h:
            clear(like, s.kw * s.c, (target,))
            continue
        source = s.x + image * s.x_image + row * s.x_row
        if s.rw == 1 and left >= 0 and left + s.kw <= s.width:  # a run without gaps
            copy(like, s.kw * s.c, (target, source + left * pixel))
            continue
        for j in range(s.kw):
            column = left + j * s.rw
            if 0 <= column < s.width:
                copy(like, s.c, (target + j * pixel, source + column * pixel))
            else:
                clear(like, s.c, (target + j * pixel,))


@njit
def _lay_patches(like, s, first, rows, size, a, c, room):
    """As `_addresses`, but of patches that are laid out in `room`."""
    apart = s.kh * s.kw * s.c * size + PADDING
    for i in range(rows):
        image, rest = (first + i) // (s.oh * s.ow), (first + i) % (s.oh * s.ow)
        p, q = rest // s.ow, rest % s.ow
        write_integer(c + 8 * i, s.y + image * s.y_image + p * s.y_row + q * s.y_pixel)
        write_integer(a + 8 * i, room + i * apart)
        lay_patch(like, s, image, p, q, size, room + i * apart)


@kernel
def convolve(step: Any, task: Any, scratch: Any, like: Any) -> None:
    """y = convolution of x [n, h, width, c] with packed w (see packing.py), and bias, residual, ReLU as `flags` say.

    Reads x, w, y, bias, residual (bytes from y to it), scale, shift, zeros (c of them); n, h, width, c, oh, ow, k, sh, sw, taps; a: a
    table of taps x (row, column); y's strides and x's; flags; row_tasks, column_tasks. With PATCHES, in place of a and taps: kh, kw, rh,
    rw, top, left.
    """
    s = as_step(step)
    size = element_bytes(like)
    pixels, panels = s.n * s.oh * s.ow, -(-s.k * size // PANEL_BYTES)
    row_task, column_task = task // s.column_tasks, task % s.column_tasks
    tiles = -(-pixels // TILE)
    first = share(tiles, s.row_tasks, row_task) * TILE
    rows = min(share(tiles, s.row_tasks, row_task + 1) * TILE, pixels) - first
    taps, terms = s.taps, s.c
    if s.flags & PATCHES:
        taps, terms = 1, s.kh * s.kw * s.c
    a = scratch
    c = a + 8 * rows * taps
    aside = c + 8 * rows
    room = -(-(aside + ASIDE) // 64) * 64
    if s.flags & PATCHES:
        _lay_patches(like, s, first, rows, size, a, c, room)
    else:
        _addresses(s, first, rows, size, a, c)
        if s.flags & (PACK | AFFINE):
            _pack_rows(like, s, rows, size, a, room)
    first_panel, last_panel = share(panels, s.column_tasks, column_task), share(panels, s.column_tasks, column_task + 1)
    multiply(
        like, rows, taps, terms, a, 8 * rows, 0, s.w, first_panel, last_panel, s.k,
        c, first_panel * PANEL_BYTES, s.bias, s.residual, s.flags, aside,
    )  # fmt: skip
