"""The result for a fault that needs no look at the numbers."""

from __future__ import annotations

from typing import Any

from .exercise import Exercise
from .language import Text
from .result import CheckResult
from .structure import Fault

GENERIC = {
    "raises": Text("An error came out of it.", "函数抛出了错误。"),
    "no_error": Text("Bad input must be refused, not computed with.", "不合法的输入应当拒绝，而不是照算。"),
    "not_written": Text(
        "Write the function in the place of `raise NotImplementedError`.",
        "请把 raise NotImplementedError 换成你的代码。",
    ),
    "our_answer": Text("It would only be compared with itself.", "这样只是拿它和自己比较。"),
    "too_slow": Text("It may take some seconds for a handful of small arrays.", "这些数组都很小，几秒之内应能完成。"),
    "too_much_memory": Text("An array is far larger than any that the task needs.", "有数组远大于题目所需。"),
    "outputs_swapped": Text("The values are right, but returned in another order.", "数值都对，但返回的顺序不对。"),
    "ended": Text(
        "It ended its process, or was ended. (It has a process of its own, without the threads of this one: Numba's, say.)",
        "进程自行结束或被终止。（它在自己的进程里运行，没有当前进程的线程，例如 Numba 的线程。）",
    ),
}


def failed(exercise: Exercise, fault: Fault, **more: Any) -> CheckResult:
    """The result for a fault that has nothing to do with numbers."""
    output = exercise.outputs[fault.output or 0]
    return CheckResult(
        exercise.name,
        False,
        str(fault.seen),
        [fault.name],
        [str(fault.seen), str(output.concept), str(output.line)],
        explanations=[str(GENERIC.get(fault.name, fault.seen))],
        **more,
    )
