"""The one check of a kernel: an op's call on back end `numba`, both halves, against the plain function in float64.

A call is a `Case` of tests/ops/cases.py. The gradients are compared as functions of (dy, saved): the reference gets the same saved values,
so a ReLU that float32 rounding flips is no error, and what one back end saved goes into the other's backward.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tests.kernels.bounds import RESULTS, allowed, backward_sizes, forward_sizes, largest
from tests.ops.cases import Case, as_tuple, rng_for
from tinyresnet import ops, use_backend
from tinyresnet.backend import REFERENCE, _load

KERNELS = _load("numba", "tests/kernels").kernels  # what is not in there falls back to the reference


# ---- running ------------------------------------------------------------------------------------------------------------
def halves(op: str) -> tuple[str, ...]:
    return ("add",) if op == "add" else (f"{op}_forward", f"{op}_backward")


def forward(case: Case, back_end: str = "numba") -> tuple[Any, Any]:
    """y, saved; `add` saves nothing."""
    with use_backend(back_end):
        result = getattr(ops, halves(case.op)[0])(*case.arrays, *case.constants, **case.options)
    return (result, ()) if case.op == "add" else result


def backward(case: Case, dy: np.ndarray, saved: Any, back_end: str = "numba") -> tuple[Any, ...]:
    with use_backend(back_end):
        return as_tuple(getattr(ops, f"{case.op}_backward")(dy, saved))


def reference_forward(case: Case) -> tuple[Any, Any]:
    """The same of the plain function, in float64."""
    with use_backend("numpy"):
        result = REFERENCE[halves(case.op)[0]](*wide((*case.arrays, *case.constants)), **case.options)
    return (result, ()) if case.op == "add" else result


def reference_backward(case: Case, dy: np.ndarray, saved: Any) -> tuple[Any, ...]:
    with use_backend("numpy"):
        return as_tuple(REFERENCE[f"{case.op}_backward"](wide(dy), wide(saved)))


def wide(value: Any) -> Any:
    """Float arrays as plain, contiguous float64 copies; tuples member by member; everything else as it is."""
    if isinstance(value, tuple):
        members = [wide(member) for member in value]
        return type(value)(*members) if hasattr(value, "_fields") else tuple(members)
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        return np.array(value, np.float64, order="C")
    return value


def upstream(case: Case, y: np.ndarray) -> np.ndarray:
    """A random gradient for y, never all ones."""
    return rng_for(f"{case.name}{y.shape}dy").standard_normal(y.shape).astype(case.arrays[0].dtype)


def away_from_the_kink(case: Case, dy: np.ndarray, saved: Any) -> np.ndarray:
    """dy, but 0 where a ReLU hangs on the last digit: what it lets pass there is for one back end alone to say, in both of its halves."""
    if case.op not in ("batch_norm_relu", "batch_norm_inference_relu"):
        return dy
    inner = saved.batch_norm
    x, gamma, mean, inv_std = map(wide, (inner.x, inner.gamma, inner.mean, inner.inv_std))
    before_relu = gamma * inv_std * (x - mean) + wide(case.arrays[2])
    return np.where(np.abs(before_relu) < 1e-5 * max(largest(before_relu), 1.0), 0, dy).astype(dy.dtype)


# ---- comparing ----------------------------------------------------------------------------------------------------------
def leaves(value: Any, name: str = "saved") -> Iterator[tuple[str, Any]]:
    """Every member of a saved tuple with its own name, from nested tuples too."""
    if hasattr(value, "_fields"):
        for field in value._fields:
            if field == "beta":  # only a kernel gives it, to itself
                continue
            yield from leaves(getattr(value, field), field)
    else:
        yield name, value


def assert_near(ours: Any, right: np.ndarray, bound: float, size: float, what: str) -> None:
    """No entry is off by more than bound x the largest entry of the right answer (or x size, if that is more)."""
    assert isinstance(ours, np.ndarray), f"{what} is {type(ours).__name__}, not an array"
    assert ours.shape == right.shape, f"{what}: shape {ours.shape}, should be {right.shape}"
    if right.size == 0:
        return
    ours = ours.astype(np.float64)
    with np.errstate(invalid="ignore"):
        off = np.where(ours == right, 0.0, np.abs(ours - right))  # -inf is right for a window that is all padding
    assert np.isfinite(off).all(), f"{what}: {np.count_nonzero(~np.isfinite(off))} of {off.size} entries are not finite"
    limit = bound * max(largest(right[np.isfinite(right)]), size)
    worst = np.unravel_index(int(off.argmax()), off.shape)
    assert off[worst] <= limit, (
        f"{what}: entry {tuple(map(int, worst))} is {ours[worst]:.9g}, should be {right[worst]:.9g}: off by {off[worst]:.3g}, "
        f"allowed is {limit:.3g}; {np.count_nonzero(off > limit)} of {off.size} entries are off"
    )


def assert_fresh(ours: Any, half: str, inputs: tuple[Any, ...], dtype: Any, what: str) -> None:
    """A result is the caller's own: of the input's dtype, writable, apart from every input; of a kernel also C-contiguous."""
    assert ours.dtype.name == dtype.name, f"{what}: dtype {ours.dtype}, should be {dtype}"
    assert ours.flags.writeable, f"{what} cannot be written to"
    assert not any(np.may_share_memory(ours, a) for a in inputs if isinstance(a, np.ndarray)), f"{what} is an input"
    if half in KERNELS:
        assert ours.flags.c_contiguous, f"{what} is not C-contiguous"


def assert_same_saved(ours: Any, right: Any, case: Case, sizes: dict[str, float]) -> None:
    """The same NamedTuple with the same members: arrays within their bounds, everything else equal and of one type."""
    dtype = case.arrays[0].dtype
    assert type(ours) is type(right), f"saved is a {type(ours).__name__}, should be a {type(right).__name__}"
    for (name, mine), (_, theirs) in zip(leaves(ours), leaves(right), strict=True):
        if not isinstance(theirs, np.ndarray):
            assert mine == theirs and type(mine) is type(theirs), f"saved.{name} is {mine!r}, should be {theirs!r}"
            continue
        wanted = (dtype if theirs.dtype.kind == "f" else theirs.dtype).name
        assert mine.dtype.name == wanted, f"saved.{name}: dtype {mine.dtype}, should be {wanted}"
        bound = allowed(case.op, name, dtype, case.arrays, case.options)
        assert_near(mine, theirs, bound, sizes.get(name, 0.0), f"saved.{name}")


# ---- checking -----------------------------------------------------------------------------------------------------------
def soil(case: Case) -> None:
    """Leaves NaNs where the next buffers may come to lie, so that a kernel which forgets to fill one is found out."""
    for array in case.arrays:
        for factor in (1, 2):
            np.full(max(array.size, 1) * factor, np.nan, array.dtype)


def check_forward(case: Case) -> tuple[Any, Any]:
    """y and what is saved are right; the inputs are what they were."""
    inputs = (*case.arrays, *case.constants)
    before = [a.copy() for a in inputs]
    soil(case)
    y, saved = forward(case)
    right, right_saved = reference_forward(case)
    sizes = forward_sizes(case.op, wide(case.arrays), right_saved)
    dtype = case.arrays[0].dtype
    assert_near(y, right, allowed(case.op, "y", dtype, case.arrays, case.options), sizes.get("y", 0.0), "y")
    assert_fresh(y, halves(case.op)[0], inputs, dtype, "y")
    assert_same_saved(saved, right_saved, case, sizes)
    for after, was in zip(inputs, before, strict=True):
        np.testing.assert_array_equal(after, was, "the forward half changed an input")
    return y, saved


def check_backward(case: Case, dy: np.ndarray, saved: Any, back_end: str = "numba") -> None:
    """The gradients are right for this dy and this saved; both are what they were."""
    held = [("dy", dy), *((name, a) for name, a in leaves(saved) if isinstance(a, np.ndarray))]
    before = [a.copy() for _, a in held]
    soil(case)
    gradients = backward(case, dy, saved, back_end)
    rights = reference_backward(case, dy, saved)
    sizes = backward_sizes(case.op, wide(dy), wide(case.arrays), saved)
    for name, ours, right in zip(RESULTS[case.op], gradients, rights, strict=True):
        if (case.op, name) == ("bias_add", "dx"):
            assert ours is dy, "bias_add_backward's dx is dy itself"
            continue
        bound = allowed(case.op, name, dy.dtype, case.arrays, case.options)
        assert_near(ours, right, bound, sizes.get(name, 0.0), name)
        if back_end == "numba":
            assert_fresh(ours, f"{case.op}_backward", tuple(a for _, a in held), dy.dtype, name)
    for (name, after), was in zip(held, before, strict=True):
        np.testing.assert_array_equal(after, was, f"the backward half changed {name}")


def check(case: Case, dy: np.ndarray | None = None) -> None:
    """Both halves, and each back end's saved in the other's backward. `dy`: a gradient laid out in its own way."""
    y, saved = check_forward(case)
    if case.op == "add":
        return
    dy = upstream(case, y) if dy is None else dy
    check_backward(case, dy, saved)
    of_numpy = forward(case, "numpy")[1]
    check_backward(case, away_from_the_kink(case, dy, of_numpy), of_numpy)
    check_backward(case, dy, saved, back_end="numpy")
