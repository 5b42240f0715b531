"""What can be said of a result before its numbers are looked at: how many values, which shapes and dtypes, finite, and whose memory."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..ops.checks import shape_text
from .calls import Other, Outcome
from .exercise import Case, Exercise
from .language import Text


class Fault(NamedTuple):
    """Something wrong that needs no look at the numbers: a name for the diagnosis, and what was seen."""

    name: str
    seen: Text
    output: int | None = None


def structural_fault(
    exercise: Exercise, case: Case, dtype: Any, outcome: Outcome, right: tuple[Any, ...]
) -> Fault | None:
    """The first fault of one call, in the order in which one would mend them."""
    return (
        _raised(case, outcome)
        or (None if case.raises else _count(exercise, outcome))
        or (None if case.raises else _outputs(exercise, dtype, outcome, right))
        or _memory(exercise, outcome)
    )


def _raised(case: Case, outcome: Outcome) -> Fault | None:
    if case.raises is not None and outcome.error != case.raises.__name__:
        came = (
            Text(f"raised {outcome.raised}", f"抛出了 {outcome.raised}")
            if outcome.error
            else Text("gave a result", "给出了结果")
        )
        return Fault(
            "no_error" if not outcome.error else "raises",
            Text(
                f"this call must raise {case.raises.__name__}, but it {came.en}",
                f"这次调用应当抛出 {case.raises.__name__}，却{came.zh}",
            ),
        )
    if outcome.error and case.raises is None:
        return Fault("raises", Text(f"it raised {outcome.raised}", f"它抛出了 {outcome.raised}"))
    return None


def _count(exercise: Exercise, outcome: Outcome) -> Fault | None:
    want, have = len(exercise.outputs), len(outcome.outputs)
    if want == have:
        return None
    names = ", ".join(output.name for output in exercise.outputs)
    nothing = have == 1 and isinstance(outcome.outputs[0], Other) and outcome.outputs[0].what == "NoneType"
    tail_en, tail_zh = (" (None: is a `return` missing?)", "（None：是不是漏了 return？）") if nothing else ("", "")
    return Fault(
        "wrong_number_of_outputs",
        Text(
            f"it must return {want} value{'s' * (want > 1)}, ({names}), but returned {have}{tail_en}",
            f"应当返回 {want} 个值（{names}），却返回了 {have} 个{tail_zh}",
        ),
    )


def _outputs(exercise: Exercise, dtype: Any, outcome: Outcome, right: tuple[Any, ...]) -> Fault | None:
    for j, (output, came, want) in enumerate(zip(exercise.outputs, outcome.outputs, right, strict=True)):
        for look in (_kind, _shape, _dtype, _finite):
            if seen := look(output.name, came, want, dtype):
                name, text = seen
                return Fault(name, text, j)
    return None


def _kind(name: str, came: Any, want: Any, dtype: Any) -> tuple[str, Text] | None:
    if isinstance(want, str) == isinstance(came, str) and not isinstance(came, Other):
        return None
    what = came.what if isinstance(came, Other) else "str" if isinstance(came, str) else "an array"
    hint = (" (is a `return` missing?)", "（是不是漏了 return？）") if what == "NoneType" else ("", "")
    needed = Text("a text", "文本") if isinstance(want, str) else Text("an array or numbers", "数组或数")
    return "wrong_type", Text(
        f"{name} must be {needed.en}, but is {what}{hint[0]}", f"{name} 应当是{needed.zh}，却是 {what}{hint[1]}"
    )


def _shape(name: str, came: Any, want: Any, dtype: Any) -> tuple[str, Text] | None:
    if isinstance(want, str) or came.shape == want.shape:
        return None
    return "wrong_shape", Text(
        f"{name} has shape {shape_text(came.shape)}, but must have {shape_text(want.shape)}",
        f"{name} 的形状是 {shape_text(came.shape)}，应当是 {shape_text(want.shape)}",
    )


def _dtype(name: str, came: Any, want: Any, dtype: Any) -> tuple[str, Text] | None:
    if isinstance(want, str) or came.dtype == want.dtype:
        return None
    if want.dtype.kind in "iu" and came.dtype.kind in "iub":
        return None
    if want.dtype.kind == "f" and came.dtype.kind == "f" and came.dtype.itemsize > want.dtype.itemsize:
        return None  # float32 in, float64 out: no digit is lost; a note says what it costs
    if want.dtype.kind in "iu":
        return "wrong_dtype", Text(
            f"{name} is {came.dtype}, but must be whole numbers of type int: `//` and `-(-a // b)` keep them so",
            f"{name} 的数据类型是 {came.dtype}，应当是 int 型整数：用 `//` 和 `-(-a // b)` 可以保持整数",
        )
    return "wrong_dtype", Text(
        f"{name} is {came.dtype}, but must be {want.dtype}, as the inputs are",
        f"{name} 的数据类型是 {came.dtype}，应当与输入一样是 {want.dtype}",
    )


def _finite(name: str, came: Any, want: Any, dtype: Any) -> tuple[str, Text] | None:
    if isinstance(want, str) or np.isfinite(came).all():
        return None
    bad = tuple(int(i) for i in np.argwhere(~np.isfinite(came))[0])
    count = int((~np.isfinite(came)).sum())
    return "not_finite", Text(
        f"{name} has {count} entries that are NaN or infinite, the first at {shape_text(bad)}",
        f"{name} 有 {count} 个元素是 NaN 或无穷大，第一个在 {shape_text(bad)}",
    )


def _memory(exercise: Exercise, outcome: Outcome) -> Fault | None:
    if outcome.overwritten:
        names = ", ".join(outcome.overwritten)
        return Fault(
            "input_overwritten",
            Text(
                f"it wrote into its input {names}: an op must leave its inputs alone (use a copy, or `a = a * b` for `a *= b`)",
                f"它改写了输入 {names}：运算不能改动输入（请用副本，或把 `a *= b` 写成 `a = a * b`）",
            ),
        )
    for j, path in outcome.shared:
        if j < len(exercise.outputs) and not exercise.outputs[j].may_be_input:
            name = exercise.outputs[j].name
            return Fault(
                "output_is_an_input",
                Text(
                    f"{name} shares its memory with the input {path}: who writes into one changes the other (return a copy)",
                    f"{name} 与输入 {path} 共用内存：改动其中一个就会改动另一个（请返回副本）",
                ),
                j,
            )
    return None
