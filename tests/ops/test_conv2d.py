"""Convolution against the loops on paper, over whatever sizes hypothesis thinks of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ops.cases import assert_close
from tinyresnet import ops
from tinyresnet.ops import naive

one_to_three = st.integers(1, 3)
pair_or_one = st.one_of(one_to_three, st.tuples(one_to_three, one_to_three))
up_to_two = st.integers(0, 2)
paddings = st.one_of(
    st.just("SAME"), st.just("VALID"), st.tuples(st.tuples(up_to_two, up_to_two), st.tuples(up_to_two, up_to_two))
)


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """x, w, options of a convolution that exists: at least one window fits."""
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 3)))
    options = {"stride": draw(pair_or_one), "rate": draw(pair_or_one), "padding": draw(paddings)}
    rate = options["rate"] if isinstance(options["rate"], tuple) else (options["rate"],) * 2
    size = []
    for axis in (0, 1):
        needed = 1
        if options["padding"] != "SAME":
            padded = 0 if options["padding"] == "VALID" else sum(options["padding"][axis])
            needed = max(1, (kernel[axis] - 1) * rate[axis] + 1 - padded)
        size.append(draw(st.integers(needed, needed + 5)))
    n, c, k = draw(st.integers(0, 2)), draw(one_to_three), draw(one_to_three)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    dtype = draw(st.sampled_from(["float32", "float64"]))
    return rng.standard_normal((n, *size, c)).astype(dtype), rng.standard_normal((*kernel, c, k)).astype(dtype), options


@given(convolutions())
@settings(max_examples=150)
def test_forward_and_backward_against_the_loops(
    backend: Any, given_: tuple[np.ndarray, np.ndarray, dict[str, Any]]
) -> None:
    x, w, options = given_
    y, saved = ops.conv2d_forward(backend.array(x), backend.array(w), **options)
    right = naive.conv2d_forward(x, w, **options)
    assert_close(backend.host(y), right, "y")
    dy = np.random.default_rng(x.size).standard_normal(right.shape).astype(x.dtype)
    dx, dw = ops.conv2d_backward(backend.array(dy), saved)
    for name, ours, right in zip(("dx", "dw"), (dx, dw), naive.conv2d_backward(dy, x, w, **options), strict=True):
        assert_close(backend.host(ours), right, name)


@given(convolutions())
@settings(max_examples=30)
def test_the_output_has_tensorflows_size(given_: tuple[np.ndarray, np.ndarray, dict[str, Any]]) -> None:
    """tf.nn.convolution's two formulas, on the loops that judge everything else."""
    x, w, options = given_
    y = naive.conv2d_forward(x, w, **options)
    for axis in (0, 1):
        stride = options["stride"] if isinstance(options["stride"], int) else options["stride"][axis]
        rate = options["rate"] if isinstance(options["rate"], int) else options["rate"][axis]
        size, extent = x.shape[1 + axis], (w.shape[axis] - 1) * rate + 1
        if options["padding"] == "SAME":
            assert y.shape[1 + axis] == -(-size // stride)
        elif options["padding"] == "VALID":
            assert y.shape[1 + axis] == -(-(size - extent + 1) // stride)


def test_a_single_pixel(backend: Any) -> None:
    """On a 1x1 image SAME leaves the middle of the kernel alone."""
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((3, 1, 1, 2)), rng.standard_normal((3, 3, 2, 4))
    y, _ = ops.conv2d_forward(backend.array(x), backend.array(w))
    assert_close(backend.host(y)[:, 0, 0], x[:, 0, 0] @ w[1, 1], "y")


def test_the_last_pixels_that_no_window_reaches_have_no_gradient(backend: Any) -> None:
    """(H - KH) % stride != 0, as in the root of ResNet at 224: dx must still have x's shape, zero at the end."""
    rng = np.random.default_rng(1)
    x, w = rng.standard_normal((1, 6, 8, 2)), rng.standard_normal((3, 3, 2, 2))
    y, saved = ops.conv2d_forward(backend.array(x), backend.array(w), stride=(2, 3), padding="VALID")
    dx, _ = ops.conv2d_backward(backend.array(rng.standard_normal(y.shape)), saved)
    dx = backend.host(dx)
    assert dx.shape == x.shape
    assert not dx[:, 5:].any() and not dx[:, :, 6:].any()
    assert dx[:, :5, :6].all()


@pytest.mark.parametrize("padding", ["SAME", "VALID", ((1, 2), (0, 1))])
def test_rate_is_a_kernel_with_holes(padding: Any, backend: Any) -> None:
    """Atrous convolution = convolution with the kernel spread out and zeros put between."""
    rng = np.random.default_rng(2)
    x, w = rng.standard_normal((2, 9, 8, 3)), rng.standard_normal((3, 2, 3, 4))
    holes = np.zeros((2 * 2 + 1, 3 * 1 + 1, 3, 4))
    holes[::2, ::3] = w
    y, _ = ops.conv2d_forward(backend.array(x), backend.array(w), rate=(2, 3), padding=padding)
    right, _ = ops.conv2d_forward(backend.array(x), backend.array(holes), padding=padding)
    assert_close(backend.host(y), backend.host(right), "y")


def test_lists_and_numpy_integers_are_as_good_as_tuples_and_ints(backend: Any) -> None:
    rng = np.random.default_rng(3)
    x, w = backend.array(rng.standard_normal((1, 6, 7, 2))), backend.array(rng.standard_normal((3, 3, 2, 2)))
    y, _ = ops.conv2d_forward(x, w, stride=(2, 1), rate=(1, 2), padding=((1, 0), (2, 1)))
    same, _ = ops.conv2d_forward(
        x, w, stride=[np.int64(2), 1], rate=[1, np.int32(2)], padding=[[1, 0], [2, np.int64(1)]]
    )
    np.testing.assert_array_equal(backend.host(same), backend.host(y))


def test_dx_can_be_left_out(backend: Any) -> None:
    """`input_gradient=False` in what was saved: dw is the same, dx need not be computed (the plain op gives None)."""
    rng = np.random.default_rng(5)
    y, saved = ops.conv2d_forward(
        *map(backend.array, (rng.standard_normal((2, 5, 6, 3)), rng.standard_normal((3, 3, 3, 2))))
    )
    dy = backend.array(rng.standard_normal(y.shape))
    _, dw = ops.conv2d_backward(dy, saved)
    dx, same = ops.conv2d_backward(dy, saved._replace(input_gradient=False))
    assert_close(backend.host(same), backend.host(dw), "dw")
    assert dx is None or backend.name == "numba"


def test_float32_stays_accurate_over_many_terms(backend: Any) -> None:
    """4608 terms a sum, as in block 4 of resnet_v2_50: within 2e-6 of the float64 answer's largest entry."""
    rng = np.random.default_rng(4)
    x, w = rng.standard_normal((1, 3, 3, 512)), rng.standard_normal((3, 3, 512, 8))
    right, _ = ops.conv2d_forward(backend.array(x), backend.array(w))
    y, _ = ops.conv2d_forward(backend.array(x.astype("float32")), backend.array(w.astype("float32")))
    assert_close(backend.host(y), backend.host(right).astype("float32"), "y", tolerance=2e-6)
