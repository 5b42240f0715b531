"""Numbers worked out by hand or printed by TensorFlow. A gradient check cannot see a wrong padding; these can."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinyresnet import ops, use
from tinyresnet.ops import naive

Convolve = Callable[..., np.ndarray]
IMAGE = {size: np.add.outer(np.arange(size), np.arange(size)).astype(float) for size in (4, 5)}  # pixel (h, v) is h + v
KERNEL = np.add.outer(np.arange(3), np.arange(3)).astype(float)

# TF-Slim's resnet_v2_test.py, testConv2DSameEven and testConv2DSameOdd: SAME, stride 1 and 2, of the image by the kernel.
SAME_STRIDE_1 = {
    4: [[14, 28, 43, 26], [28, 48, 66, 37], [43, 66, 84, 46], [26, 37, 46, 22]],
    5: [
        [14, 28, 43, 58, 34],
        [28, 48, 66, 84, 46],
        [43, 66, 84, 102, 55],
        [58, 84, 102, 120, 64],
        [34, 46, 55, 64, 30],
    ],
}
SAME_STRIDE_2 = {4: [[48, 37], [37, 22]], 5: [[14, 43, 34], [43, 84, 55], [34, 55, 30]]}
BOTH_SIDES_STRIDE_2 = {4: [[14, 43], [43, 84]], 5: [[14, 43, 34], [43, 84, 55], [34, 55, 30]]}  # conv2d_same


def check_tables(convolve: Convolve) -> None:
    for size in (4, 5):
        for right, options in (
            (SAME_STRIDE_1, {"padding": "SAME"}),
            (SAME_STRIDE_2, {"padding": "SAME", "stride": 2}),
            (BOTH_SIDES_STRIDE_2, {"padding": ((1, 1), (1, 1)), "stride": 2}),
        ):
            y = convolve(IMAGE[size].reshape(1, size, size, 1), KERNEL.reshape(3, 3, 1, 1), **options)
            np.testing.assert_array_equal(y[0, :, :, 0], right[size], err_msg=f"{size}x{size} {options}")


def check_rates_and_valid(convolve: Convolve) -> None:
    """1, 2, ..., 7 in a row; the kernel 1, 10, 100."""
    x, w = np.arange(1.0, 8).reshape(1, 1, 7, 1), np.array([1.0, 10, 100]).reshape(1, 3, 1, 1)
    for options, right in (
        ({"padding": "VALID"}, [321, 432, 543, 654, 765]),
        ({"padding": "VALID", "stride": 2}, [321, 543, 765]),
        ({"padding": "VALID", "rate": 3}, [741]),
        ({"padding": "SAME"}, [210, 321, 432, 543, 654, 765, 76]),
        ({"padding": "SAME", "rate": 2}, [310, 420, 531, 642, 753, 64, 75]),
        ({"padding": "SAME", "stride": 3}, [210, 543, 76]),
        ({"padding": "SAME", "stride": 2, "rate": 2}, [310, 531, 753, 75]),
        ({"padding": ((0, 0), (2, 1)), "stride": 3}, [100, 432, 765]),
    ):
        y = convolve(x, w, **options)
        np.testing.assert_array_equal(y[0, 0, :, 0], right, err_msg=str(options))


def on(backend: Any) -> Convolve:
    return lambda x, w, **options: backend.host(ops.conv2d_forward(backend.array(x), backend.array(w), **options)[0])


def test_tf_slims_tables(backend: Any) -> None:
    check_tables(on(backend))


def test_one_row_by_hand(backend: Any) -> None:
    check_rates_and_valid(on(backend))


def test_the_loops_on_paper() -> None:
    check_tables(naive.conv2d_forward)
    check_rates_and_valid(naive.conv2d_forward)


def test_even_kernels_have_their_odd_pixel_after(backend: Any) -> None:
    """SAME with a 2x2 kernel: one row below, one column at the right."""
    x, w = np.arange(1.0, 5).reshape(1, 2, 2, 1), np.array([1.0, 10, 100, 1000]).reshape(2, 2, 1, 1)
    np.testing.assert_array_equal(on(backend)(x, w)[0, :, :, 0], [[4321, 402], [43, 4]])


def test_max_pool_by_hand(backend: Any) -> None:
    """3x3, stride 2, SAME as pool1: an even size is padded after only, an odd one on both sides."""
    for size, right in ((4, [[10, 11], [14, 15]]), (5, [[6, 8, 9], [16, 18, 19], [21, 23, 24]])):
        x = np.arange(float(size * size)).reshape(1, size, size, 1)
        y, _ = ops.max_pool2d_forward(backend.array(x), 3, stride=2, padding="SAME")
        np.testing.assert_array_equal(backend.host(y)[0, :, :, 0], right)
        np.testing.assert_array_equal(naive.max_pool2d_forward(x, 3, 2, "SAME")[0, :, :, 0], right)


def test_batch_norm_by_hand(backend: Any) -> None:
    """1, 3 | 2, 6 with gamma 2, beta 1 and epsilon 0: xhat is -1, 1 in both channels."""
    x = np.array([[1.0, 2], [3, 6]])
    y, saved = ops.batch_norm_forward(*map(backend.array, (x, np.full(2, 2.0), np.ones(2))), epsilon=0.0)
    np.testing.assert_allclose(backend.host(y), [[-1, -1], [3, 3]], rtol=1e-12)
    np.testing.assert_allclose(backend.host(saved.var), [1, 4], rtol=1e-12)


# ---- planted: what a gradient check passes, these tables refuse ---------------------------------------------------------
def same_on_both_sides(x: Any, w: Any, stride: Any = 1, rate: Any = 1, padding: Any = "SAME") -> Any:
    """PyTorch's habit: (k - 1) // 2 on both sides whatever the stride."""
    if padding == "SAME":
        reach = [(size - 1) * (rate if isinstance(rate, int) else rate[a]) for a, size in enumerate(w.shape[:2])]
        padding = tuple((r // 2, r - r // 2) for r in reach)
    return ops.conv2d_forward(x, w, stride=stride, rate=rate, padding=padding)


def odd_pixel_before(x: Any, w: Any, stride: Any = 1, rate: Any = 1, padding: Any = "SAME") -> Any:
    _, saved = ops.conv2d_forward(x, w, stride=stride, rate=rate, padding=padding)
    pads = tuple((after, before) for before, after in saved.pads) if padding == "SAME" else padding
    return ops.conv2d_forward(x, w, stride=stride, rate=rate, padding=pads)


def same_for_explicit(x: Any, w: Any, stride: Any = 1, rate: Any = 1, padding: Any = "SAME") -> Any:
    """conv2d_same forgotten: SAME instead of padding of one's own."""
    return ops.conv2d_forward(x, w, stride=stride, rate=rate, padding="VALID" if padding == "VALID" else "SAME")


def true_convolution(x: Any, w: Any, **options: Any) -> Any:
    return ops.conv2d_forward(x, w[::-1, ::-1], **options)


MISTAKES = [same_on_both_sides, odd_pixel_before, same_for_explicit, true_convolution]


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_planted_wrong_convolution_fails_the_tables(mistake: Callable[..., Any], backend: Any) -> None:
    with use(conv2d_forward=mistake), pytest.raises(AssertionError):
        check_tables(on(backend))
        check_rates_and_valid(on(backend))


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_gradient_check_is_blind_to_it(mistake: Callable[..., Any], backend: Any) -> None:
    """Forward and backward agree with each other, so nothing is wrong with the gradient: hence the tables."""
    from tinyresnet import check_gradients

    def fn(x: Any, w: Any) -> Any:
        y, saved = ops.conv2d_forward(x, w, stride=2)
        if mistake is true_convolution:
            return y, lambda dy: flip_dw(*ops.conv2d_backward(dy, saved))
        return y, lambda dy: ops.conv2d_backward(dy, saved)

    rng = np.random.default_rng(0)
    x, w = backend.array(rng.standard_normal((2, 4, 4, 2))), backend.array(rng.standard_normal((3, 3, 2, 2)))
    with use(conv2d_forward=mistake):
        assert check_gradients(fn, x, w).passed


def flip_dw(dx: Any, dw: Any) -> tuple[Any, Any]:
    return dx, dw[::-1, ::-1]
