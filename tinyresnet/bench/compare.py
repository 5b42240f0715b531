"""Before anything is timed: whether all sides compute the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, TypeAlias

import numpy as np

from ..backend import Array
from ..ops.checks import shape_text

Outputs: TypeAlias = Mapping[str, Array]  # by name, laid out as tinyresnet lays them out


class WrongResult(RuntimeError):
    """Two sides of a benchmark compute different things: their times would say nothing."""


class Finding(NamedTuple):
    """How far one output is from what it should be."""

    name: str
    error: float
    tolerance: float


Comparison: TypeAlias = Callable[[Outputs, Outputs], Iterator[Finding]]


def by_largest(tolerance: float) -> Comparison:
    """The largest difference over the largest value, each output by itself."""

    def compare(found: Outputs, expected: Outputs) -> Iterator[Finding]:
        for name, array in expected.items():
            largest = float(np.abs(array).max(initial=0)) or 1.0
            yield Finding(name, float(np.abs(found[name] - array).max(initial=0)) / largest, tolerance)

    return compare


def by_norm(tolerance: float, loss_tolerance: float) -> Comparison:
    """Gradients by the length of the difference over the length; the loss as by_largest.

    A ReLU whose input is nearly zero may fall on either side, which changes single entries of a gradient by much. A gradient that is
    zero but for rounding (a bias before batch norm has one) is measured by a thousandth of the longest.
    """

    def compare(found: Outputs, expected: Outputs) -> Iterator[Finding]:
        lengths = {name: float(np.linalg.norm(array)) for name, array in expected.items()}
        shortest = 1e-3 * max((length for name, length in lengths.items() if name != "loss"), default=1.0)
        for name, array in expected.items():
            least, allowed = (0.0, loss_tolerance) if name == "loss" else (shortest, tolerance)
            error = float(np.linalg.norm(found[name] - array)) / (max(lengths[name], least) or 1.0)
            yield Finding(name, error, allowed)

    return compare


def check_same(case: str, side: str, found: Outputs, other: str, expected: Outputs, compare: Comparison) -> Finding:
    """The largest error, by its tolerance. Raises WrongResult, which names the case, the side and the output."""
    if found.keys() != expected.keys():
        different = sorted(found.keys() ^ expected.keys())
        raise WrongResult(
            f"{case}: nothing was timed, since {side} and {other} give different outputs: {', '.join(different[:3])}"
        )
    for name, array in expected.items():
        if np.shape(found[name]) != np.shape(array):
            raise WrongResult(
                f"{case}: nothing was timed, since {name} has shape {shape_text(np.shape(found[name]))} from {side}, "
                f"but {shape_text(np.shape(array))} from {other}"
            )
    worst = max(compare(found, expected), key=_rank)
    if not worst.error <= worst.tolerance:
        raise WrongResult(
            f"{case}: nothing was timed, since {side} and {other} do not compute the same: {worst.name} differs by "
            f"{worst.error:.1e} of {other}'s, and {worst.tolerance:.0e} is allowed"
        )
    return worst


def _rank(finding: Finding) -> float:
    rank = finding.error / finding.tolerance
    return rank if np.isfinite(rank) else float("inf")  # what is no number is as wrong as can be
