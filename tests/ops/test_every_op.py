"""What holds for every op: right by three oracles, in both dtypes, whatever the layout of its inputs, which it leaves alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.ops.cases import (
    CASES,
    NAIVE_BACKWARD,
    NAIVE_FORWARD,
    Case,
    as_tuple,
    assert_close,
    backward,
    forward,
    on_paper,
    upstream,
)
from tinyresnet import check_gradients, ops
from tinyresnet.backend import REFERENCE

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
both_dtypes = pytest.mark.parametrize("dtype", ["float64", "float32"])


def pairs() -> set[str]:
    return {name.removesuffix("_forward") for name in ops.__all__ if name.endswith("_forward")}


# ---- nothing is left out ------------------------------------------------------------------------------------------------
def test_every_pair_of_ops_stands_in_the_table() -> None:
    assert pairs() == {case.op for case in CASES} == set(NAIVE_FORWARD) == set(NAIVE_BACKWARD)


def test_every_forward_has_its_backward_and_what_is_exported_can_be_replaced() -> None:
    assert {f"{op}_backward" for op in pairs()} <= set(ops.__all__)
    assert {f"{op}_{way}" for op in pairs() for way in ("forward", "backward")} | {"add", "softmax"} == set(REFERENCE)


def test_every_saved_is_a_named_tuple(backend: Any) -> None:
    for case in CASES:
        _, saved = forward(case, backend)
        assert isinstance(saved, tuple) and saved._fields, case.name


# ---- three oracles ------------------------------------------------------------------------------------------------------
def check_against(oracle: Callable[..., tuple[np.ndarray, ...]], case: Case, backend: Any) -> None:
    y, saved = forward(case, backend)
    (right,) = oracle(case)
    assert_close(backend.host(y), right, f"{case.name}: y")
    dy = upstream(case, right.shape)
    gradients = backward(case, backend.array(dy), saved)
    rights = oracle(case, dy)
    assert len(gradients) == len(rights) == len(case.arrays)
    for i, (ours, right) in enumerate(zip(gradients, rights, strict=True)):
        assert_close(backend.host(ours), right, f"{case.name}: gradient {i}")


@both_dtypes
@every_case
def test_against_the_loops_on_paper(case: Case, dtype: str, backend: Any) -> None:
    check_against(on_paper, case.astype(dtype), backend)


@both_dtypes
@every_case
def test_against_pytorch(case: Case, dtype: str, backend: Any) -> None:
    from tests.ops.torch_ops import in_torch

    check_against(in_torch, case.astype(dtype), backend)


@every_case
def test_the_loops_on_paper_against_pytorch(case: Case) -> None:
    from tests.ops.torch_ops import in_torch

    (right,) = in_torch(case)
    assert_close(on_paper(case)[0], right, "y")
    dy = upstream(case, right.shape)
    for i, (ours, right) in enumerate(zip(on_paper(case, dy), in_torch(case, dy), strict=True)):
        assert_close(ours, right, f"gradient {i}")


@pytest.mark.parametrize("mode", ["projection", "full"])
@every_case
def test_against_finite_differences(case: Case, mode: str, backend: Any) -> None:
    constants = [backend.array(a) for a in case.constants]

    def fn(*arrays: Any) -> tuple[Any, Callable[[Any], tuple[Any, ...]]]:
        y, saved = getattr(ops, f"{case.op}_forward")(*arrays, *constants, **case.options)
        return y, lambda dy: backward(case, dy, saved)

    report = check_gradients(fn, *map(backend.array, case.arrays), mode=mode)
    assert report.passed, f"{case.name}\n{report}"


# ---- manners ------------------------------------------------------------------------------------------------------------
@every_case
def test_inputs_are_never_written_to(case: Case, backend: Any) -> None:
    arrays = [backend.array(a.copy()) for a in (*case.arrays, *case.constants)]
    y, saved = getattr(ops, f"{case.op}_forward")(*arrays, **case.options)
    before = [np.array(backend.host(part), copy=True) for part in (y, *parts(saved))]
    dy = upstream(case, backend.host(y).shape)
    dy_device = backend.array(dy.copy())
    backward(case, dy_device, saved)
    for array, host in zip(arrays, (*case.arrays, *case.constants), strict=True):
        np.testing.assert_array_equal(backend.host(array), host, err_msg="an argument of the forward pass")
    np.testing.assert_array_equal(backend.host(dy_device), dy, err_msg="dy")
    for part, host in zip((y, *parts(saved)), before, strict=True):
        np.testing.assert_array_equal(backend.host(part), host, err_msg="y, or what was saved")


def parts(saved: Any) -> list[Any]:
    """The arrays in a `saved`, which may hold another one."""
    found = []
    for value in saved:
        found += parts(value) if isinstance(value, tuple) else [value] if hasattr(value, "dtype") else []
    return found


@every_case
def test_backward_twice_gives_the_same(case: Case, backend: Any) -> None:
    y, saved = forward(case, backend)
    dy = backend.array(upstream(case, backend.host(y).shape))
    first = [np.array(backend.host(g), copy=True) for g in backward(case, dy, saved)]
    for i, (one, two) in enumerate(zip(first, backward(case, dy, saved), strict=True)):
        np.testing.assert_array_equal(backend.host(two), one, err_msg=f"gradient {i}")


def transposed(backend: Any, a: np.ndarray) -> Any:
    return backend.array(np.ascontiguousarray(a.T)).T


def every_second(backend: Any, a: np.ndarray) -> Any:
    return backend.array(np.repeat(a, 2, axis=-1))[..., ::2]


def backwards(backend: Any, a: np.ndarray) -> Any:
    return backend.array(np.ascontiguousarray(a[::-1]))[::-1]


@pytest.mark.parametrize("layout", [transposed, every_second, backwards])
@every_case
def test_non_contiguous_inputs(case: Case, layout: Callable[..., Any], backend: Any) -> None:
    arrays = [layout(backend, a) for a in (*case.arrays, *case.constants)]
    y, saved = getattr(ops, f"{case.op}_forward")(*arrays, **case.options)
    (right,) = on_paper(case)
    assert_close(backend.host(y), right, "y")
    if right.ndim == 0:
        return
    dy = upstream(case, right.shape)
    for i, (ours, right) in enumerate(zip(backward(case, layout(backend, dy), saved), on_paper(case, dy), strict=True)):
        assert_close(backend.host(ours), right, f"gradient {i}")


@both_dtypes
@every_case
def test_an_empty_batch_gives_empty_results_and_no_warning(case: Case, dtype: str, backend: Any) -> None:
    case = case.astype(dtype)
    n = case.arrays[0].shape[0]
    empty = case._replace(
        arrays=(case.arrays[0][:0], *case.arrays[1:]),
        constants=tuple(
            a[:0] if a.shape[:1] == (n,) and case.op == "softmax_cross_entropy" else a for a in case.constants
        ),
    )
    y, saved = forward(empty, backend)
    (right,) = on_paper(empty)
    assert_close(backend.host(y), right, "y")
    dy = upstream(empty, right.shape)
    for i, (ours, right) in enumerate(zip(backward(empty, backend.array(dy), saved), on_paper(empty, dy), strict=True)):
        assert_close(backend.host(ours), right, f"gradient {i}")
        assert not np.any(backend.host(ours)), "an empty batch has no gradient"


# ---- the two plain ops --------------------------------------------------------------------------------------------------
@both_dtypes
def test_add(dtype: str, backend: Any) -> None:
    a, b = (np.random.default_rng(seed).standard_normal((2, 3, 4, 5)).astype(dtype) for seed in (0, 1))
    right = np.array([p + q for p, q in zip(a.ravel(), b.ravel(), strict=True)], dtype).reshape(a.shape)
    da, db = backend.array(a), backend.array(b)
    assert_close(backend.host(ops.add(da, db)), right, "y")
    np.testing.assert_array_equal(backend.host(da), a)
    np.testing.assert_array_equal(backend.host(db), b)


@both_dtypes
@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 2, 6), (0, 4)])
def test_softmax(shape: tuple[int, ...], dtype: str, backend: Any) -> None:
    from tests.ops.torch_ops import torch

    x = (5 * np.random.default_rng(2).standard_normal(shape)).astype(dtype)
    y = backend.host(ops.softmax(backend.array(x)))
    assert_close(y, torch.softmax(torch.tensor(x), -1).numpy(), "y")


# ---- the comparisons above can fail -------------------------------------------------------------------------------------
def test_a_small_error_is_seen(backend: Any) -> None:
    """Planted: one entry of 480 off by 1e-8 of the largest one in float64, by 1e-4 in float32."""
    for dtype, error in (("float64", 1e-8), ("float32", 1e-4)):
        case = CASES[0].astype(dtype)
        right = on_paper(case)[0]
        wrong = right.copy()
        wrong[1, 2, 3, 1] += error * np.abs(right).max()
        with pytest.raises(AssertionError, match="off by"):
            assert_close(wrong, right, "y")


def test_a_wrong_dtype_or_shape_is_seen() -> None:
    right = np.ones((2, 1), "float32")
    with pytest.raises(AssertionError, match="dtype"):
        assert_close(right.astype("float64"), right, "y")
    with pytest.raises(AssertionError, match="shape"):
        assert_close(right[:, 0], right, "y")


def test_writing_to_an_input_is_seen(backend: Any) -> None:
    """Planted: a ReLU that works in place."""
    from tinyresnet import use

    def in_place(x: Any) -> Any:
        y, saved = ops.relu_forward(x)
        x[...] = y
        return y, saved

    relu = next(case for case in CASES if case.op == "relu")
    with use(relu_forward=in_place), pytest.raises(AssertionError, match="argument"):
        test_inputs_are_never_written_to(relu, backend)


def test_as_tuple_keeps_a_named_tuple_apart() -> None:
    assert as_tuple((1, 2)) == (1, 2) and as_tuple(3) == (3,)
