"""Which way of convolving is the quickest for a geometry, and the Steps for it."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from . import convolution, outer, packing, threads, winograd, winograd_weights
from .convolution import AFFINE, PACK, PANEL_BYTES, PATCHES, TILE
from .micro_kernel import BIAS, RELU, RESIDUAL
from .outer import ACCUMULATE, BLOCK, PANELS, ROWS
from .plan import STREAM, Plan, address, constants, cut, integers, pieces
from .vectors import register_bits

DIRECT, LAID_OUT, WINOGRAD_2, WINOGRAD_4 = "direct", "patches", "winograd 2x2", "winograd 4x4"
CACHE = 400_000  # bytes of A that a task works on, at most: they and a panel of B share the second-level cache
LONG_ROW = 2048  # bytes of a row of y: then a task adds its residual tile by tile of rows, from end to end, as memory likes to be read
NEAR = 16_000_000  # bytes of weights that stay in the last cache from one call to the next
READ_NEAR, READ_FAR, WRITE = (
    2,
    25,
    46,
)  # what it costs to read a vector of weights from the cache, from memory, and to transform it
WORTH = 0.75  # prepared weights that no cache holds take memory as well: F(4x4) must save a quarter of the time to be worth it
TILES_CACHE = 1_500_000  # bytes of transformed tiles of a task, at most
FAR = 4_000_000  # bytes of transformed weights, beyond which it is they that a task waits for, and not its tiles: then ...
TILES_FAR = 72  # ... a task has more tiles, so that weights are fetched less often,
STREAM_FAR, TRANSFORM_FAR = 12.0, 2.0  # and it costs more to fetch a panel, and to transform tiles twice: see plan.cut
LONGEST_PATCH = 1024  # elements of a patch that is laid out as a row
WORKSPACE = 4_000_000  # bytes of transformed tiles that are made before they are used, for a weights' gradient: they stay in the cache.
ADDITIONS = 4  # But each time dw is added to, which costs time as well: so at least so many times dw's bytes,
MOST_WORKSPACE = 24_000_000  # if that is not more than this


class Geometry(NamedTuple):
    """x [n, h, width, c] by w [kh, kw, c, k] gives y [n, oh, ow, k]: strides sh, sw; rates rh, rw; `top` and `left` pixels of padding."""

    n: int
    h: int
    width: int
    c: int
    oh: int
    ow: int
    k: int
    kh: int
    kw: int
    sh: int
    sw: int
    rh: int
    rw: int
    top: int
    left: int

    def fields(self) -> dict[str, int]:
        """As fields of a Step."""
        return self._asdict()

    def turned(self) -> Geometry:
        """The convolution that gives dx from dy, for stride 1: the kernel turned round, c and k exchanged."""
        top, left = (self.kh - 1) * self.rh - self.top, (self.kw - 1) * self.rw - self.left
        return self._replace(h=self.oh, width=self.ow, c=self.k, oh=self.h, ow=self.width, k=self.c, top=top, left=left)


def _tile_f(method: str) -> int:
    return 4 if method == WINOGRAD_4 else 2


@functools.lru_cache(1024)
def tiles(oh: int, ow: int, f: int, rh: int, rw: int) -> Any:
    """The first output pixels (row, column) of all tiles of a map: F x F pixels `rate` apart, phase by phase."""
    rows = [a + i for a in range(min(rh, oh)) for i in range(0, oh - a, f * rh)]
    columns = [b + j for b in range(min(rw, ow)) for j in range(0, ow - b, f * rw)]
    return np.array([(row, column) for row in rows for column in columns], np.int64).reshape(-1, 2)


def _is_3x3(g: Geometry) -> bool:
    return (g.kh, g.kw, g.sh, g.sw) == (3, 3, 1, 1)


def is_pointwise(g: Geometry) -> bool:
    """1x1, every pixel once: a matrix product."""
    return (g.kh, g.kw, g.sh, g.sw, g.top, g.left, g.oh, g.ow) == (1, 1, 1, 1, 0, 0, g.h, g.width)


@functools.lru_cache(4096)
def choose(g: Geometry, size: int, prepared: bool, backward: bool = False) -> str:
    """The quickest of the four ways, by an estimate in vector instructions. size: bytes of an element; prepared: the weights are
    transformed beforehand. float64 stays direct: it is asked for where the last digits count.
    """
    if g.kh * g.kw > 1 and g.c < 16 and g.kh * g.kw * g.c <= LONGEST_PATCH and not backward:
        return LAID_OUT
    if not _is_3x3(g) or size == 8 or min(g.c, g.k) < 8:
        return DIRECT
    width = register_bits() // (8 * size)
    c, k = -(-g.c // width), -(-g.k // width)  # vectors
    costs = {DIRECT: 9.7 * g.n * g.oh * g.ow * g.c * k}
    for method, n2, per_input, per_output in ((WINOGRAD_2, 16, 60, 40), (WINOGRAD_4, 36, 170, 120)):
        count = g.n * len(tiles(g.oh, g.ow, _tile_f(method), g.rh, g.rw))
        weights = n2 * g.c * k  # vectors
        costs[method] = 1.05 * n2 * count * g.c * k + count * (per_input * c + per_output * k)
        costs[method] += weights * (READ_FAR if weights * width * 4 > NEAR else READ_NEAR)
        if not prepared:
            costs[method] += WRITE * weights
    large = prepared and 36 * g.c * k * register_bits() // 8 > NEAR and costs[WINOGRAD_4] > WORTH * costs[WINOGRAD_2]
    return min(costs, key=lambda method: costs[method] if not (large and method == WINOGRAD_4) else np.inf)


# ---- weights ---------------------------------------------------------------------------------------------------------------
def packed_size(method: str, g: Geometry, dtype: Any) -> int:
    """How many elements the prepared weights have."""
    size = np.dtype(dtype).itemsize
    if method in (WINOGRAD_2, WINOGRAD_4):
        return winograd.transformed_elements(_tile_f(method), g.c, g.k, size)
    return packing.packed_elements(g.kh * g.kw, g.c, g.k, size)


def prepare_weights(plan: Plan, method: str, g: Geometry, w: Any, packed: Any, turned: bool = False) -> None:
    """Steps that bring w [kh, kw, c, k] into the form that `method` reads. turned: w is [kh, kw, k, c] of the forward pass, for dx."""
    size, taps = plan.dtype.itemsize, g.kh * g.kw
    order = range(taps - 1, -1, -1) if turned else range(taps)
    row, column = (size, g.c * size) if turned else (g.k * size, size)
    fields = dict(w=w, y=packed, c=g.c, k=g.k, taps=taps, d=row, e=column)
    table = integers(tuple(tap * g.c * g.k * size for tap in order))
    _weights_step(plan, method, g, fields, table)


def _weights_step(plan: Plan, method: str, g: Geometry, fields: dict[str, Any], table: Any) -> None:
    workers, panels = threads.get_num_threads(), -(-g.k * plan.dtype.itemsize // PANEL_BYTES)
    if method in (WINOGRAD_2, WINOGRAD_4):
        parts = max(1, min(-(-g.c // 64), -(-4 * workers // panels)))
        more = dict(b=_tile_f(method), row_tasks=parts, column_tasks=panels)
        plan.add(winograd.transform_weights, winograd.WEIGHTS_SCRATCH, tasks=parts * panels, a=table, **fields, **more)
    else:
        tasks = min(4 * workers, panels * fields["taps"])
        plan.add(packing.pack, tasks=tasks, a=table, **fields)


# ---- forward, and dx ---------------------------------------------------------------------------------------------------------
class Epilogue(NamedTuple):
    """What is done to y while it is in registers, and to x on its way there. Arrays, or addresses."""

    bias: Any = None
    residual: Any = None  # of y's shape
    relu: bool = False
    scale: Any = None  # with shift: convolve max(scale * x + shift, 0)
    shift: Any = None

    def flags(self) -> int:
        """As flags of a Step."""
        return (
            (BIAS if self.bias is not None else 0)
            | (RESIDUAL if self.residual is not None else 0)
            | (RELU if self.relu else 0)
            | (AFFINE if self.scale is not None else 0)
        )


NOTHING = Epilogue()


def _at(place: Any) -> Any:
    return address(place) if isinstance(place, np.ndarray) else place or 0


def _map_strides(name: str, row: int, width: int, height: int) -> dict[str, int]:
    return {f"{name}_pixel": row, f"{name}_row": width * row, f"{name}_image": height * width * row}


def convolve(plan: Plan, method: str, g: Geometry, x: Any, packed: Any, y: Any, epilogue: Epilogue = NOTHING) -> None:
    """The step y = convolution of x by the prepared weights. x, packed, y: arrays, or addresses."""
    if (
        epilogue.scale is not None
        and method == LAID_OUT
        or method == DIRECT
        and epilogue.scale is not None
        and not is_pointwise(g)
    ):
        raise ValueError("scale and shift need a 1x1 convolution without stride and padding, or Winograd's way")
    size = plan.dtype.itemsize
    fields: dict[str, Any] = {
        **g.fields(),
        **_map_strides("x", g.c * size, g.width, g.h),
        **_map_strides("y", g.k * size, g.ow, g.oh),
        **dict(
            x=x,
            w=packed,
            y=y,
            scale=epilogue.scale or 0 if not isinstance(epilogue.scale, np.ndarray) else epilogue.scale,
        ),
        **dict(
            shift=0 if epilogue.shift is None else epilogue.shift, bias=0 if epilogue.bias is None else epilogue.bias
        ),
        "residual": 0 if epilogue.residual is None else _at(epilogue.residual) - _at(y),
    }
    plan.kept.append(epilogue.residual)
    if method in (WINOGRAD_2, WINOGRAD_4):
        _winograd_step(plan, _tile_f(method), g, fields, epilogue.flags())
    elif method == LAID_OUT:
        _direct_step(plan, g, fields, epilogue.flags() | PATCHES, ())
    else:
        taps = tuple((i * g.rh - g.top, j * g.rw - g.left) for i in range(g.kh) for j in range(g.kw))
        _direct_step(plan, g, fields, epilogue.flags(), taps)


def _winograd_step(plan: Plan, f: int, g: Geometry, fields: dict[str, Any], flags: int) -> None:
    size, table = plan.dtype.itemsize, tiles(g.oh, g.ow, f, g.rh, g.rw)
    count, panels = g.n * len(table), -(-g.k * size // PANEL_BYTES)
    tiles_in_cache = TILES_CACHE // ((f + 2) ** 2 * g.c * size)
    if (f + 2) ** 2 * g.c * g.k * size > FAR:
        most, costs = min(TILES_FAR, 4 * tiles_in_cache), (TRANSFORM_FAR, STREAM_FAR)
    else:
        most, costs = min(4 * TILE, tiles_in_cache), (0.2, STREAM)
    row_tasks, column_tasks = cut(count, panels, max(TILE, most), threads.get_num_threads(), TILE, 1, *costs)
    rows = -(-count // row_tasks)
    if not isinstance(fields["bias"], np.ndarray) and not fields["bias"]:
        fields["bias"] = constants(plan.dtype, 0, g.k)
    plan.add(
        winograd.convolve,
        winograd.scratch_bytes(f, rows, g.c, size),
        **{**fields, "a": table, "taps": len(table), "b": f, "flags": flags},
        d=constants(plan.dtype, -np.inf, g.k),
        e=constants(plan.dtype, 0, g.k),
        tasks=row_tasks * column_tasks if count else 0,
        row_tasks=row_tasks,
        column_tasks=column_tasks,
    )


def _direct_step(
    plan: Plan, g: Geometry, fields: dict[str, Any], flags: int, taps: tuple[tuple[int, int], ...]
) -> None:
    """`taps`: (row, column) of the input pixel that each sees, for output pixel (0, 0)."""
    size = plan.dtype.itemsize
    if len(taps) == 1 and g.c * size % 2048 == 0 and g.c * size >= 4096:
        flags |= PACK
    terms, pixels = (g.kh * g.kw * g.c if flags & PATCHES else g.c), g.n * g.oh * g.ow
    most = max(1, min(8, CACHE // (TILE * max(terms * size, 1))))  # tiles of a task
    if flags & RESIDUAL and g.k * size >= LONG_ROW:
        most = 1
    panels = -(-g.k * size // PANEL_BYTES)
    overhead = 0.08 if flags & (PACK | AFFINE | PATCHES) else 0.01
    height = -(-pixels // TILE)
    row_tasks, column_tasks = cut(height, panels, most, threads.get_num_threads(), TILE, TILE, overhead)
    rows = -(-height // row_tasks) * TILE
    more = dict(
        zeros=constants(plan.dtype, 0, g.c), flags=flags, taps=len(taps), row_tasks=row_tasks, column_tasks=column_tasks
    )
    if taps:
        more["a"] = integers(*taps)
    tasks = row_tasks * column_tasks if pixels else 0
    plan.add(
        convolution.convolve,
        convolution.scratch_bytes(rows, max(len(taps), 1), terms, size, flags),
        tasks=tasks,
        **{**fields, **more},
    )


def _phases(g: Geometry) -> Iterator[tuple[int, int, list[tuple[int, int, int]]]]:
    """For each phase (a, b) of input pixels, a < sh, b < sw: the taps (number, row, column) that give it a share of dy.

    Input row a + sh*u is seen through kernel row i by output row u + (a + top - i*rh) / sh, if that is an integer.
    """
    for a in range(min(g.sh, g.h)):
        for b in range(min(g.sw, g.width)):
            yield (
                a,
                b,
                [
                    (i * g.kw + j, (a + g.top - i * g.rh) // g.sh, (b + g.left - j * g.rw) // g.sw)
                    for i in range(g.kh)
                    for j in range(g.kw)
                    if (a + g.top - i * g.rh) % g.sh == 0 and (b + g.left - j * g.rw) % g.sw == 0
                ],
            )


def input_gradient(plan: Plan, g: Geometry, dy: Any, w: Any, dx: Any, method: str | None = None) -> None:
    """Steps for dx [n, h, width, c], the transposed convolution of dy [n, oh, ow, k]. With a stride, one convolution for each phase.

    Arrays, or addresses; method: where there is no stride, the way that `choose` gave.
    """
    size = plan.dtype.itemsize
    if (g.sh, g.sw) == (1, 1):
        turned = g.turned()
        method = method or choose(turned, size, False, True)
        packed = plan.room(packed_size(method, turned, plan.dtype))
        prepare_weights(plan, method, turned, w, packed, turned=True)
        convolve(plan, method, turned, dy, packed, dx)
        return
    row = g.c * size
    for a, b, taps in _phases(g):
        oh, ow = -(-(g.h - a) // g.sh), -(-(g.width - b) // g.sw)
        part = Geometry(g.n, g.oh, g.ow, g.k, oh, ow, g.c, 1, len(taps), 1, 1, 1, 1, 0, 0)
        packed = plan.room(packing.packed_elements(len(taps), g.k, g.c, size))
        if taps:
            table = integers(tuple(tap * g.c * g.k * size for tap, _, _ in taps))
            fields = dict(w=w, y=packed, c=g.k, k=g.c, taps=len(taps), d=size, e=g.k * size)
            _weights_step(plan, DIRECT, part, fields, table)
        strides = dict(y_pixel=g.sw * row, y_row=g.sh * g.width * row, y_image=g.h * g.width * row)
        place = _at(dx) + a * g.width * row + b * row
        fields = {
            **part.fields(),
            **_map_strides("x", g.k * size, g.ow, g.oh),
            **strides,
            "x": dy,
            "w": packed,
            "y": place,
        }
        _direct_step(plan, part, fields, 0, tuple((i, j) for _, i, j in taps))
    plan.kept.append(dx)


# ---- dw ----------------------------------------------------------------------------------------------------------------------
def weights_gradient(
    plan: Plan, g: Geometry, x: Any, dy: Any, dw: Any, epilogue: Epilogue = NOTHING, method: str | None = None
) -> None:
    """Steps for dw [kh, kw, c, k]; with epilogue's scale and shift, of the convolution of max(scale * x + shift, 0).

    Arrays, or addresses; method: the way that `choose` gave. There must be an output pixel: else dw is zeros, and nothing to compute.
    """
    method = method or choose(g, plan.dtype.itemsize, True)
    if method in (WINOGRAD_2, WINOGRAD_4):
        _winograd_weights_gradient(plan, _tile_f(method), g, x, dy, dw, epilogue)
    else:
        _direct_weights_gradient(plan, g, x, dy, dw, epilogue, method == LAID_OUT)


def _scale(epilogue: Epilogue) -> dict[str, Any]:
    return {} if epilogue.scale is None else dict(scale=epilogue.scale, shift=epilogue.shift)


def _direct_weights_gradient(
    plan: Plan, g: Geometry, x: Any, dy: Any, dw: Any, epilogue: Epilogue, patches: bool
) -> None:
    size, workers = plan.dtype.itemsize, threads.get_num_threads()
    taps, c = (1, g.kh * g.kw * g.c) if patches else (g.kh * g.kw, g.c)
    panels = -(-g.k * size // PANEL_BYTES)
    row_tasks, column_tasks = 1 if patches else -(-c // ROWS), -(-panels // PANELS)
    grid = taps * row_tasks * column_tasks
    pixels = g.n * g.oh * g.ow
    split = 1 if grid >= 2 * workers or workers == 1 else min(-(-3 * workers // grid), max(1, pixels // BLOCK))
    count = g.kh * g.kw * g.c * g.k
    parts = plan.room(split * count) if split > 1 else dw
    plan.add(
        outer.weights_gradient,
        outer.scratch_bytes(-(-c // row_tasks), g.k, size),
        **{**g.fields(), **_map_strides("x", g.c * size, g.width, g.h), **_scale(epilogue)},
        x=x,
        dy=dy,
        dw=parts,
        taps=g.kh * g.kw,
        flags=epilogue.flags() | (PATCHES if patches else 0),
        row_tasks=row_tasks,
        column_tasks=column_tasks,
        split=split,
        tasks=grid * split,
    )
    if split > 1:
        plan.add(outer.add_parts, x=parts, y=dw, a=count, split=split, tasks=pieces(count, 4096, workers))


def _winograd_weights_gradient(plan: Plan, f: int, g: Geometry, x: Any, dy: Any, dw: Any, epilogue: Epilogue) -> None:
    """Some images at a time, so that their transformed tiles stay in the cache."""
    size, workers, n2 = plan.dtype.itemsize, threads.get_num_threads(), (f + 2) ** 2
    table, panels = tiles(g.oh, g.ow, f, g.rh, g.rw), -(-g.k * size // PANEL_BYTES)
    row_bytes = g.c * size + convolution.PADDING
    image_bytes = n2 * len(table) * (row_bytes + panels * PANEL_BYTES)
    room = min(max(WORKSPACE, ADDITIONS * 9 * g.c * g.k * size), MOST_WORKSPACE)
    at_once = max(1, min(g.n, room // image_bytes))
    chunks = -(-g.n // at_once)
    at_once = -(-g.n // chunks)
    v = plan.room(n2 * len(table) * at_once * row_bytes // size)
    d = plan.room(n2 * len(table) * at_once * panels * PANEL_BYTES // size)
    parts = max(-(-g.c // winograd_weights.ROWS), -(-2 * workers // panels))
    x_at, dy_at = _at(x), _at(dy)
    plan.kept += [x, dy]
    for first in range(0, g.n, at_once):
        some = g._replace(n=min(at_once, g.n - first))
        fields = {**some.fields(), **_map_strides("x", g.c * size, g.width, g.h), **_scale(epilogue)}
        fields |= dict(x=x_at + first * g.h * g.width * g.c * size, dy=dy_at + first * g.oh * g.ow * g.k * size)
        fields |= dict(w=v, y=d, a=table, taps=len(table), b=f, flags=epilogue.flags())
        tasks = pieces(some.n * len(table), 4, 2 * workers)
        plan.add(
            winograd_weights.transform,
            winograd_weights.transform_scratch_bytes(f, g.c, g.k, size),
            tasks=tasks,
            **fields,
        )
        fields |= dict(dw=dw, flags=ACCUMULATE if first else 0, row_tasks=parts, column_tasks=panels)
        plan.add(winograd_weights.weights_gradient, winograd_weights.scratch_bytes(f), tasks=parts * panels, **fields)
