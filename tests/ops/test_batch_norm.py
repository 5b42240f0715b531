"""Batch norm over many sizes, and what float32 makes of awkward numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ops.cases import assert_close
from tinyresnet import ops
from tinyresnet.ops import naive

images = st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(1, 3))
rows = st.tuples(st.integers(2, 6), st.integers(1, 4))
seeds = st.integers(0, 2**32)
epsilons = st.sampled_from([1e-5, 1e-3, 0.5])


def arguments(shape: tuple[int, ...], seed: int) -> tuple[np.random.Generator, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    c = shape[-1]
    return rng, 3 * rng.standard_normal(shape) + 2, 1 + rng.standard_normal(c), rng.standard_normal(c)


@given(st.one_of(images, rows), epsilons, seeds)
@settings(max_examples=50)
def test_training_against_the_loops(backend: Any, shape: tuple[int, ...], epsilon: float, seed: int) -> None:
    rng, x, gamma, beta = arguments(shape, seed)
    y, saved = ops.batch_norm_forward(*map(backend.array, (x, gamma, beta)), epsilon=epsilon)
    for name, ours, right in zip(
        ("y", "mean", "var"), (y, saved.mean, saved.var), naive.batch_norm_forward(x, gamma, beta, epsilon), strict=True
    ):
        assert_close(backend.host(ours), right, name)
    dy = rng.standard_normal(shape)
    ours_all = ops.batch_norm_backward(backend.array(dy), saved)
    rights = naive.batch_norm_backward(dy, x, gamma, epsilon)
    # with few values dx is a small difference of terms of the size of gamma * dy / std: measure its error against those
    scale = np.abs(gamma * dy).max() / np.sqrt(naive.batch_norm_forward(x, gamma, beta, epsilon)[2] + epsilon).min()
    assert np.abs(backend.host(ours_all[0]) - rights[0]).max() <= 1e-9 * scale
    for name, ours, right in zip(("dgamma", "dbeta"), ours_all[1:], rights[1:], strict=True):
        assert np.abs(backend.host(ours) - right).max() <= 1e-9 * np.abs(dy).sum(), name


@given(st.one_of(images, rows), epsilons, seeds)
@settings(max_examples=30)
def test_inference_against_the_loops(backend: Any, shape: tuple[int, ...], epsilon: float, seed: int) -> None:
    rng, x, gamma, beta = arguments(shape, seed)
    mean, var = rng.standard_normal(shape[-1]), rng.random(shape[-1])
    y, saved = ops.batch_norm_inference_forward(*map(backend.array, (x, gamma, beta, mean, var)), epsilon=epsilon)
    assert_close(backend.host(y), naive.batch_norm_inference_forward(x, gamma, beta, mean, var, epsilon), "y")
    dy = rng.standard_normal(shape)
    rights = naive.batch_norm_inference_backward(dy, x, gamma, mean, var, epsilon)
    for name, ours, right in zip(
        ("dx", "dgamma", "dbeta"), ops.batch_norm_inference_backward(backend.array(dy), saved), rights, strict=True
    ):
        assert_close(backend.host(ours), right, name, tolerance=1e-8)


@given(images, seeds)
@settings(max_examples=30)
def test_the_composite_is_its_two_parts(backend: Any, shape: tuple[int, ...], seed: int) -> None:
    rng, x, gamma, beta = arguments(shape, seed)
    x, gamma, beta = map(backend.array, (x, gamma, beta))
    normal, normal_saved = ops.batch_norm_forward(x, gamma, beta)
    right, relu_saved = ops.relu_forward(normal)
    y, saved = ops.batch_norm_relu_forward(x, gamma, beta)
    assert_close(backend.host(y), backend.host(right), "y")
    dy = backend.array(rng.standard_normal(shape))
    rights = ops.batch_norm_backward(ops.relu_backward(dy, relu_saved), normal_saved)
    for name, ours, right in zip(
        ("dx", "dgamma", "dbeta"), ops.batch_norm_relu_backward(dy, saved), rights, strict=True
    ):
        assert np.abs(backend.host(ours) - backend.host(right)).max() <= 1e-9 * max(
            1, np.abs(backend.host(right)).max()
        ), name


def test_the_default_epsilon_is_resnets(backend: Any) -> None:
    """1e-5, resnet_arg_scope's; slim.batch_norm's own default of 0.001 belongs to the layer."""
    _, x, gamma, beta = arguments((4, 3), 0)
    x *= 0.001  # a variance of about 1e-5: here epsilon matters
    y, _ = ops.batch_norm_forward(*map(backend.array, (x, gamma, beta)))
    assert_close(backend.host(y), naive.batch_norm_forward(x, gamma, beta, 1e-5)[0], "y")


def test_the_saved_variance_is_biased(backend: Any) -> None:
    x = np.array([[1.0], [3.0]])
    _, saved = ops.batch_norm_forward(*map(backend.array, (x, np.ones(1), np.zeros(1))))
    assert backend.host(saved.mean) == 2 and backend.host(saved.var) == 1


def test_one_value_per_channel_is_beta_and_has_no_gradient(backend: Any) -> None:
    _, x, gamma, beta = arguments((1, 1, 1, 4), 1)
    y, saved = ops.batch_norm_forward(*map(backend.array, (x, gamma, beta)))
    np.testing.assert_allclose(backend.host(y)[0, 0, 0], beta, rtol=0, atol=1e-12)
    dy = np.random.default_rng(2).standard_normal(x.shape)
    dx, dgamma, dbeta = map(backend.host, ops.batch_norm_backward(backend.array(dy), saved))
    assert np.abs(dx).max() < 1e-9 and np.abs(dgamma).max() < 1e-9
    np.testing.assert_allclose(dbeta, dy[0, 0, 0])


@pytest.mark.parametrize("offset", [1e2, 1e3])
def test_float32_does_not_cancel_where_the_mean_is_large(offset: float, backend: Any) -> None:
    """E[x^2] - mean^2 would keep no digit of a variance of 1 beside a mean of 1000 in float32."""
    rng = np.random.default_rng(3)
    x = (rng.standard_normal((4, 16, 16, 2)) + offset).astype("float32")
    gamma, beta = np.ones(2, "float32"), np.zeros(2, "float32")
    y, saved = ops.batch_norm_forward(*map(backend.array, (x, gamma, beta)))
    exact = x.astype("float64")
    assert_close(backend.host(saved.var), exact.var((0, 1, 2)).astype("float32"), "var", tolerance=1e-4)
    right = (exact - exact.mean((0, 1, 2))) / np.sqrt(exact.var((0, 1, 2)) + 1e-5)
    assert_close(backend.host(y), right.astype("float32"), "y", tolerance=1e-3)


def test_float32_sums_over_many_pixels_keep_their_digits(backend: Any) -> None:
    """200,704 values a channel, all near 1: one running float32 total drifts in the fifth digit, as the last lines show."""
    rng = np.random.default_rng(4)
    x = (1 + 0.1 * rng.standard_normal((4, 224, 224, 3))).astype("float32")
    ones, zeros = np.ones(3, "float32"), np.zeros(3, "float32")
    _, saved = ops.batch_norm_forward(*map(backend.array, (x, ones, zeros)))
    exact = x.mean((0, 1, 2), dtype="float64").astype("float32")
    assert_close(backend.host(saved.mean), exact, "mean", tolerance=2e-6)
    dy = (1 + 0.1 * rng.standard_normal(x.shape)).astype("float32")
    _, _, dbeta = ops.batch_norm_backward(backend.array(dy), saved)
    assert_close(backend.host(dbeta), dy.sum((0, 1, 2), dtype="float64").astype("float32"), "dbeta", tolerance=2e-6)
    running_total = np.add.accumulate(x.reshape(-1, 3), axis=0)[-1] / np.float32(x.size // 3)
    with pytest.raises(AssertionError, match="off by"):
        assert_close(running_total, exact, "mean", tolerance=2e-6)


@pytest.mark.parametrize("epsilon", [1e-5, np.float64(1e-5), np.float32(1e-5)], ids=["float", "float64", "float32"])
@pytest.mark.parametrize("op", ["batch_norm", "batch_norm_inference", "batch_norm_relu"])
def test_epsilons_type_does_not_change_the_dtype(op: str, epsilon: Any, backend: Any) -> None:
    """A NumPy float64 scalar would turn float32 arrays into float64 ones."""
    _, x, gamma, beta = arguments((2, 3, 2, 2), 5)
    moving = (beta, gamma**2) if op == "batch_norm_inference" else ()
    arrays = [backend.array(a.astype("float32")) for a in (x, gamma, beta, *moving)]
    y, saved = getattr(ops, f"{op}_forward")(*arrays, epsilon=epsilon)
    gradients = getattr(ops, f"{op}_backward")(arrays[0], saved)
    assert {str(a.dtype) for a in (y, *gradients)} == {"float32"}
