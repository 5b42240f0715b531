"""Bilinear resizing: numbers by hand, any sizes against the loops, and the mistakes that a gradient check cannot see."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ops.cases import assert_close
from tinyresnet import check_gradients, get_array_module, ops, use
from tinyresnet.ops import naive

Resize = Callable[[np.ndarray, tuple[int, int]], np.ndarray]
SQUARE = [[0.0, 2], [4, 10]]
GOLDENS: list[tuple[list[list[float]], tuple[int, int], list[list[float]]]] = [
    (SQUARE, (3, 3), [[0, 1, 2], [2, 4, 6], [4, 7, 10]]),
    (SQUARE, (2, 5), [[0, 0.5, 1, 1.5, 2], [4, 5.5, 7, 8.5, 10]]),
    (SQUARE, (1, 1), [[0]]),
    ([[1.0, 2, 4, 8, 16]], (1, 3), [[1, 4, 16]]),
    ([[1.0, 2, 4, 8, 16]], (1, 4), [[1, 2 + 2 / 3, 4 + 8 / 3, 16]]),  # at 0, 4/3, 8/3, 4
    ([[0.0], [8]], (5, 2), [[0, 0], [2, 2], [4, 4], [6, 6], [8, 8]]),
    ([[3.0]], (2, 3), [[3, 3, 3], [3, 3, 3]]),
]


def check_goldens(resize: Resize) -> None:
    for image, size, right in GOLDENS:
        x = np.array(image)[None, :, :, None]
        np.testing.assert_allclose(resize(x, size)[0, :, :, 0], right, rtol=1e-12, err_msg=f"{image} to {size}")


def on(backend: Any) -> Resize:
    return lambda x, size: backend.host(ops.resize_bilinear_forward(backend.array(x), size)[0])


def test_numbers_by_hand(backend: Any) -> None:
    check_goldens(on(backend))
    check_goldens(naive.resize_bilinear_forward)


def test_a_gradient_by_hand(backend: Any) -> None:
    """[a, b] -> [a, (a + b) / 2, b]: a hears the whole of the first and half of the second."""
    _, saved = ops.resize_bilinear_forward(backend.array(np.array([[[[5.0], [7.0]]]])), (1, 3))
    dx = ops.resize_bilinear_backward(backend.array(np.array([[[[1.0], [10], [100]]]])), saved)
    np.testing.assert_allclose(backend.host(dx).ravel(), [6, 105], rtol=1e-12)


def test_every_8th_pixel_of_a_65_grid_is_the_17_grid_s_own(backend: Any) -> None:
    """Why sizes 32 n + 1: the coarse map's pixels lie on pixels of the image, to the last bit."""
    for dtype, stride in (("float32", 8), ("float64", 16)):
        x = np.random.default_rng(stride).standard_normal((2, 64 // stride + 1, 64 // stride + 1, 3)).astype(dtype)
        np.testing.assert_array_equal(on(backend)(x, (65, 65))[:, ::stride, ::stride], x)


def test_a_plane_stays_a_plane(backend: Any) -> None:
    """x = 3h - 2v + 1, sampled at exact places, whatever the size."""
    h, w, oh, ow = 5, 4, 8, 11
    x = (3 * np.arange(h)[:, None] - 2 * np.arange(w) + 1.0)[None, :, :, None]
    right = 3 * np.linspace(0, h - 1, oh)[:, None] - 2 * np.linspace(0, w - 1, ow) + 1
    np.testing.assert_allclose(on(backend)(x, (oh, ow))[0, :, :, 0], right, rtol=0, atol=1e-12)


def test_one_number_is_both_sides(backend: Any) -> None:
    x = backend.array(np.random.default_rng(0).standard_normal((2, 3, 4, 2)))
    one, both = ops.resize_bilinear_forward(x, 5)[0], ops.resize_bilinear_forward(x, (5, 5))[0]
    assert one.shape == (2, 5, 5, 2)
    np.testing.assert_array_equal(backend.host(one), backend.host(both))


@given(
    st.tuples(st.integers(0, 2), st.integers(1, 7), st.integers(1, 7), st.integers(1, 3)),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.sampled_from(["float32", "float64"]),
    st.integers(0, 2**32),
)
@settings(max_examples=40)
def test_any_sizes_against_the_loops(
    backend: Any, shape: tuple[int, ...], size: tuple[int, int], dtype: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape).astype(dtype)
    y, saved = ops.resize_bilinear_forward(backend.array(x), size)
    right = naive.resize_bilinear_forward(x, size)
    assert_close(backend.host(y), right, "y")
    dy = rng.standard_normal(right.shape).astype(dtype)
    dx = ops.resize_bilinear_backward(backend.array(dy), saved)
    assert_close(backend.host(dx), naive.resize_bilinear_backward(dy, x, size), "dx")


# ---- planted: right gradients of a wrong resize --------------------------------------------------------------------------
def weights_at(x: Any, place: Any, size: int) -> Any:
    xp = get_array_module(x)
    place = xp.clip(place, 0, size - 1)[:, None]
    return xp.clip(1 - abs(place - xp.arange(size)), 0, 1).astype(x.dtype)


def resize_by(places: Callable[[Any, int, int], Any]) -> Callable[..., Any]:
    """A forward pass whose output pixel p lies at places(xp, out, size)[p]; its saved matrices are its own, so its gradient is right."""

    def mistake(x: Any, size: Any) -> Any:
        xp = get_array_module(x)
        y, saved = ops.resize_bilinear_forward(x, size)
        rows, columns = (
            weights_at(x, places(xp, *table.shape), table.shape[1]) for table in (saved.rows, saved.columns)
        )
        return xp.einsum("ph,qw,nhwc->npqc", rows, columns, x), saved._replace(rows=rows, columns=columns)

    return mistake


half_pixels = resize_by(lambda xp, out, size: (xp.arange(out) + 0.5) * size / out - 0.5)  # align_corners=False
asymmetric = resize_by(lambda xp, out, size: xp.arange(out) * size / out)  # TensorFlow 1's default
nearest = resize_by(lambda xp, out, size: xp.rint(xp.arange(out) * (size - 1) / max(out - 1, 1)))


@pytest.mark.parametrize("mistake", [half_pixels, asymmetric, nearest], ids=["half pixels", "asymmetric", "nearest"])
def test_a_planted_wrong_resize_fails_the_numbers_and_passes_the_gradient_check(
    mistake: Callable[..., Any], backend: Any
) -> None:
    def fn(x: Any) -> Any:
        y, saved = ops.resize_bilinear_forward(x, (5, 3))
        return y, lambda dy: ops.resize_bilinear_backward(dy, saved)

    with use(resize_bilinear_forward=mistake):
        with pytest.raises(AssertionError):
            check_goldens(on(backend))
        assert check_gradients(fn, backend.array(np.random.default_rng(1).standard_normal((2, 3, 4, 2)))).passed
