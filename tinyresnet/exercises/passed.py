"""The result for a right answer: how right, what it could still do better, and what to do with it now."""

from __future__ import annotations

import numpy as np

from .. import ops
from .calls import quickest
from .exercise import Exercise
from .judging import TOLERANCE, TOLERANCE_FLOAT32, Judged, Tried
from .language import Text
from .result import CheckResult

FLOAT32_INSIDE = 1e-8  # an error above it in float64 comes from float32 somewhere on the way


def praised(
    exercise: Exercise, everything: list[Tried], verdicts: list[list[Judged]], printed: str, seconds: float
) -> CheckResult:
    """seconds: of one call of the learner's function, on the first case."""
    error = _largest(everything, verdicts, np.float64)
    details = [_numbers(everything, error, _largest(everything, verdicts, np.float32))]
    if exercise.op is not None and seconds == seconds:
        details += _what_now(exercise, seconds, everything)
    return CheckResult(
        exercise.name,
        True,
        error=error,
        tolerance=TOLERANCE,
        details=details,
        notes=_notes(everything),
        printed=printed,
    )


def _largest(everything: list[Tried], verdicts: list[list[Judged]], dtype: object) -> float:
    return max(
        (v.error for t, row in zip(everything, verdicts, strict=True) for v in row if t.dtype is dtype), default=0.0
    )


def _numbers(everything: list[Tried], error: float, error_float32: float) -> str:
    return str(
        Text(
            f"error {error:.1e} of the largest entry (allowed {TOLERANCE:.0e}), in float32 {error_float32:.1e} (allowed "
            f"{TOLERANCE_FLOAT32:.0e}), over {len(everything)} calls",
            f"误差为最大元素的 {error:.1e}（允许 {TOLERANCE:.0e}），float32 下 {error_float32:.1e}（允许 {TOLERANCE_FLOAT32:.0e}），"
            f"共 {len(everything)} 次调用",
        )
    )


def _notes(everything: list[Tried]) -> list[str]:
    """What is no mistake and yet worth knowing."""
    notes = []
    pairs = [
        (t, a, b)
        for t in everything
        for a, b in zip(t.outcome.outputs, t.right, strict=False)
        if isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and b.dtype.kind == "f"
    ]
    if any(a.dtype != b.dtype and a.ndim for _, a, b in pairs):
        notes.append(
            Text(
                "Given float32, it returns float64: in a float32 net that is refused. np.zeros_like(x), or dtype=x.dtype, keeps it.",
                "输入 float32 时它返回 float64：在 float32 的网络中会被拒绝。请用 np.zeros_like(x) 或 dtype=x.dtype。",
            )
        )
    return list(map(str, notes))


def _what_now(exercise: Exercise, seconds: float, everything: list[Tried]) -> list[str]:
    assert exercise.op is not None
    use = f"{exercise.op}=..."
    ours = quickest(getattr(ops, exercise.op).__wrapped__, everything[0].case)
    return [
        str(text)
        for text in (
            Text(
                f"one call takes {seconds * 1e6:.0f} µs, our plain NumPy {ours * 1e6:.0f} µs, on these small arrays",
                f"在这些小数组上一次调用用时 {seconds * 1e6:.0f} µs，我们的纯 NumPy 版本 {ours * 1e6:.0f} µs",
            ),
            Text(
                f"train a ResNet on it: exercises.train_on({use}); or put anything into `with tinyresnet.use({use}):`",
                f"用它训练一个 ResNet：exercises.train_on({use})；或在任何代码外加上 `with tinyresnet.use({use}):`",
            ),
        )
    ]
