"""The loss: many shapes, label smoothing, and logits so large that a careless exp overflows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ops.cases import assert_close
from tinyresnet import ops
from tinyresnet.ops import naive


@given(
    st.lists(st.integers(1, 4), max_size=3),
    st.integers(1, 6),
    st.floats(0, 1),
    st.sampled_from(["float32", "float64"]),
    st.integers(0, 2**32),
)
@settings(max_examples=50)
def test_against_the_loops(backend: Any, lead: list[int], k: int, smoothing: float, dtype: str, seed: int) -> None:
    """Any number of axes before the classes, none of them included."""
    rng = np.random.default_rng(seed)
    logits = (4 * rng.standard_normal((*lead, k))).astype(dtype)
    labels = rng.integers(0, k, lead)
    loss, saved = ops.softmax_cross_entropy_forward(
        backend.array(logits), backend.array(labels), label_smoothing=smoothing
    )
    right = naive.softmax_cross_entropy_forward(logits, labels, smoothing)
    assert backend.host(loss).shape == () and backend.host(loss).dtype == logits.dtype
    tolerance = 1e-9 if dtype == "float64" else 1e-5
    assert abs(float(backend.host(loss)) - float(right)) <= tolerance * max(1, float(right))
    dy = float(rng.standard_normal())
    dlogits = backend.host(ops.softmax_cross_entropy_backward(dy, saved))
    right = naive.softmax_cross_entropy_backward(dy, logits, labels, smoothing)
    assert dlogits.shape == logits.shape and dlogits.dtype == logits.dtype
    assert np.abs(dlogits - right).max() <= tolerance * abs(dy)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [1e2, 1e4])
def test_huge_logits_are_exact(size: float, dtype: str, backend: Any) -> None:
    """exp(1e4) overflows every float. Row 1 is right (loss 0), row 2 wrong (its distance), row 3 between two (log 2)."""
    logits = np.array([[size, 0, -size], [size, 0, -size], [-size, size, size]], dtype)
    labels = np.array([0, 2, 1])
    loss, saved = ops.softmax_cross_entropy_forward(backend.array(logits), backend.array(labels))
    assert float(backend.host(loss)) == pytest.approx((0 + 2 * size + math.log(2)) / 3, rel=1e-6)
    dlogits = backend.host(ops.softmax_cross_entropy_backward(1.0, saved))
    right = np.array([[0, 0, 0], [1, 0, -1], [0, -0.5, 0.5]]) / 3
    np.testing.assert_allclose(dlogits, right, rtol=0, atol=1e-6)
    np.testing.assert_allclose(backend.host(ops.softmax(backend.array(logits)))[1], [1, 0, 0], rtol=0, atol=1e-12)


def test_a_shift_of_all_logits_changes_nothing(backend: Any) -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.standard_normal((5, 7)), rng.integers(0, 7, 5)
    losses = []
    for shift in (0, 1e4):
        loss, _ = ops.softmax_cross_entropy_forward(
            backend.array(logits + shift), backend.array(labels), label_smoothing=0.2
        )
        losses.append(float(backend.host(loss)))
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)


def test_ten_equal_logits_cost_log_10(backend: Any) -> None:
    """The first loss of every training run on ten classes."""
    loss, _ = ops.softmax_cross_entropy_forward(backend.array(np.full((6, 10), 3.0)), backend.array(np.arange(6)))
    assert float(backend.host(loss)) == pytest.approx(math.log(10), rel=1e-12)


def test_the_gradient_of_each_row_sums_to_zero(backend: Any) -> None:
    rng = np.random.default_rng(1)
    _, saved = ops.softmax_cross_entropy_forward(
        backend.array(rng.standard_normal((4, 6))), backend.array(rng.integers(0, 6, 4)), label_smoothing=0.1
    )
    dlogits = backend.host(ops.softmax_cross_entropy_backward(2.5, saved))
    np.testing.assert_allclose(dlogits.sum(-1), 0, rtol=0, atol=1e-12)
    assert np.abs(dlogits).max() > 0.01


@pytest.mark.parametrize("integer", ["uint8", "int16", "int32", "int64"])
def test_labels_of_every_integer_dtype(integer: str, backend: Any) -> None:
    rng = np.random.default_rng(2)
    logits, labels = rng.standard_normal((5, 4)), rng.integers(0, 4, 5)
    loss, _ = ops.softmax_cross_entropy_forward(backend.array(logits), backend.array(labels.astype(integer)))
    assert float(backend.host(loss)) == pytest.approx(
        float(naive.softmax_cross_entropy_forward(logits, labels)), rel=1e-12
    )


@pytest.mark.parametrize(
    "dy", [1.0, 2, np.float32(3), np.array(0.5, "float32"), np.float64(-1.5)], ids=lambda dy: type(dy).__name__
)
def test_any_number_will_do_as_upstream_gradient(dy: Any, backend: Any) -> None:
    """A float64 scalar must not turn float32 gradients into float64 ones."""
    rng = np.random.default_rng(3)
    logits, labels = rng.standard_normal((3, 4)).astype("float32"), rng.integers(0, 4, 3)
    _, saved = ops.softmax_cross_entropy_forward(backend.array(logits), backend.array(labels))
    given_ = backend.array(dy) if isinstance(dy, np.ndarray) else dy
    dlogits = backend.host(ops.softmax_cross_entropy_backward(given_, saved))
    assert_close(dlogits, naive.softmax_cross_entropy_backward(float(dy), logits, labels), "dlogits")


def test_the_loss_itself_can_be_handed_back(backend: Any) -> None:
    """d(loss^2 / 2) = loss * dloss: what comes out of the forward pass goes into the backward pass, on every back end."""
    rng = np.random.default_rng(4)
    logits, labels = rng.standard_normal((3, 4)), rng.integers(0, 4, 3)
    loss, saved = ops.softmax_cross_entropy_forward(backend.array(logits), backend.array(labels))
    right = naive.softmax_cross_entropy_backward(naive.softmax_cross_entropy_forward(logits, labels), logits, labels)
    assert_close(backend.host(ops.softmax_cross_entropy_backward(loss, saved)), right, "dlogits")
