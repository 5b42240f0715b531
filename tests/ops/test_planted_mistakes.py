"""The checks can fail: the classic wrong backward passes, each of which the random-upstream gradient check must refuse.

A mistake is planted the way a learner would make it, as `use(conv2d_backward=mine)`; inside, `ops.conv2d_backward` is the right one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.ops.cases import CASES, Case, assert_close, backward, forward, on_paper, upstream
from tinyresnet import check_gradients, get_array_module, ops, use

CASE = {case.name: case for case in CASES}
MISTAKES: list[tuple[str, Callable[..., Any]]] = []  # (name of the case, wrong backward)


def planted(*cases: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def register(mistake: Callable[..., Any]) -> Callable[..., Any]:
        MISTAKES.extend((case, mistake) for case in cases)
        return mistake

    return register


# ---- convolution ----------------------------------------------------------------------------------------------------------
@planted("conv2d-same", "conv2d-same-even-stride2")
def kernel_flipped_in_dx(dy: Any, saved: Any) -> Any:
    dx, _ = ops.conv2d_backward(dy, saved._replace(w=saved.w[::-1, ::-1]))
    return dx, ops.conv2d_backward(dy, saved)[1]


@planted("conv2d-same", "conv2d-rate2")
def kernel_rows_and_columns_swapped(dy: Any, saved: Any) -> Any:
    dx, _ = ops.conv2d_backward(dy, saved._replace(w=saved.w.swapaxes(0, 1)))
    return dx, ops.conv2d_backward(dy, saved)[1]


@planted("conv2d-rate2")
def input_and_output_channels_swapped(dy: Any, saved: Any) -> Any:
    dx, _ = ops.conv2d_backward(dy, saved._replace(w=saved.w.swapaxes(2, 3)))
    return dx, ops.conv2d_backward(dy, saved)[1]


@planted("conv2d-same", "conv2d-root", "conv2d-explicit")
def crop_off_by_one(dy: Any, saved: Any) -> Any:
    dx, dw = ops.conv2d_backward(dy, saved)
    shifted = get_array_module(dx).zeros(dx.shape, dx.dtype)
    shifted[:, 1:] = dx[:, :-1]
    return shifted, dw


@planted("conv2d-rate2")
def rate_ignored(dy: Any, saved: Any) -> Any:
    return ops.conv2d_backward(dy, saved._replace(rate=(1, 1), pads=((1, 1), (1, 1))))


@planted("conv2d-same", "conv2d-1x1")
def dw_averaged_over_the_batch(dy: Any, saved: Any) -> Any:
    dx, dw = ops.conv2d_backward(dy, saved)
    return dx, dw / len(dy)


@planted("conv2d-same", "conv2d-valid-leftover")
def dw_flipped(dy: Any, saved: Any) -> Any:
    dx, dw = ops.conv2d_backward(dy, saved)
    return dx, dw[::-1, ::-1]


@planted("conv2d-same")
def overlaps_overwritten(dy: Any, saved: Any) -> Any:
    """dx[...] = instead of +=: the last tap of the kernel that touches a pixel wins."""
    xp = get_array_module(dy)
    right, dw = ops.conv2d_backward(dy, saved)
    dx = xp.zeros(right.shape, right.dtype)
    for i in range(saved.w.shape[0]):
        for j in range(saved.w.shape[1]):
            one_tap = xp.zeros(saved.w.shape, saved.w.dtype)
            one_tap[i, j] = saved.w[i, j]
            of_tap, _ = ops.conv2d_backward(dy, saved._replace(w=one_tap))
            dx = xp.where(of_tap != 0, of_tap, dx)
    return dx, dw


@planted("conv2d-same")
def dx_and_dw_of_the_first_image_only(dy: Any, saved: Any) -> Any:
    xp = get_array_module(dy)
    first = xp.zeros(dy.shape, dy.dtype)
    first[0] = dy[0]
    return ops.conv2d_backward(first, saved)


# ---- bias -----------------------------------------------------------------------------------------------------------------
@planted("bias_add")
def bias_mean_instead_of_sum(dy: Any, saved: Any) -> Any:
    dx, db = ops.bias_add_backward(dy, saved)
    return dx, db / (dy.size // dy.shape[-1])


@planted("bias_add")
def bias_hears_from_one_pixel(dy: Any, saved: Any) -> Any:
    return dy, dy[:, 0, 0].sum(0)


@planted("bias_add")
def dx_forgotten(dy: Any, saved: Any) -> Any:
    return dy * 0, ops.bias_add_backward(dy, saved)[1]


# ---- batch norm -----------------------------------------------------------------------------------------------------------
def batch_norm_dx(
    dy: Any,
    saved: Any,
    mean_term: float = 1,
    var_term: float = 1,
    with_gamma: bool = True,
    with_std: bool = True,
    axes: Any = None,
) -> Any:
    """dx = gamma/std * (dy - mean(dy) - xhat * mean(dy * xhat)), with parts that can be left out."""
    axes = tuple(range(dy.ndim - 1)) if axes is None else axes
    xhat = (saved.x - saved.mean) * saved.inv_std
    dx = dy - mean_term * dy.mean(axes, keepdims=True) - var_term * xhat * (dy * xhat).mean(axes, keepdims=True)
    return dx * (saved.gamma if with_gamma else 1) * (saved.inv_std if with_std else 1)


def wrong_dx(**parts: Any) -> Callable[..., Any]:
    def mistake(dy: Any, saved: Any) -> Any:
        _, dgamma, dbeta = ops.batch_norm_backward(dy, saved)
        return batch_norm_dx(dy, saved, **parts), dgamma, dbeta

    mistake.__name__ = "_".join(f"{name}={value}" for name, value in parts.items())
    return mistake


for _parts in (
    {"mean_term": 0}, {"var_term": 0}, {"mean_term": 0, "var_term": 0}, {"mean_term": -1}, {"var_term": -1}, {"var_term": 2},
    {"with_gamma": False}, {"with_std": False},
):  # fmt: skip
    planted("batch_norm-rank4", "batch_norm-rank2")(wrong_dx(**_parts))
planted("batch_norm-rank4")(wrong_dx(axes=(0,)))  # of the batch axis only, as for a dense layer


@planted("batch_norm-rank4", "batch_norm-rank2")
def unbiased_variance(dy: Any, saved: Any) -> Any:
    """n - 1 in the backward pass, n in the forward pass."""
    n = dy.size // dy.shape[-1]
    return ops.batch_norm_backward(dy, saved._replace(inv_std=saved.inv_std * ((n - 1) / n) ** 0.5))


@planted("batch_norm-rank4")
def epsilon_forgotten(dy: Any, saved: Any) -> Any:
    return ops.batch_norm_backward(dy, saved._replace(inv_std=saved.var**-0.5))


@planted("batch_norm-rank4")
def dgamma_of_x_instead_of_xhat(dy: Any, saved: Any) -> Any:
    dx, _, dbeta = ops.batch_norm_backward(dy, saved)
    return dx, (dy * saved.x).sum((0, 1, 2)), dbeta


@planted("batch_norm-rank2")
def dbeta_mean_instead_of_sum(dy: Any, saved: Any) -> Any:
    dx, dgamma, dbeta = ops.batch_norm_backward(dy, saved)
    return dx, dgamma, dbeta / len(dy)


@planted("batch_norm_inference-rank4", "batch_norm_inference-rank2")
def inference_as_if_the_batch_mattered(dy: Any, saved: Any) -> Any:
    dx, dgamma, dbeta = ops.batch_norm_inference_backward(dy, saved)
    return batch_norm_dx(dy, saved), dgamma, dbeta


@planted("batch_norm_inference-rank4")
def inference_dgamma_without_the_mean(dy: Any, saved: Any) -> Any:
    dx, _, dbeta = ops.batch_norm_inference_backward(dy, saved)
    return dx, (dy * saved.x * saved.inv_std).sum((0, 1, 2)), dbeta


@planted("batch_norm_relu-rank4")
def composite_without_its_mask(dy: Any, saved: Any) -> Any:
    return ops.batch_norm_backward(dy, saved.batch_norm)


@planted("batch_norm_relu-rank4")
def composite_masked_by_x(dy: Any, saved: Any) -> Any:
    """x > 0 instead of y > 0."""
    return ops.batch_norm_backward(dy * (saved.batch_norm.x > 0), saved.batch_norm)


@planted("batch_norm_inference_relu-rank4")
def inference_composite_without_its_mask(dy: Any, saved: Any) -> Any:
    return ops.batch_norm_inference_backward(dy, saved.batch_norm)


@planted("conv2d_bias_add")
def bias_gradient_of_one_picture(dy: Any, saved: Any) -> Any:
    dx, dw, _ = ops.conv2d_bias_add_backward(dy, saved)
    return dx, dw, dy[0].sum((0, 1))


# ---- relu -----------------------------------------------------------------------------------------------------------------
@planted("relu")
def relu_without_a_mask(dy: Any, saved: Any) -> Any:
    return dy.copy()


@planted("relu")
def relu_masked_by_dy(dy: Any, saved: Any) -> Any:
    """Guided backpropagation by accident."""
    return ops.relu_backward(dy * (dy > 0), saved)


@planted("relu")
def relu_times_y(dy: Any, saved: Any) -> Any:
    return dy * ops.relu_backward(dy * 0 + 1, saved) * abs(dy)


# ---- pooling --------------------------------------------------------------------------------------------------------------
@planted("max_pool2d-pool1", "max_pool2d-valid")
def pool_crop_off_by_one(dy: Any, saved: Any) -> Any:
    dx = ops.max_pool2d_backward(dy, saved)
    shifted = get_array_module(dx).zeros(dx.shape, dx.dtype)
    shifted[:, :, 1:] = dx[:, :, :-1]
    return shifted


@planted("max_pool2d-pool1")
def pool_overlaps_overwritten(dy: Any, saved: Any) -> Any:
    """A pixel that wins two windows hears from one of them only."""
    right = ops.max_pool2d_backward(dy, saved)
    wins = ops.max_pool2d_backward(dy * 0 + 1, saved)
    return right / get_array_module(dy).maximum(wins, 1)


@planted("subsample-2", "subsample-3")
def subsample_as_upsampling(dy: Any, saved: Any) -> Any:
    """Each gradient repeated over the pixels that were skipped."""
    shape, factor = ops.subsample_backward(dy, saved).shape, saved.factor
    return dy.repeat(factor, axis=1).repeat(factor, axis=2)[:, : shape[1], : shape[2]]


@planted("subsample-2", "subsample-3")
def subsample_from_the_second_pixel(dy: Any, saved: Any) -> Any:
    right = ops.subsample_backward(dy, saved)
    dx = get_array_module(dy).zeros(right.shape, dy.dtype)
    dx[:, 1:] = right[:, :-1]
    return dx


@planted("global_avg_pool")
def average_without_its_divisor(dy: Any, saved: Any) -> Any:
    dx = ops.global_avg_pool_backward(dy, saved)
    return dx * (dx.shape[1] * dx.shape[2])


@planted("global_avg_pool")
def average_over_one_axis_only(dy: Any, saved: Any) -> Any:
    dx = ops.global_avg_pool_backward(dy, saved)
    return dx * dx.shape[2]


@planted("squeeze")
def squeeze_in_another_order(dy: Any, saved: Any) -> Any:
    return dy[::-1][:, None, None, :]


# ---- resizing -------------------------------------------------------------------------------------------------------------
def half_pixel(dy: Any, out: int, size: int) -> Any:
    """[out, size]: the weights with align_corners=False, pixel p at (p + 1/2) size / out - 1/2."""
    xp = get_array_module(dy)
    place = xp.clip((xp.arange(out)[:, None] + 0.5) * size / out - 0.5, 0, size - 1)
    return xp.clip(1 - abs(place - xp.arange(size)), 0, 1).astype(dy.dtype)


@planted("resize_bilinear-up", "resize_bilinear-down")
def resize_with_half_pixels(dy: Any, saved: Any) -> Any:
    """Back by align_corners=False, forth by True."""
    rows, columns = half_pixel(dy, *saved.rows.shape), half_pixel(dy, *saved.columns.shape)
    return ops.resize_bilinear_backward(dy, saved._replace(rows=rows, columns=columns))


@planted("resize_bilinear-up")
def resize_forth_again(dy: Any, saved: Any) -> Any:
    """The transpose forgotten: the gradient resized to the input's size, as one resizes a picture."""
    return ops.resize_bilinear_forward(dy, saved.shape[1:3])[0]


@planted("resize_bilinear-up", "resize_bilinear-up-and-down")
def resize_off_by_one(dy: Any, saved: Any) -> Any:
    """out instead of out - 1: the last place does not reach the corner."""
    xp = get_array_module(dy)
    tables = []
    for out, size in (saved.rows.shape, saved.columns.shape):
        place = xp.arange(out)[:, None] * (size - 1) / out
        tables.append(xp.clip(1 - abs(place - xp.arange(size)), 0, 1).astype(dy.dtype))
    return ops.resize_bilinear_backward(dy, saved._replace(rows=tables[0], columns=tables[1]))


@planted("resize_bilinear-same")
def resize_axes_swapped(dy: Any, saved: Any) -> Any:
    return ops.resize_bilinear_backward(dy, saved)[:, ::-1].swapaxes(1, 2).reshape(saved.shape)


@planted("resize_bilinear-down", "resize_bilinear-to-one")
def resize_averaged(dy: Any, saved: Any) -> Any:
    """Each pixel gets the mean of what it gave to instead of the sum."""
    n, h, w, c = saved.shape
    return ops.resize_bilinear_backward(dy, saved) * (h * w / (dy.shape[1] * dy.shape[2]))


# ---- the loss -------------------------------------------------------------------------------------------------------------
@planted("loss", "loss-pixels")
def cross_entropy_not_divided_by_n(dy: Any, saved: Any) -> Any:
    dlogits = ops.softmax_cross_entropy_backward(dy, saved)
    return dlogits * (dlogits.size // dlogits.shape[-1])


@planted("loss-pixels")
def cross_entropy_divided_by_the_first_axis_only(dy: Any, saved: Any) -> Any:
    dlogits = ops.softmax_cross_entropy_backward(dy, saved)
    return dlogits * (dlogits.size // dlogits.shape[-1]) / len(dlogits)


@planted("loss")
def cross_entropy_of_probabilities_only(dy: Any, saved: Any) -> Any:
    return saved.probabilities * (dy / len(saved.probabilities))


@planted("loss-smoothed")
def smoothing_ignored(dy: Any, saved: Any) -> Any:
    return ops.softmax_cross_entropy_backward(dy, saved._replace(targets=(saved.targets > 0.5) * 1.0))


@planted("loss")
def upstream_gradient_ignored(dy: Any, saved: Any) -> Any:
    return ops.softmax_cross_entropy_backward(1.0, saved)


@planted("loss")
def cross_entropy_sign(dy: Any, saved: Any) -> Any:
    return -ops.softmax_cross_entropy_backward(dy, saved)


# ---- each is caught -------------------------------------------------------------------------------------------------------
def check(case: Case, backend: Any, mode: str) -> Any:
    constants = [backend.array(a) for a in case.constants]

    def fn(*arrays: Any) -> tuple[Any, Callable[[Any], Any]]:
        y, saved = getattr(ops, f"{case.op}_forward")(*arrays, *constants, **case.options)
        return y, lambda dy: backward(case, dy, saved)

    return check_gradients(fn, *case.arrays, mode=mode)


@pytest.mark.parametrize("mode", ["projection", "full"])
@pytest.mark.parametrize(
    ("name", "mistake"), MISTAKES, ids=[f"{name}-{mistake.__name__}" for name, mistake in MISTAKES]
)
def test_the_gradient_check_refuses(name: str, mistake: Callable[..., Any], mode: str, backend: Any) -> None:
    case = CASE[name]
    with use(**{f"{case.op}_backward": mistake}):
        report = check(case, backend, mode)
    assert not report.passed and report.wrong, f"{mistake.__name__} was not noticed:\n{report}"


@pytest.mark.parametrize("name", sorted({name for name, _ in MISTAKES}))
def test_it_refuses_the_mistake_and_not_the_override(name: str, backend: Any) -> None:
    """The same detour through `use`, with nothing wrong."""
    case = CASE[name]
    right = getattr(ops, f"{case.op}_backward")
    with use(**{f"{case.op}_backward": lambda dy, saved: right(dy, saved)}):
        report = check(case, backend, "projection")
    assert report.passed, report


def test_every_op_has_a_mistake() -> None:
    assert {CASE[name].op for name, _ in MISTAKES} == {case.op for case in CASES}
    assert len({mistake.__name__ for _, mistake in MISTAKES}) >= 40


# ---- what a gradient check cannot judge, the loops can --------------------------------------------------------------------
def tie_to_all_maxima(dy: Any, saved: Any) -> Any:
    """At a tie there is no derivative, so finite differences must stay silent; PyTorch and we give it to the first."""
    xp = get_array_module(dy)
    dx = xp.zeros(saved.shape, dy.dtype)
    for i in range(2):
        for j in range(2):
            dx[:, i::2, j::2] += dy
    return dx


def test_a_tie_given_to_all_maxima_is_seen_by_the_loops(backend: Any) -> None:
    tie = Case("tie", "max_pool2d", (np.ones((1, 4, 4, 2)),), (), {"kernel_size": 2})
    dy = upstream(tie, (1, 2, 2, 2))
    (right,) = on_paper(tie, dy)
    for mistake in (None, tie_to_all_maxima):
        with use(**({"max_pool2d_backward": mistake} if mistake else {})):
            _, saved = forward(tie, backend)
            (dx,) = backward(tie, backend.array(dy), saved)
        if mistake is None:
            assert_close(backend.host(dx), right, "dx")
        else:
            with pytest.raises(AssertionError, match="off by"):
                assert_close(backend.host(dx), right, "dx")


def test_an_upstream_gradient_of_ones_would_pass_half_of_them(backend: Any) -> None:
    """Why the check is random: sum(batch_norm(x)) does not depend on x, so that dx = 0 and everything that kills constants passes."""
    case = CASE["batch_norm-rank4"]
    _, saved = forward(case, backend)
    ones = backend.array(np.ones(case.arrays[0].shape))
    right, _, _ = ops.batch_norm_backward(ones, saved)
    assert np.abs(backend.host(right)).max() < 1e-12
    for parts in ({"var_term": 0}, {"var_term": -1}, {"with_gamma": False}, {"with_std": False}):
        wrong, _, _ = wrong_dx(**parts)(ones, saved)
        assert np.abs(backend.host(wrong)).max() < 1e-12, parts
