"""Calls of the hot ops for hypothesis to draw: sizes at the edges of tiles and vectors, every geometry, every layout, both dtypes."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests.kernels.layouts import LAYOUTS
from tests.ops.cases import Case
from tinyresnet.ops.windows import windows

# Around 4, 6, 12 and 16, which tiles and panels are made of, and their multiples.
SIDES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 15, 16, 17, 18, 19, 23, 24, 25)
CHANNELS = (1, 2, 3, 4, 7, 8, 12, 15, 16, 17, 24, 31, 32, 33, 40, 64, 65)
KERNELS = ((1, 1), (3, 3), (3, 3), (1, 3), (3, 1), (2, 2), (5, 5), (7, 7), (2, 3))
STRIDES: tuple[Any, ...] = (1, 1, 1, 2, 2, 3, (1, 2), (2, 1), 50)
RATES: tuple[Any, ...] = (1, 1, 1, 2, 3, (1, 2), 40)
MOST_WORK = 3e6  # multiplications of one call; more would be another size of the same

sides, channels, batches = st.sampled_from(SIDES), st.sampled_from(CHANNELS), st.sampled_from((1, 2, 2, 3, 0))
layouts = st.sampled_from(("plain", *LAYOUTS))
explicit = st.tuples(*(st.tuples(st.integers(0, 4), st.integers(0, 4)) for _ in range(2)))
paddings = st.one_of(st.just("SAME"), st.just("VALID"), explicit)


def fits(shape: tuple[int, ...], kernel: tuple[int, int], stride: Any, rate: Any, padding: Any) -> bool:
    try:
        windows(shape, kernel, stride, rate, padding)
    except ValueError:
        return False
    return True


@st.composite
def numbers(draw: st.DrawFn) -> tuple[np.random.Generator, str]:
    """A stream of random numbers and the dtype they are to have."""
    seed = draw(st.integers(0, 2**32 - 1))
    return np.random.default_rng(seed), draw(st.sampled_from(("float32", "float32", "float64")))


def laid_out(draw: st.DrawFn, a: np.ndarray, dtype: str) -> np.ndarray:
    return LAYOUTS[draw(layouts)](a.astype(dtype))


@st.composite
def convolutions(draw: st.DrawFn) -> Case:
    """conv2d with at least one window; the number of channels gives way where all together would be much work."""
    n, h, w, c, k = draw(batches), draw(sides), draw(sides), draw(channels), draw(channels)
    kernel, stride, rate = draw(st.sampled_from(KERNELS)), draw(st.sampled_from(STRIDES)), draw(st.sampled_from(RATES))
    padding = draw(paddings)
    if not fits((n, h, w, c), kernel, stride, rate, padding):
        padding = "SAME"
    pixels = np.prod(windows((n, h, w, c), kernel, stride, rate, padding).size) * max(n, 1) * kernel[0] * kernel[1]
    while pixels * c * k > MOST_WORK and max(c, k) > 3:
        c, k = (CHANNELS[CHANNELS.index(c) // 2], k) if c > k else (c, CHANNELS[CHANNELS.index(k) // 2])
    rng, dtype = draw(numbers())
    arrays = tuple(laid_out(draw, rng.standard_normal(shape), dtype) for shape in ((n, h, w, c), (*kernel, c, k)))
    return Case("drawn", "conv2d", arrays, (), {"stride": stride, "rate": rate, "padding": padding})


@st.composite
def convolutions_3x3(draw: st.DrawFn) -> Case:
    """What Winograd computes: 3x3, stride 1, any rate, any padding; maps of a few tiles and one pixel more or less."""
    n, h, w, c, k = draw(batches), draw(sides), draw(sides), draw(channels), draw(channels)
    rate, padding = draw(st.sampled_from((1, 1, 1, 2, (1, 3), 7))), draw(paddings)
    if not fits((n, h, w, c), (3, 3), 1, rate, padding):
        padding = "SAME"
    rng, dtype = draw(numbers())
    arrays = tuple(laid_out(draw, rng.standard_normal(shape), dtype) for shape in ((n, h, w, c), (3, 3, c, k)))
    return Case("drawn", "conv2d", arrays, (), {"rate": rate, "padding": padding})


@st.composite
def convolutions_1x1(draw: st.DrawFn) -> Case:
    """A matrix product of pixels and channels; with a stride, of some of the pixels."""
    n, h, w, c, k = draw(batches), draw(sides), draw(sides), draw(channels), draw(channels)
    stride = draw(st.sampled_from(STRIDES))
    rng, dtype = draw(numbers())
    arrays = tuple(laid_out(draw, rng.standard_normal(shape), dtype) for shape in ((n, h, w, c), (1, 1, c, k)))
    return Case("drawn", "conv2d", arrays, (), {"stride": stride, "padding": draw(st.sampled_from(("SAME", "VALID")))})


@st.composite
def shapes(draw: st.DrawFn, rank4: bool = False) -> tuple[int, ...]:
    """[N, H, W, C], or as well [N, C] and [N, L, C]."""
    middle = 2 if rank4 else draw(st.sampled_from((2, 2, 2, 0, 1)))
    return (draw(batches) if middle else draw(sides), *(draw(sides) for _ in range(middle)), draw(channels))


@st.composite
def batch_norms(draw: st.DrawFn, op: str) -> Case:
    """batch_norm, batch_norm_relu or batch_norm_inference of values that are not centred."""
    shape = draw(shapes())
    c = shape[-1]
    rng, dtype = draw(numbers())
    x = 2 * rng.standard_normal(shape) + 3 * rng.standard_normal(c)
    per_channel = [1.5 + 0.5 * rng.standard_normal(c), rng.standard_normal(c)]
    constants = [rng.standard_normal(c), 0.5 + rng.standard_normal(c) ** 2] if "inference" in op else []
    return Case(
        "drawn",
        op,
        tuple(laid_out(draw, a, dtype) for a in (x, *per_channel)),
        tuple(laid_out(draw, a, dtype) for a in constants),
        {"epsilon": draw(st.sampled_from((1e-5, 1e-3, 0.1)))},
    )


@st.composite
def elementwise(draw: st.DrawFn, op: str) -> Case:
    """relu, bias_add or add."""
    shape = draw(shapes())
    rng, dtype = draw(numbers())
    others = {"relu": [], "bias_add": [shape[-1:]], "add": [shape]}[op]
    x = rng.standard_normal(shape)
    x[rng.random(shape) < 0.1] = 0  # the kink of relu
    arrays = (x, *(rng.standard_normal(other) for other in others))
    return Case("drawn", op, tuple(laid_out(draw, a, dtype) for a in arrays), (), {})


@st.composite
def pools(draw: st.DrawFn) -> Case:
    """max_pool2d; every second time of small whole numbers, so that many pixels tie."""
    shape = draw(shapes(rank4=True))
    kernel, stride, padding = draw(st.sampled_from(KERNELS)), draw(st.sampled_from(STRIDES)), draw(paddings)
    if not fits(shape, kernel, stride, 1, padding):
        padding = "SAME"
    rng, dtype = draw(numbers())
    x = rng.standard_normal(shape)
    x = np.round(x) if draw(st.booleans()) else x - 3  # mostly below the zeros that a wrong padding would have
    options = {"kernel_size": kernel, "stride": stride, "padding": padding}
    return Case("drawn", "max_pool2d", (laid_out(draw, x, dtype),), (), options)


@st.composite
def maps(draw: st.DrawFn, op: str) -> Case:
    """subsample or global_avg_pool."""
    shape = draw(shapes(rank4=True))
    rng, dtype = draw(numbers())
    options = {"factor": draw(st.sampled_from((1, 2, 3, 5, 50)))} if op == "subsample" else {}
    return Case("drawn", op, (laid_out(draw, rng.standard_normal(shape) + 1, dtype),), (), options)


@st.composite
def with_biases(draw: st.DrawFn) -> Case:
    """conv2d_bias_add: a drawn convolution, and biases."""
    case = draw(convolutions())
    x, w = case.arrays
    biases = laid_out(draw, np.random.default_rng(w.size).standard_normal(w.shape[3]), x.dtype.name)
    return case._replace(op="conv2d_bias_add", arrays=(x, w, biases))


CALLS = {
    "conv2d": convolutions(),
    "conv2d 3x3": convolutions_3x3(),
    "conv2d 1x1": convolutions_1x1(),
    "conv2d_bias_add": with_biases(),
    **{
        op: batch_norms(op)
        for op in ("batch_norm", "batch_norm_relu", "batch_norm_inference", "batch_norm_inference_relu")
    },
    **{op: elementwise(op) for op in ("relu", "bias_add", "add")},
    "max_pool2d": pools(),
    **{op: maps(op) for op in ("subsample", "global_avg_pool")},
}
