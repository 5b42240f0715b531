"""Clipping against PyTorch's, and mistakes that the comparison must catch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.optimizers.stores import assert_equal, copies, gradients
from tinyresnet.optimizers import clip_by_global_norm, global_norm

Clip = Callable[[dict[str, Any], float], tuple[dict[str, Any], float]]
BAD = [float("nan"), float("inf"), -float("inf")]


def torchs(arrays: dict[str, Any], clip_norm: float) -> tuple[dict[str, Any], float]:
    """PyTorch divides by length + 1e-6; that is taken out again."""
    torch = pytest.importorskip("torch")
    parameters = [torch.zeros(array.shape, dtype=torch.float64, requires_grad=True) for array in arrays.values()]
    for parameter, array in zip(parameters, arrays.values(), strict=True):
        parameter.grad = torch.tensor(array)
    norm = float(torch.nn.utils.clip_grad_norm_(parameters, clip_norm))
    mend = (norm + 1e-6) / norm if clip_norm < norm + 1e-6 else 1.0
    return {name: p.grad.numpy() * mend for name, p in zip(arrays, parameters, strict=True)}, norm


def assert_clips_as_torch(clip: Clip, arrays: dict[str, Any], clip_norm: float) -> None:
    (ours, norm), (theirs, torchs_norm) = clip(arrays, clip_norm), torchs(arrays, clip_norm)
    assert norm == pytest.approx(torchs_norm, rel=1e-12)
    assert list(ours) == list(theirs)
    for name, array in ours.items():
        np.testing.assert_allclose(array, theirs[name], rtol=1e-12, atol=1e-300, err_msg=name)


@given(seed=st.integers(0, 1000), scale=st.sampled_from([1e-3, 1.0, 1e8]), share=st.floats(0.01, 2.0))
def test_it_clips_as_pytorch(seed: int, scale: float, share: float) -> None:
    arrays = {name: array * scale for name, array in gradients(seed).items()}
    clip_norm = share * math.sqrt(sum(float((array**2).sum()) for array in arrays.values()))
    if abs(share - 1) > 0.01:  # within its 1e-6 PyTorch shortens what is just as long as it may be
        assert_clips_as_torch(clip_by_global_norm, arrays, clip_norm)


def test_by_hand() -> None:
    """3, 4 and 12 are 13 long."""
    clipped, norm = clip_by_global_norm({"a": np.array([3.0, 4.0]), "b": np.array([[12.0]])}, 6.5)
    assert norm == 13
    assert_equal(clipped, {"a": np.array([1.5, 2.0]), "b": np.array([[6.0]])})


@pytest.mark.parametrize("clip_norm", [13.0, 13.5, 1e300])
def test_what_is_short_enough_stays(clip_norm: float) -> None:
    arrays = {"a": np.array([3.0, 4.0]), "b": np.array([[12.0]])}
    clipped, norm = clip_by_global_norm(arrays, clip_norm)
    assert norm == 13 and clipped is not arrays and all(clipped[name] is arrays[name] for name in arrays)


# ---- planted mistakes -----------------------------------------------------------------------------------------------------
def each_by_itself(arrays: dict[str, Any], clip_norm: float) -> tuple[dict[str, Any], float]:
    clipped = {name: clip_by_global_norm({name: array}, clip_norm)[0][name] for name, array in arrays.items()}
    return clipped, global_norm(arrays)


def lengths_added(arrays: dict[str, Any], clip_norm: float) -> tuple[dict[str, Any], float]:
    norm = sum(global_norm({name: array}) for name, array in arrays.items())
    return {name: array * clip_norm / norm for name, array in arrays.items()}, norm


def by_value(arrays: dict[str, Any], clip_norm: float) -> tuple[dict[str, Any], float]:
    return {name: array.clip(-clip_norm, clip_norm) for name, array in arrays.items()}, global_norm(arrays)


def root_forgotten(arrays: dict[str, Any], clip_norm: float) -> tuple[dict[str, Any], float]:
    norm = global_norm(arrays)
    return {name: array * clip_norm / norm**2 for name, array in arrays.items()}, norm


def length_of_the_clipped(arrays: dict[str, Any], clip_norm: float) -> tuple[dict[str, Any], float]:
    clipped, _ = clip_by_global_norm(arrays, clip_norm)
    return clipped, global_norm(clipped)


def stretches_too(arrays: dict[str, Any], clip_norm: float) -> tuple[dict[str, Any], float]:
    norm = global_norm(arrays)
    return {name: array * clip_norm / norm for name, array in arrays.items()}, norm


@pytest.mark.parametrize(
    ("mistake", "clip_norm"),
    [
        (each_by_itself, 2.0),
        (lengths_added, 2.0),
        (by_value, 0.5),
        (root_forgotten, 2.0),
        (length_of_the_clipped, 2.0),
        (stretches_too, 100.0),
    ],
)
def test_a_mistake_is_seen(mistake: Clip, clip_norm: float) -> None:
    assert_clips_as_torch(clip_by_global_norm, gradients(0), clip_norm)
    with pytest.raises(AssertionError):
        assert_clips_as_torch(mistake, gradients(0), clip_norm)


# ---- arrays and numbers ---------------------------------------------------------------------------------------------------
def test_float32_stays_float32_and_is_not_written_to() -> None:
    arrays = gradients(0, "float32")
    before = copies(arrays)
    clipped, norm = clip_by_global_norm(arrays, np.float64(0.5))
    assert {array.dtype.name for array in clipped.values()} == {"float32"} and type(norm) is float
    assert global_norm(clipped) == pytest.approx(0.5, rel=1e-6)
    assert_equal(arrays, before)


def test_the_sum_is_in_float64() -> None:
    """In float32 a million squares of 0.1 after one of 1e4 add up to nothing, and the square of 1e30 is infinite."""
    long = np.full(1_000_001, 0.1, "float32")
    long[0] = 1e4
    assert global_norm({"a": long}) == pytest.approx(math.sqrt(1e8 + 1e6 * float(np.float32(0.1)) ** 2), rel=1e-12)
    assert global_norm({"a": np.full(4, 1e30, "float32")}) == pytest.approx(2e30, rel=1e-6)
    assert global_norm({"a": np.full(4, 1e-30, "float32")}) == pytest.approx(2e-30, rel=1e-6)


def test_nothing_is_zero_long() -> None:
    assert global_norm({}) == 0 and clip_by_global_norm({}, 1.0) == ({}, 0.0)
    zeros = {"a": np.zeros(3)}
    clipped, norm = clip_by_global_norm(zeros, 1.0)
    assert norm == 0 and clipped["a"] is zeros["a"]


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_not_finite_is_told_and_comes_back_as_it_is(bad: float, dtype: str) -> None:
    arrays = gradients(0, dtype)
    arrays["net/conv1/biases"][2] = bad
    clipped, norm = clip_by_global_norm(arrays, 1.0)
    assert math.isnan(norm) if math.isnan(bad) else norm == math.inf
    assert all(clipped[name] is arrays[name] for name in arrays)


@pytest.mark.parametrize("clip_norm", [0, -1.0, float("nan"), float("inf"), "1", None, True])
def test_a_bad_clip_norm(clip_norm: Any) -> None:
    with pytest.raises(ValueError, match="^clip_norm must be a number > 0, not "):
        clip_by_global_norm(gradients(0), clip_norm)
