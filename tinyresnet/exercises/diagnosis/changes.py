"""Is it the right answer after all, only scaled, turned over, shifted or in another order? For outputs that nothing else explains."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from ...backend import Array
from ..exercise import Case, Finding
from ..language import Text
from .library import close


def explain_change(name: str, cases: list[Case], came: list[Array], right: list[Array], axes: str) -> Finding | None:
    """One change that makes every case's right answer the learner's."""
    if not any(a.any() for a in came):
        return Finding(("all_zero",), Text(f"every entry of {name} is zero", f"{name} 的所有元素都是零"))
    return _factor(name, cases, came, right) or _moved(name, came, right, axes)


# ---- a factor -----------------------------------------------------------------------------------------------------------
def _factor(name: str, cases: list[Case], came: list[Array], right: list[Array]) -> Finding | None:
    factors = [_ratio(a, b) for a, b in zip(came, right, strict=True)]
    if any(factor is None for factor in factors):
        return None
    known = [_sizes(case) for case in cases]
    for size in dict.fromkeys(itertools.chain(*known)):
        expected = [sizes.get(size) for sizes in known]
        if all(e is not None and abs(f / e - 1) < 1e-6 for f, e in zip(factors, expected, strict=True)):  # type: ignore[operator]
            diagnosis = {"-1": "sign_flipped"}.get(size, "scaled")
            return Finding((diagnosis,), _times(name, size, factors[0]))
    shown = ", ".join(dict.fromkeys(f"{factor:.4g}" for factor in factors))
    return Finding(("scaled",), _times(name, shown, None))


def _times(name: str, factor: str, value: float | None) -> Text:
    tail = "" if value is None or factor == f"{value:g}" else f" = {value:.4g}"
    return Text(
        f"{name} is the right answer times {factor}{tail}, in every entry",
        f"{name} 在每个元素上都等于正确答案乘以 {factor}{tail}",
    )


def _ratio(came: Array, right: Array) -> float | None:
    size = float((right * right).sum())
    if came.shape != right.shape or not size:
        return None
    factor = float((came * right).sum()) / size
    return factor if factor and close(came, factor * right) else None


def _sizes(case: Case) -> dict[str, float]:
    """Numbers that a factor may come from, by name, for a call whose first argument is an array."""
    sizes: dict[str, float] = {"-1": -1, "2": 2, "1/2": 0.5, "-2": -2, "-1/2": -0.5}
    first = next((a for a in case.args if isinstance(a, np.ndarray) and a.ndim), None)
    if first is None:
        return sizes
    n, c, pixels = first.shape[0], first.shape[-1], int(np.prod(first.shape[1:-1]))
    for name, value in (("N", n), ("H*W", pixels), ("N*H*W", n * pixels), ("C", c), ("N*C", n * c)):
        if value > 1:
            sizes |= {f"1/({name})" if "*" in name else f"1/{name}": 1 / value, name: value}
    return sizes


# ---- entries in other places --------------------------------------------------------------------------------------------
def _moved(name: str, came: list[Array], right: list[Array], axes: str) -> Finding | None:
    if right[0].ndim == 0 or any(a.ndim != right[0].ndim for a in came):
        return None
    for kind, seen, change in _changes(right[0].ndim, axes):
        if all(a.size == b.size and close(a, change(b)) for a, b in zip(came, right, strict=True)):
            return Finding((kind,), Text(f"{name} {seen.en}", f"{name} {seen.zh}"))
    return None


def _axis(i: int, axes: str, ndim: int) -> str:
    """The letter of an axis, or its number."""
    return axes[i] if len(axes) == ndim and "." not in axes else str(i)


def _changes(ndim: int, axes: str) -> Iterator[tuple[str, Text, Any]]:
    letters = [_axis(i, axes, ndim) for i in range(ndim)]
    for size in range(1, ndim + 1):
        for chosen in itertools.combinations(range(ndim), size):
            named = ", ".join(letters[i] for i in chosen)
            yield (
                "flipped",
                Text(f"is the right answer, reversed along {named}", f"是正确答案沿 {named} 轴翻转后的结果"),
                lambda a, chosen=chosen: np.flip(a, chosen),
            )
    for order in itertools.permutations(range(ndim)):
        if order != tuple(range(ndim)):
            named = ", ".join(letters[i] for i in order)
            yield (
                "axes_swapped",
                Text(
                    f"is the right answer with its axes in the order {named}",
                    f"是正确答案按 {named} 的顺序重排各轴的结果",
                ),
                lambda a, order=order: a.transpose(order),
            )
            yield (
                "reshaped_in_another_order",
                Text(
                    f"has the right numbers, laid out as if the axes were {named}",
                    f"数值都对，但排列顺序如同各轴为 {named}",
                ),
                lambda a, order=order: a.transpose(order).reshape(a.shape),
            )
    for i, shift in itertools.product(range(ndim), (1, -1)):
        yield (
            "shifted",
            Text(
                f"is the right answer, shifted by {shift:+d} along {letters[i]}",
                f"是正确答案沿 {letters[i]} 轴平移 {shift:+d} 的结果",
            ),
            lambda a, i=i, shift=shift: _shifted(a, i, shift),
        )


def _shifted(a: Array, axis: int, shift: int) -> Array:
    """Shifted, with zeros where nothing came from."""
    moved = np.roll(a, shift, axis)
    edge: list[Any] = [slice(None)] * a.ndim
    edge[axis] = 0 if shift > 0 else -1
    moved[tuple(edge)] = 0
    return moved
