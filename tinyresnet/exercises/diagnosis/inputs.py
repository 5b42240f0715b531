"""What has a wrong output to do with the inputs? Is it one of them, is its error one, is it wrong just where one is negative?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...backend import Array
from ..language import Text

SAME = 1e-6


def relations(came: Array, right: Array, inputs: list[tuple[str, Array]], tolerance: float) -> list[Text]:
    """Sentences about the inputs of the output's shape, by name. Both arrays have that shape and finite entries."""
    largest = float(np.abs(right).max()) or 1.0
    error = came - right
    wrong = np.abs(error) > tolerance * largest
    found: list[Text] = []
    for name, a in inputs:
        if a.shape == right.shape and a.size > 1 and a.dtype.kind == "f" and a.any():
            found += [*_is(name, came, a), *_error_is(name, error, a), *_where(name, wrong, a)]
    return found + list(_constant(came, right))


def _multiple(a: Array, of: Array) -> float | None:
    """k, if a = k * of."""
    k = float((a * of).sum() / (of * of).sum())
    size = float(np.abs(a).max())
    return k if abs(k) > SAME and np.abs(a - k * of).max() <= SAME * size else None


def _is(name: str, came: Array, a: Array) -> Iterator[Text]:
    if (k := _multiple(came, a)) is not None:
        times = "" if abs(k - 1) <= SAME else f"{k:.4g} * "
        yield Text(f"what you return is {times}{name}", f"返回的就是 {times}{name}")


def _error_is(name: str, error: Array, a: Array) -> Iterator[Text]:
    if (k := _multiple(error, a)) is not None:
        yield Text(f"the error (yours - right) is {k:.4g} * {name}", f"误差（你的 - 正确的）等于 {k:.4g} * {name}")


def _where(name: str, wrong: Array, a: Array) -> Iterator[Text]:
    if wrong.sum() < 2 or wrong.all():
        return
    for condition, words, zh in ((a < 0, "negative", "为负"), (a > 0, "positive", "为正"), (a == 0, "zero", "为零")):
        if np.array_equal(wrong, condition):
            yield Text(f"it is wrong just where {name} is {words}", f"恰好在 {name} {zh}的地方不对")
            return


def _constant(came: Array, right: Array) -> Iterator[Text]:
    """The same along an axis, where the right one is not."""
    for axis in range(came.ndim):
        if came.shape[axis] > 1 and _spread(came, axis) <= SAME and _spread(right, axis) > 1e-3 and came.any():
            yield Text(
                f"yours does not change along axis {axis} (of {came.ndim}, from 0), the right one does",
                f"你的结果沿第 {axis} 轴（从 0 数起）不变，正确的会变",
            )
            return


def _spread(a: Array, axis: int) -> float:
    return float(np.ptp(a, axis=axis).max()) / (float(np.abs(a).max()) or 1.0)
