"""The numbers: finite differences in float64 for a gradient, goldens and the answer for the rest, and float32 once more."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..backend import use_backend
from ..gradcheck import compare_gradients
from .calls import Outcome, as_output, split
from .exercise import Case, Exercise

TOLERANCE = 1e-5  # of the largest entry; a float32 somewhere on the way stays below it, and a mistake does not
TOLERANCE_FLOAT32 = 1e-3


class Tried(NamedTuple):
    """One call, what it gave, and what it should have given."""

    case: Case
    dtype: Any
    outcome: Outcome
    right: tuple[Any, ...]


class Judged(NamedTuple):
    """One output of one call: its error as a share of the largest entry, and whether that is within the tolerance."""

    right: bool
    error: float


def right_outputs(exercise: Exercise, case: Case) -> tuple[Any, ...]:
    """What this call must give: the golden, else what the answer gives. Empty if it must raise."""
    if case.raises is not None:
        return ()
    if case.expected is not None:
        return tuple(map(as_output, case.expected))
    with use_backend("numpy"):
        return tuple(map(as_output, split(exercise, exercise.answer(*case.args, **case.kwargs))))


def judge(
    exercise: Exercise, case: Case, dtype: Any, came: tuple[Any, ...], right: tuple[Any, ...], seed: int
) -> list[Judged]:
    """A verdict on each output of a call whose outputs have the right shapes and are finite."""
    if case.forward is not None and dtype is np.float64:
        return _by_differences(exercise, case, case.forward, came, right, seed)
    tolerance = TOLERANCE if dtype is np.float64 else TOLERANCE_FLOAT32
    return [compare(a, b, tolerance) for a, b in zip(came, right, strict=True)]


def compare(came: Any, right: Any, tolerance: float) -> Judged:
    """Texts and integers must be equal, floats within tolerance * the largest entry."""
    if isinstance(right, str):
        return Judged(came == right, 0.0 if came == right else 1.0)
    if not right.size:
        return Judged(True, 0.0)
    if right.dtype.kind in "iub" or right.dtype.kind == "b":
        wrong = float((came != right).mean())
        return Judged(wrong == 0, wrong)
    largest = float(np.abs(right).max())
    difference = float(np.abs(came.astype(np.float64) - right).max())
    error = difference / largest if largest else difference
    return Judged(error <= tolerance, error)


def _by_differences(
    exercise: Exercise, case: Case, forward: Any, came: tuple[Any, ...], right: tuple[Any, ...], seed: int
) -> list[Judged]:
    """Along a random direction for each argument. Where the true gradient is zero a difference shows nothing: there the answer counts."""
    names = tuple(output.name for output in exercise.outputs)
    with use_backend("numpy"):
        report = compare_gradients(
            forward, case.arrays, case.args[0], came, names=names, tolerance=TOLERANCE, seed=seed + 1
        )
    verdicts = []
    for argument, a, b in zip(report.arguments, came, right, strict=True):
        exact = compare(a, b, TOLERANCE)
        if argument.status == "powerless here":
            verdicts.append(exact)
        else:  # a random direction may hide one small entry among many; the answer does not
            verdicts.append(Judged(argument.status == "ok" and exact.right, max(argument.error, exact.error)))
    return verdicts
