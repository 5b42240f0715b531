"""The fixed calls in float32 and float64; layouts, one by one; and what drawn numbers do not hit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba")

from tests.kernels.bounds import HOT
from tests.kernels.checks import backward, check, check_forward, forward, leaves, upstream
from tests.kernels.examples import EXAMPLES, numbered
from tests.kernels.layouts import LAYOUTS
from tests.ops.cases import Case, normal, rng_for
from tinyresnet import ops, use_backend

dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])
each_hot_op = pytest.mark.parametrize("op", HOT)
ODD = {  # an odd example of each op, and of each way to compute a convolution
    "3x3": "conv2d-3x3-odd", "1x1": "conv2d-1x1-odd", "1x1 stride": "conv2d-1x1-stride", "columns": "conv2d-3x3-stride",
    "atrous": "conv2d-3x3-atrous", "max_pool2d": "max_pool2d-pool1", "subsample": "subsample-2-odd",
    "conv2d_bias_add": "conv2d_bias_add-3x3-odd",
    **{op: f"{op}-odd" for op in HOT if op not in ("conv2d", "conv2d_bias_add", "max_pool2d", "subsample")},
}  # fmt: skip
each_odd_example = pytest.mark.parametrize("name", ODD.values(), ids=list(ODD))


@dtypes
@pytest.mark.parametrize("name", EXAMPLES)
def test_example(name: str, dtype: str) -> None:
    check(EXAMPLES[name].astype(dtype))


@each_odd_example
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout(name: str, layout: str) -> None:
    """Every array of the call lies so, then the upstream gradient too."""
    case = EXAMPLES[name].astype("float32")
    arrays, constants = ([LAYOUTS[layout](a) for a in group] for group in (case.arrays, case.constants))
    laid_out = case._replace(arrays=tuple(arrays), constants=tuple(constants))
    check(laid_out, LAYOUTS[layout](upstream(case, forward(case)[0])))


@each_odd_example
def test_numbers_of_the_other_byte_order(name: str) -> None:
    """As a file from another machine gives them; their dtype is called float32 too. Refused or right, but never misread."""
    case = EXAMPLES[name].astype(np.dtype("float32").newbyteorder("S"))
    try:
        check(case)
    except ValueError as error:
        assert "f4" in str(error), error


@each_odd_example
def test_a_result_outlives_the_next_call(name: str) -> None:
    """No result lies in a buffer that is used again."""
    case = EXAMPLES[name].astype("float32")
    y, saved = forward(case)
    held = [y, *(a for _, a in leaves(saved) if isinstance(a, np.ndarray))]
    if case.op != "add":
        held += [g for g in backward(case, upstream(case, y), saved) if g is not None]
    before = [a.copy() for a in held]
    check(numbered(case, 1))
    for a, was in zip(held, before, strict=True):
        np.testing.assert_array_equal(a, was)


@each_odd_example
def test_one_array_in_every_place(name: str) -> None:
    """x is its own upstream gradient, a its own b: nothing may be written where it is still to be read."""
    case = EXAMPLES[name].astype("float32")
    if case.op == "add":
        check(case._replace(arrays=(case.arrays[0], case.arrays[0])))
    elif forward(case)[0].shape == case.arrays[0].shape:
        check(case, case.arrays[0])
    else:
        check(case._replace(arrays=tuple(a[..., : case.arrays[0].shape[-1]] for a in case.arrays)))


# ---- numbers that are none ----------------------------------------------------------------------------------------------
def not_finite(case: Case, value: float) -> Case:
    """One such number in the last pixel of the first array."""
    x = case.arrays[0].copy()
    x[..., -1, -1] = value
    return case._replace(arrays=(x, *case.arrays[1:]))


@each_odd_example
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf], ids=str)
@pytest.mark.filterwarnings("ignore:.*encountered in.*:RuntimeWarning")
def test_what_is_not_finite_is_not_swallowed(name: str, value: float) -> None:
    """Wherever the reference has a NaN, the kernel has one, and no number where it has an infinity: a run that diverges must be seen to."""
    case = not_finite(EXAMPLES[name].astype("float32"), value)
    ours, right = forward(case)[0], forward(case, "numpy")[0]
    assert np.isnan(ours[np.isnan(right)]).all()
    assert not np.isfinite(ours[np.isinf(right)]).any()
    check(EXAMPLES[name].astype("float32"))  # and nothing of it is left in a buffer for the next call


# ---- kinks --------------------------------------------------------------------------------------------------------------
def test_the_gradient_passes_just_where_the_output_is_positive() -> None:
    """Half of the outputs are a rounding away from 0, above or below: backward must not come to another view of them than forward."""
    rng = np.random.default_rng(7)
    x = rng.standard_normal((4, 9, 8, 33)).astype("float32")
    x[:2] = x[0, 0, 0]  # one value a channel, in half of the pixels
    gamma = (1.5 + 0.5 * rng.standard_normal(33)).astype("float32")
    _, saved = forward(Case("kink", "batch_norm", (x, gamma, np.zeros(33, "float32")), (), {}))
    beta = -(gamma * saved.inv_std) * (x[0, 0, 0] - saved.mean)
    beta = np.nextafter(beta, rng.choice(np.array([-9, 9], "float32"), 33))
    case = Case("kink", "batch_norm_relu", (x, gamma, beta), (), {})
    y, _ = forward(case)
    assert 0 < np.count_nonzero(y[:2, ..., :]) < y[:2].size  # some just above, some not
    check(case)


# ---- accuracy -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("rate", [1, 2])
def test_dw_of_many_tiles_keeps_its_digits(rate: int) -> None:
    """Each entry is a sum over all tiles of all images, 1568 of them here."""
    x, w = (rng_for(f"many tiles{shape}").standard_normal(shape) for shape in ((8, 56, 56, 16), (3, 3, 16, 16)))
    check(Case("many tiles", "conv2d", (x.astype("float32"), w.astype("float32")), (), {"rate": rate}))


@pytest.mark.parametrize("op", ["batch_norm", "batch_norm_relu"])
def test_the_variance_of_values_far_from_zero(op: str) -> None:
    """E[x^2] - mean^2 would lose all but two digits here."""
    rng = np.random.default_rng(5)
    x = (rng.standard_normal((3, 17, 11, 20)) + 300).astype("float32")
    gamma, beta = (rng.standard_normal(20).astype("float32") + offset for offset in (2, 0))
    y, saved = check_forward(Case("far from zero", op, (x, gamma, beta), (), {}))
    var = getattr(saved, "batch_norm", saved).var
    np.testing.assert_allclose(var, x.astype("float64").var((0, 1, 2)), rtol=1e-5)
    exact = (x.astype("float64") - x.mean((0, 1, 2), "float64")) / x.std((0, 1, 2), "float64") * gamma + beta
    np.testing.assert_allclose(y, np.maximum(exact, 0) if op == "batch_norm_relu" else exact, atol=2e-3)


@pytest.mark.parametrize("op", ["batch_norm", "bias_add"])
def test_sums_over_many_pixels_keep_their_digits(op: str) -> None:
    """A running float32 sum over the 400,000 pixels of a channel would lose two digits."""
    rng = np.random.default_rng(6)
    x = (rng.random((1, 640, 640, 3)) + 1).astype("float32")
    others: list[Any] = [rng.standard_normal(3).astype("float32") for _ in range(2 if op == "batch_norm" else 1)]
    case = Case("many pixels", op, (x, *others), (), {})
    check(case, (rng.random(x.shape) + 1).astype("float32"))


def test_an_infinite_input_does_not_spoil_the_gradient_of_inference() -> None:
    """With constant averages dx does not depend on x."""
    x, dy, ones = normal("x", 2, 5, 4, 3), normal("dy", 2, 5, 4, 3), np.ones(3)
    x[0, 1, 2, 0] = np.inf
    with use_backend("numba"):
        _, saved = ops.batch_norm_inference_forward(x, 2 * ones, ones, 0 * ones, ones, epsilon=0.0)
        dx, _, _ = ops.batch_norm_inference_backward(dy, saved)
    np.testing.assert_allclose(dx, 2 * dy, rtol=1e-12)
