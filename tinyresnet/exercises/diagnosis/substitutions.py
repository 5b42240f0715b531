"""Is it the right answer to another question: with gamma taken as 1, with dy's negative entries cut off, with the last image alone?

One input at a time is put in another way and the exercise's own answer computed: if that gives the learner's numbers on every call, the
input and the change say what was done. No list of mistakes is needed for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ...backend import Array, use_backend
from ..calls import argument_names, arrays_in, as_output, copied, split
from ..exercise import Case, Exercise, Finding
from ..language import Text
from .library import close

Change = Callable[[Any], Any]


class Substitution(NamedTuple):
    """An input, by its path ("saved.gamma"), and what is put in its place."""

    name: str
    text: Text
    path: str
    change: Change


def explain_substitution(exercise: Exercise, cases: list[Case], came: list[Array], output: int) -> Finding | None:
    """The first substitution with which the answer's output is the learner's, on every case."""
    with use_backend("numpy"), np.errstate(all="ignore"):
        for substitution in _substitutions(exercise, cases):
            if all(_gives(exercise, case, substitution, a, output) for case, a in zip(cases, came, strict=True)):
                name = exercise.outputs[output].name
                seen = Text(
                    f"{name} is the right answer for another input: {substitution.text.en}",
                    f"{name} 恰好是另一个输入的正确答案：{substitution.text.zh}",
                )
                return Finding((substitution.name,), seen)
    return None


def _gives(exercise: Exercise, case: Case, substitution: Substitution, came: Array, output: int) -> bool:
    names = argument_names(exercise)
    try:
        args = [_put(copied(a), name, substitution) for name, a in zip(names, case.args, strict=False)]
        made = as_output(split(exercise, exercise.answer(*args, **case.kwargs))[output])
    except Exception:  # many substitutions make no sense for many inputs
        return False
    return isinstance(made, np.ndarray) and close(came, made)


def _put(value: Any, path: str, substitution: Substitution) -> Any:
    """The argument with the substitution made in it, wherever in it the path leads."""
    if path == substitution.path:
        return substitution.change(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        pairs = zip(value._fields, value, strict=True)
        return type(value)(*(_put(item, f"{path}.{field}", substitution) for field, item in pairs))
    return value


# ---- what may be put in the place of what --------------------------------------------------------------------------------
def _substitutions(exercise: Exercise, cases: list[Case]) -> Iterator[Substitution]:
    names = argument_names(exercise)
    first = cases[0]
    for name, argument in zip(names, first.args, strict=False):
        for path, array in arrays_in(argument, name):
            if array.dtype.kind == "f" and "[" not in path:
                yield from _of_an_array(path, array)
        yield from _of_pairs(name, argument)


def _of_an_array(path: str, array: Array) -> Iterator[Substitution]:
    short = path.rpartition(".")[2]
    changes: tuple[tuple[str, str, str, Change], ...] = (
        ("taken_as_1", "{} taken as 1", "{} 当作 1", np.ones_like),
        ("taken_as_0", "{} taken as 0", "{} 当作 0", np.zeros_like),
        ("negated", "-{} in the place of {}", "用 -{} 代替 {}", np.negative),
        ("made_positive", "|{}| in the place of {}", "用 |{}| 代替 {}", np.abs),
        ("cut_at_0", "{} with its negative entries cut off", "{} 的负元素被截断", lambda a: np.maximum(a, 0)),
        ("squared", "{} squared", "{} 的平方", np.square),
        ("rooted", "the square root of {}", "{} 的平方根", np.sqrt),
        ("inverted", "1 / {} in the place of {}", "用 1 / {} 代替 {}", lambda a: 1 / a),
    )
    for name, en, zh, change in changes:
        yield Substitution(f"{short}_{name}", Text(en.replace("{}", path), zh.replace("{}", path)), path, change)
    if array.ndim >= 2:
        yield from _of_axes(path, short, array)


def _of_axes(path: str, short: str, array: Array) -> Iterator[Substitution]:
    for i in range(array.ndim):
        for where, en, zh in ((slice(1, None), "first", "第一个"), (slice(None, -1), "last", "最后一个")):
            at = (slice(None),) * i
            text = Text(f"{path} with nothing but the {en} along axis {i}", f"{path} 沿第 {i} 轴只剩{zh}")
            yield Substitution(f"{short}_{en}_alone", text, path, partial(_zeroed, at=(*at, where)))
        for edge, en, zh in ((0, "first", "第一个"), (-1, "last", "最后一个")):
            at = (slice(None),) * i
            text = Text(f"{path} without the {en} along axis {i}", f"{path} 沿第 {i} 轴缺了{zh}")
            yield Substitution(f"{short}_without_{en}", text, path, partial(_zeroed, at=(*at, edge)))
        text = Text(f"{path} reversed along axis {i}", f"{path} 沿第 {i} 轴翻转")
        yield Substitution(f"{short}_reversed", text, path, partial(np.flip, axis=i))
    for i in range(array.ndim):
        for j in range(i):
            text = Text(f"{path} with axes {j} and {i} exchanged", f"{path} 的第 {j} 轴与第 {i} 轴互换")
            yield Substitution(f"{short}_axes_exchanged", text, path, partial(np.swapaxes, axis1=i, axis2=j))


def _zeroed(a: Array, at: tuple[Any, ...]) -> Array:
    a = a.copy()
    a[at] = 0
    return a


def _of_pairs(path: str, argument: Any) -> Iterator[Substitution]:
    """Stride, rate, pads: pairs (height, width) of integers or of pairs."""
    for field in getattr(argument, "_fields", ()):
        value = getattr(argument, field)
        if not (isinstance(value, tuple) and len(value) == 2 and not hasattr(value, "_fields")):
            continue
        where = f"{path}.{field}"
        swapped = Text(f"{where} with height and width exchanged", f"{where} 的高与宽互换")
        first = Text(f"{where} with that of the height for both", f"{where} 的高与宽都用了高的那个")
        second = Text(f"{where} with that of the width for both", f"{where} 的高与宽都用了宽的那个")
        yield Substitution(f"{field}_exchanged", swapped, where, lambda pair: (pair[1], pair[0]))
        yield Substitution(f"{field}_of_the_height", first, where, lambda pair: (pair[0], pair[0]))
        yield Substitution(f"{field}_of_the_width", second, where, lambda pair: (pair[1], pair[1]))
