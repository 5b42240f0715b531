"""Max pooling, subsampling and global average pooling over many sizes, and what happens on a tie."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ops.cases import assert_close
from tinyresnet import ops
from tinyresnet.ops import naive

dtypes = st.sampled_from(["float32", "float64"])
seeds = st.integers(0, 2**32)


@st.composite
def pools(draw: st.DrawFn) -> tuple[np.ndarray, dict[str, Any]]:
    """x with many ties (digits only) and a pool with at least one window, each of which sees a pixel."""
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 3)))
    stride = draw(st.one_of(st.integers(1, 3), st.tuples(st.integers(1, 3), st.integers(1, 3))))
    pads = tuple((draw(st.integers(0, k - 1)), draw(st.integers(0, k - 1))) for k in kernel)
    padding = draw(st.sampled_from(["SAME", "VALID", pads]))
    size = []
    for axis in (0, 1):
        needed = kernel[axis] if padding != "SAME" else 1
        size.append(draw(st.integers(needed, needed + 5)))
    rng = np.random.default_rng(draw(seeds))
    x = rng.integers(-4, 5, (draw(st.integers(0, 2)), *size, draw(st.integers(1, 3)))).astype(draw(dtypes))
    return x, {"kernel_size": kernel, "stride": stride, "padding": padding}


@given(pools())
@settings(max_examples=60)
def test_max_pool_against_the_loops(backend: Any, given_: tuple[np.ndarray, dict[str, Any]]) -> None:
    x, options = given_
    y, saved = ops.max_pool2d_forward(backend.array(x), **options)
    right = naive.max_pool2d_forward(x, **options)
    np.testing.assert_array_equal(backend.host(y), right)
    assert backend.host(y).dtype == x.dtype
    dy = np.random.default_rng(x.size).standard_normal(right.shape).astype(x.dtype)
    dx = ops.max_pool2d_backward(backend.array(dy), saved)
    assert_close(backend.host(dx), naive.max_pool2d_backward(dy, x, **options), "dx")


@given(
    st.tuples(st.integers(0, 2), st.integers(1, 7), st.integers(1, 7), st.integers(1, 3)),
    st.integers(1, 9),
    dtypes,
    seeds,
)
@settings(max_examples=40)
def test_subsample_against_the_loops(backend: Any, shape: tuple[int, ...], factor: int, dtype: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape).astype(dtype)
    y, saved = ops.subsample_forward(backend.array(x), factor)
    right = naive.subsample_forward(x, factor)
    np.testing.assert_array_equal(backend.host(y), right)
    dy = rng.standard_normal(right.shape).astype(dtype)
    np.testing.assert_array_equal(
        backend.host(ops.subsample_backward(backend.array(dy), saved)), naive.subsample_backward(dy, x, factor)
    )


@given(st.tuples(st.integers(0, 2), st.integers(1, 7), st.integers(1, 7), st.integers(1, 3)), dtypes, seeds)
@settings(max_examples=30)
def test_global_average_pool_against_the_loops(backend: Any, shape: tuple[int, ...], dtype: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape).astype(dtype)
    y, saved = ops.global_avg_pool_forward(backend.array(x))
    assert_close(backend.host(y), naive.global_avg_pool_forward(x), "y")
    dy = rng.standard_normal((shape[0], 1, 1, shape[3])).astype(dtype)
    dx = ops.global_avg_pool_backward(backend.array(dy), saved)
    assert_close(backend.host(dx), naive.global_avg_pool_backward(dy, x), "dx")


# ---- ties -----------------------------------------------------------------------------------------------------------------
def pool_gradient(backend: Any, x: np.ndarray, dy: np.ndarray, **options: Any) -> np.ndarray:
    _, saved = ops.max_pool2d_forward(backend.array(x), **options)
    return backend.host(ops.max_pool2d_backward(backend.array(dy), saved))


def test_on_a_tie_the_first_maximum_in_row_order_takes_all(backend: Any) -> None:
    x = np.array([[1.0, 5, 2, 2], [5, 5, 2, 2], [0, 0, 3, 1], [0, 0, 1, 3]]).reshape(1, 4, 4, 1)
    dy = np.array([[2.0, 3], [5, 7]]).reshape(1, 2, 2, 1)
    right = np.array([[0.0, 2, 3, 0], [0, 0, 0, 0], [5, 0, 7, 0], [0, 0, 0, 0]]).reshape(1, 4, 4, 1)
    np.testing.assert_array_equal(pool_gradient(backend, x, dy, kernel_size=2), right)


def test_overlapping_windows_with_one_winner_add_up(backend: Any) -> None:
    x = np.zeros((1, 3, 3, 1))
    x[0, 1, 1, 0] = 9
    dy = np.array([[1.0, 10], [100, 1000]]).reshape(1, 2, 2, 1)
    right = np.zeros((1, 3, 3, 1))
    right[0, 1, 1, 0] = 1111
    np.testing.assert_array_equal(pool_gradient(backend, x, dy, kernel_size=2, stride=1), right)


@pytest.mark.parametrize("size", [4, 5, 6, 7])
def test_a_flat_image_is_a_tie_everywhere_as_in_pytorch(size: int, backend: Any) -> None:
    """Every window of an image of zeros ties, and so does every window of a ReLU's output that is zero."""
    from tests.ops.torch_ops import max_pool2d, torch

    options = {"kernel_size": 3, "stride": 2, "padding": "SAME"}
    x = torch.zeros((1, size, size, 2), dtype=torch.float64, requires_grad=True)
    y = max_pool2d(x, **options)
    dy = np.random.default_rng(size).standard_normal(tuple(y.shape))
    y.backward(torch.tensor(dy))
    assert_close(pool_gradient(backend, x.detach().numpy(), dy, **options), x.grad.numpy(), "dx")


def test_padding_never_wins(backend: Any) -> None:
    """On an image of negative numbers padding with zeros would give zeros at the border."""
    x = -1 - np.random.default_rng(0).random((2, 5, 6, 3))
    y, _ = ops.max_pool2d_forward(backend.array(x), 3, stride=2, padding="SAME")
    assert backend.host(y).max() < -1


def test_an_unseen_pixel_has_no_gradient(backend: Any) -> None:
    x = np.random.default_rng(1).standard_normal((1, 5, 5, 1))
    dx = pool_gradient(backend, x, np.full((1, 2, 2, 1), 3.0), kernel_size=2)
    assert dx.shape == x.shape and not dx[:, 4].any() and not dx[:, :, 4].any() and dx.sum() == 12


def test_subsample_is_a_1x1_max_pool(backend: Any) -> None:
    """TF-Slim writes it so; the two agree forward and backward."""
    rng = np.random.default_rng(2)
    x = backend.array(rng.standard_normal((2, 5, 6, 3)))
    y, saved = ops.subsample_forward(x, 2)
    pooled, pool_saved = ops.max_pool2d_forward(x, 1, stride=2)
    np.testing.assert_array_equal(backend.host(y), backend.host(pooled))
    dy = backend.array(rng.standard_normal((2, 3, 3, 3)))
    np.testing.assert_array_equal(
        backend.host(ops.subsample_backward(dy, saved)), backend.host(ops.max_pool2d_backward(dy, pool_saved))
    )
