"""Is this backward pass right? Finite differences in float64 against a *random* upstream gradient.

An upstream gradient of ones is no test: sum(batch_norm(x)) does not depend on x, so backward passes with whole terms missing
pass it. And an entry-wise relative error raises false alarms where a gradient is nearly zero, so errors are divided by the largest
gradient of the argument.

    report = check_gradients(fn, x, w)      # fn(x, w) -> (y, back);  back(dy) -> (dx, dw)
    assert report.passed, report
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from .backend import Array, to_device, to_host
from .ops.checks import shape_text

Checked: TypeAlias = Callable[..., tuple[Any, Callable[[Any], Any]]]
STEP = 1e-5  # a central difference is wrong by about STEP^2, and rounding adds about 1e-16 / STEP: both near 1e-10
TOLERANCE = 1e-6
POINT_AT = 5000  # the largest argument whose entries are gone through, one by one, to show where a mistake is


class ArgumentReport(NamedTuple):
    """What the check found for one argument of `fn`. Errors and gradients are plain numbers."""

    name: str
    status: str  # "ok", "WRONG", or "powerless here": the true gradient is about zero, so any wrong factor would pass
    error: float  # the largest |ours - numeric| / largest gradient
    worst: tuple[int, ...] | None  # the index of that entry; None in projection mode, where there is one number for all
    ours: float
    numeric: float
    kinks: int  # entries left out, because fn has no derivative there
    note: str = ""

    @property
    def ratio(self) -> float:
        """ours / numeric at the worst entry: 2, -1 or 1/N often name the mistake."""
        return self.ours / self.numeric if self.numeric else float("nan")

    def __str__(self) -> str:
        if self.note:
            return f"{self.name}: {self.status}: {self.note}"
        where = "along a random direction" if self.worst is None else f"at {shape_text(self.worst)}"
        skipped = f"; {self.kinks} entries at a kink skipped" if self.kinks else ""
        return (
            f"{self.name}: {self.status}: error {self.error:.1e} of the largest gradient, {where}: "
            f"ours {self.ours:.6g}, numeric {self.numeric:.6g}, ratio {self.ratio:.4g}{skipped}"
        )


class GradientReport(NamedTuple):
    """The arguments' reports. `str(report)` reads well; `passed` is True only if every argument is "ok"."""

    arguments: tuple[ArgumentReport, ...]
    mode: str
    tolerance: float

    @property
    def passed(self) -> bool:
        """Every argument was really checked, and none is wrong. A powerless check has not passed: it has not checked."""
        return all(argument.status == "ok" for argument in self.arguments)

    @property
    def wrong(self) -> tuple[str, ...]:
        """The names of the arguments whose gradient is wrong."""
        return tuple(argument.name for argument in self.arguments if argument.status == "WRONG")

    def __str__(self) -> str:
        head = f"gradient check ({self.mode} mode, tolerance {self.tolerance:g}): {'passed' if self.passed else 'NOT passed'}"
        return "\n".join([head, *(f"  {argument}" for argument in self.arguments)])


class _Slope:
    """f(t) = sum(fn(.., a + t * direction, ..) * dy): its numeric derivative at t = 0, and whether it has one."""

    def __init__(self, fn: Checked, arrays: list[Array], dy: Array, tolerance: float) -> None:
        self.fn, self.arrays, self.dy, self.tolerance = fn, arrays, dy, tolerance
        terms = to_host(fn(*map(to_device, arrays))[0]) * dy
        self.middle = float(np.sum(terms))
        self.rounding = float(np.finfo(float).eps * np.sum(np.abs(terms)))  # what f cannot resolve

    def step(self, k: int) -> float:
        """STEP, in units of the argument's own size: its root mean square."""
        return STEP * (float(np.sqrt(np.mean(self.arrays[k] ** 2))) or 1.0)

    def noise(self, k: int) -> float:
        """What rounding alone can make of a difference quotient of argument k."""
        return 10 * self.rounding / self.step(k)

    def along(self, k: int, direction: Array) -> tuple[float, bool]:
        """The derivative for argument k along `direction`, and whether a kink of fn is so near that it means nothing.

        At a smooth point the slopes to the left and right differ by h * f'', so twice the difference at half the step is the
        same again. At a kink, or with one between the two steps, it is not. Where curvature shows, the central differences of
        the two steps are combined so that their errors in h^2 cancel (Richardson 1911).
        """
        h = self.step(k)
        left, right = self.one_sided(k, direction, h)
        small = max(self.tolerance * max(abs(left), abs(right)), 10 * self.noise(k))
        if abs(right - left) <= small:
            return (left + right) / 2, False
        near_left, near_right = self.one_sided(k, direction, h / 2)
        kink = abs(2 * (near_right - near_left) - (right - left)) > small
        return (4 * (near_left + near_right) - (left + right)) / 6, kink

    def one_sided(self, k: int, direction: Array, h: float) -> tuple[float, float]:
        """The slopes over a step h to the left and to the right."""
        values = []
        for t in (-h, h):
            shifted = [*self.arrays[:k], self.arrays[k] + t * direction, *self.arrays[k + 1 :]]
            values.append(float(np.sum(to_host(self.fn(*map(to_device, shifted))[0]) * self.dy)))
        return (self.middle - values[0]) / h, (values[1] - self.middle) / h


def _every_entry(slope: _Slope, k: int) -> tuple[Array, Array]:
    """The numeric gradient of argument k, and which of its entries sit at a kink."""
    a = slope.arrays[k]
    numeric, kinks = np.zeros_like(a), np.zeros(a.shape, bool)
    for index in np.ndindex(a.shape):
        direction = np.zeros_like(a)
        direction[index] = 1
        numeric[index], kinks[index] = slope.along(k, direction)
    return numeric, kinks


def _judged(difference: float, largest: float, tolerance: float, noise: float) -> tuple[str, float, str]:
    """status, error, note. A gradient that rounding could hide a mistake of a thousandth in is no ground to judge on."""
    if not difference <= max(tolerance * largest, noise):  # so that a NaN is wrong too
        return "WRONG", difference / largest, ""
    if largest <= 1000 * noise:
        return (
            "powerless here",
            0.0,
            "the true gradient is about zero, so a wrong one could pass as well: choose other inputs",
        )
    return "ok", difference / largest, ""


def _full(slope: _Slope, k: int, name: str, ours: Array) -> ArgumentReport:
    """Every entry of the gradient of argument k."""
    numeric, kinks = _every_entry(slope, k)
    ours, numeric = np.where(kinks, 0, ours), np.where(kinks, 0, numeric)
    difference, largest = np.abs(ours - numeric), max(np.abs(ours).max(), np.abs(numeric).max())
    worst = tuple(map(int, np.unravel_index(difference.argmax(), difference.shape)))
    status, error, note = _judged(float(difference[worst]), float(largest), slope.tolerance, slope.noise(k))
    return ArgumentReport(name, status, error, worst, float(ours[worst]), float(numeric[worst]), int(kinks.sum()), note)


def _projection(slope: _Slope, k: int, name: str, ours: Array, rng: np.random.Generator) -> ArgumentReport:
    """The gradient of argument k along one random direction; entry by entry if that meets a kink, or finds a mistake to point at."""
    direction = rng.standard_normal(ours.shape)
    numeric, kink = slope.along(k, direction)
    projected = float(np.sum(ours * direction))
    largest = max(float(np.abs(ours).max()), abs(numeric) / float(np.sqrt(ours.size)))
    status, error, note = _judged(abs(projected - numeric), largest, slope.tolerance, slope.noise(k))
    if kink or (status == "WRONG" and ours.size <= POINT_AT):
        return _full(slope, k, name, ours)
    return ArgumentReport(name, status, error, None, projected, numeric, 0, note)


def _checked_result(result: Any) -> tuple[Any, Callable[[Any], Any]]:
    if not (isinstance(result, tuple) and len(result) == 2 and callable(result[1])):
        what = f"a tuple of {len(result)}" if isinstance(result, tuple) else type(result).__name__
        raise TypeError(
            f"fn must return (y, back), where back(dy) gives the gradients; it returned {what} without a back to call"
        )
    return result[0], result[1]


def _as_gradients(given: Any, arrays: list[Array]) -> list[Any]:
    gradients = list(given) if isinstance(given, (tuple, list)) else [given]
    if len(gradients) != len(arrays):
        raise ValueError(f"back must give one gradient for each of the {len(arrays)} arrays, but gave {len(gradients)}")
    return gradients


def _fault(gradient: Any, array: Array, before: Array) -> str:
    """What is wrong with a gradient before its numbers are looked at."""
    if gradient is None or not hasattr(gradient, "shape"):
        return f"back gave {type(gradient).__name__}, not an array of shape {shape_text(array.shape)}"
    if tuple(gradient.shape) != array.shape:
        return f"its gradient has shape {shape_text(gradient.shape)}, but must have {shape_text(array.shape)}, as the argument"
    if not np.isfinite(to_host(gradient)).all():
        return "its gradient has entries that are not finite"
    if not np.array_equal(array, before):
        return "fn or back wrote into this argument: they must leave their inputs alone"
    return ""


def check_gradients(
    fn: Checked,
    *arrays: Any,
    mode: str = "projection",
    tolerance: float = TOLERANCE,
    seed: int = 0,
    names: tuple[str, ...] | None = None,
) -> GradientReport:
    """Compares `back` with finite differences of `fn`, for every array, under a random upstream gradient.

    fn(*arrays) -> (y, back); back(dy) -> one gradient per array (alone or in a tuple). The arrays are taken as float64.
    mode "projection": the derivative along one random direction for each argument, about a millisecond; "full": every entry, which
    says where the worst one is. Entries that a step of 1e-5 of the argument's size takes over a kink (of a ReLU,
    of a max pool) are left out and counted.
    tolerance: of |ours - numeric| / largest gradient. Raises ValueError and TypeError for arguments it cannot use.
    """
    if mode not in ("projection", "full"):
        raise ValueError(f'mode must be "projection" or "full", not {mode!r}')
    if not arrays:
        raise ValueError("arrays: give at least one array to take the gradient with respect to")
    names = tuple(f"argument {k}" for k in range(len(arrays))) if names is None else names
    if len(names) != len(arrays):
        raise ValueError(f"names must have one name for each of the {len(arrays)} arrays, but there are {len(names)}")
    empty = [name for name, a in zip(names, arrays, strict=True) if not np.size(a)]
    if empty:
        raise ValueError(f"{', '.join(empty)}: an empty array has no gradient to check")
    if not 0 < tolerance < 1:
        raise ValueError(f"tolerance must be a number between 0 and 1, not {tolerance!r}")
    for name, a in zip(names, map(to_host, arrays), strict=True):
        if a.dtype.kind not in "fiu" or not np.isfinite(a).all():
            raise ValueError(f"{name} must have real, finite entries to take finite differences at; it is {a.dtype}")
    inputs = [np.array(to_host(a), dtype=np.float64) for a in arrays]
    before = [a.copy() for a in inputs]
    y, back = _checked_result(fn(*map(to_device, inputs)))
    if not np.isfinite(to_host(y)).all() or np.iscomplexobj(to_host(y)):
        raise ValueError(
            "fn must give a y of real, finite entries at these arrays: nothing can be compared with the others"
        )
    rng = np.random.default_rng(
        [seed, 1]
    )  # not the stream of a caller who drew the arrays by default_rng(seed): dy == x proves little
    dy = rng.standard_normal(np.shape(y))
    gradients = _as_gradients(back(to_device(dy)), inputs)
    faults = [_fault(gradient, a, old) for gradient, a, old in zip(gradients, inputs, before, strict=True)]
    slope = _Slope(fn, before, dy, tolerance)
    return _compared(slope, list(zip(names, gradients, faults, strict=True)), mode, rng)


def _compared(slope: _Slope, given: list[tuple[str, Any, str]], mode: str, rng: np.random.Generator) -> GradientReport:
    """The report on gradients that are there: (name, gradient, what is wrong with it before its numbers are looked at) for each array."""
    reports = []
    for k, (name, gradient, fault) in enumerate(given):
        if fault:
            reports.append(ArgumentReport(name, "WRONG", float("nan"), None, float("nan"), float("nan"), 0, fault))
        elif mode == "full":
            reports.append(_full(slope, k, name, to_host(gradient)))
        else:
            reports.append(_projection(slope, k, name, to_host(gradient), rng))
    return GradientReport(tuple(reports), mode, slope.tolerance)


def _no_back(dy: Any) -> Any:
    raise AssertionError("the gradients are there already")


def compare_gradients(
    forward: Callable[..., Any],
    arrays: tuple[Array, ...],
    dy: Array,
    gradients: tuple[Array, ...],
    *,
    names: tuple[str, ...],
    mode: str = "projection",
    tolerance: float = TOLERANCE,
    seed: int = 0,
) -> GradientReport:
    """As check_gradients, for gradients that were computed already: of `forward(*arrays) -> y`, under this `dy`.

    arrays, dy and gradients: float64; a gradient for each array, of its shape and finite.
    """
    slope = _Slope(lambda *a: (forward(*a), _no_back), list(arrays), dy, tolerance)
    given = [(name, gradient, "") for name, gradient in zip(names, gradients, strict=True)]
    return _compared(slope, given, mode, np.random.default_rng([seed, 2]))


def slopes(
    forward: Callable[..., Any],
    arrays: tuple[Array, ...],
    dy: Array,
    k: int,
    index: tuple[int, ...],
    steps: tuple[float, ...],
) -> list[float]:
    """The central difference for one entry of argument k at each of these step sizes: how far one can trust it.

    Too large a step sees the curvature, too small a one sees rounding; between, the numbers agree.
    """
    found = []
    for h in steps:
        values = []
        for t in (h, -h):
            shifted = [np.array(a, dtype=np.float64) for a in arrays]
            shifted[k][index] += t
            values.append(float(np.sum(to_host(forward(*map(to_device, shifted))) * dy)))
        found.append((values[0] - values[1]) / (2 * h))
    return found
