"""From wrong numbers to words: which mistake, where it shows, and what a finite difference says there."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..backend import Array, use_backend
from ..gradcheck import compare_gradients, slopes
from .calls import argument_names, arrays_in
from .diagnosis.changes import explain_change
from .diagnosis.inputs import relations
from .diagnosis.library import Library, close, in_column, recognise, swapped
from .diagnosis.substitutions import explain_substitution
from .diagnosis.where import heat_map, patterns
from .exercise import Exercise, Finding
from .failed import GENERIC, failed
from .judging import TOLERANCE, TOLERANCE_FLOAT32, Judged, Tried
from .language import Text
from .result import CheckResult, HeatMap
from .structure import Fault

STEPS = (1e-1, 1e-3, 1e-5, 1e-7, 1e-9, 1e-11)
ALL_ENTRIES = 400  # of an argument: more are not gone through one by one


class Worst(NamedTuple):
    """The call and the output with the largest error."""

    tried: Tried
    output: int
    error: float


def diagnosed(
    exercise: Exercise,
    everything: list[Tried],
    fault: Fault | None,
    verdicts: list[list[Judged]] | None,
    seed: int,
    printed: str,
) -> CheckResult:
    """The result for a wrong answer: `fault` if it was found before the numbers were looked at, else `verdicts` on them."""
    whole = [t for t in everything if t.dtype is np.float64]
    complete = all(t.case.raises is not None or len(t.outcome.outputs) == len(t.right) for t in whole)
    if fault is not None and fault.name == "raises":
        return _of_fault(exercise, fault, _before_it_raised(exercise, whole), printed)
    if fault is not None and not complete:
        return _of_fault(exercise, fault, [], printed)
    came = [t.outcome.outputs for t in whole]
    wrong = _wrong_outputs(exercise, whole)
    if not wrong and fault is None:
        return _in_float32(exercise, everything, verdicts or [], printed)
    library = Library(exercise, [t.case for t in whole])
    names, unexplained = recognise(library, came, wrong)
    if swapped(came, [t.right for t in whole]):
        names, unexplained = ["outputs_swapped"], []
    findings = [f for j in unexplained if (f := _searched(exercise, whole, came, j)) is not None]
    if fault is not None:
        if fault.name == "input_overwritten" and len(names) > 1:
            names = []  # its inputs were no longer those of the library
        explained = fault.output is not None and fault.output not in unexplained
        return _of_fault(exercise, fault, [Finding(tuple(names), fault.seen), *findings], printed, explained)
    worst = _worst(exercise, everything, verdicts or [])
    symptom, details = _seen(exercise, worst, wrong), _differences(exercise, worst, seed)
    return _result(exercise, worst, symptom, names, findings, details, printed)


def _before_it_raised(exercise: Exercise, whole: list[Tried]) -> list[Finding]:
    """What the calls that gave a result say: a wrong answer often breaks only where shapes no longer happen to fit."""
    gave = [t for t in whole if t.right and len(t.outcome.outputs) == len(t.right)]
    wrong = _wrong_outputs(exercise, gave)
    if not gave or not wrong:
        return []
    names, _ = recognise(Library(exercise, [t.case for t in gave]), [t.outcome.outputs for t in gave], wrong)
    return [Finding(tuple(names), Text("", ""))] if names else []


def _wrong_outputs(exercise: Exercise, whole: list[Tried]) -> list[int]:
    return [
        j
        for j in range(len(exercise.outputs))
        if not all(close(t.outcome.outputs[j], t.right[j]) if t.right else not t.outcome.outputs for t in whole)
    ]


def _of_fault(
    exercise: Exercise, fault: Fault, findings: list[Finding], printed: str, explained: bool = False
) -> CheckResult:
    """The fault, and beside it what the numbers say. `explained`: that a known mistake gives just this output."""
    result = failed(exercise, fault, printed=printed)
    named = [name for finding in findings for name in finding.names]
    if named:
        kept = [] if explained and fault.name != "output_is_an_input" else [fault.name]
        mistakes = {m.name: m for m in exercise.mistakes}
        result.diagnosis = [*kept, *named]
        told = {fault.name: GENERIC.get(fault.name, fault.seen)} | {n: m.why for n, m in mistakes.items()}
        seen = {n: f.seen for f in findings for n in f.names}
        result.explanations = [str(told.get(n) or GENERIC.get(n) or seen[n]) for n in result.diagnosis]
        if named[0] in mistakes:
            result.hints[1:] = [str(mistakes[named[0]].concept or result.hints[1]), str(mistakes[named[0]].line)]
    return result


def _in_float32(exercise: Exercise, everything: list[Tried], verdicts: list[list[Judged]], printed: str) -> CheckResult:
    worst = _worst(exercise, everything, verdicts)
    name = exercise.outputs[worst.output].name
    seen = Text(
        f"{name} is right in float64, but in float32 it is off by {worst.error:.1e} of the largest entry (allowed {TOLERANCE_FLOAT32:.0e})",
        f"{name} 在 float64 下正确，但在 float32 下误差达最大元素的 {worst.error:.1e}（允许 {TOLERANCE_FLOAT32:.0e}）",
    )
    result = failed(exercise, Fault("loses_digits_in_float32", seen, worst.output), printed=printed)
    result.error, result.tolerance = worst.error, TOLERANCE_FLOAT32
    return result


def _searched(exercise: Exercise, whole: list[Tried], came: list[tuple[Any, ...]], output: int) -> Finding | None:
    """What the exercise's own searches find about an output, else whether it is the right one changed."""
    answered = [(t, outputs) for t, outputs in zip(whole, came, strict=True) if t.right]  # the others must raise
    column = in_column([outputs for _, outputs in answered], output)
    if column is None:
        return None
    cases = [t.case for t, _ in answered]
    with use_backend("numpy"), np.errstate(all="ignore"):
        for explain in exercise.explain:
            if (finding := explain(output, cases, column)) is not None:
                return finding
        right = [t.right[output] for t, _ in answered]
        if not all(isinstance(b, np.ndarray) and a.shape == b.shape for a, b in zip(column, right, strict=True)):
            return None
        if any(a.dtype.kind != "f" or not np.isfinite(a).all() for a in column):
            return None
        name, axes = exercise.outputs[output].name, exercise.outputs[output].axes
        changed = explain_change(name, cases, column, right, axes)
        return changed or explain_substitution(exercise, cases, column, output)


# ---- what is seen --------------------------------------------------------------------------------------------------------
def _worst(exercise: Exercise, everything: list[Tried], verdicts: list[list[Judged]]) -> Worst:
    """Of the first output that is wrong: the others may only follow from it."""
    wrong = [
        Worst(t, j, verdict.error)
        for t, row in zip(everything, verdicts, strict=True)
        for j, verdict in enumerate(row)
        if not verdict.right
    ]
    first = min(w.output for w in wrong)
    return max(
        (w for w in wrong if w.output == first), key=lambda w: (w.tried.dtype is np.float64, *_telling(w), w.error)
    )


def _telling(worst: Worst) -> tuple[int, int]:
    """A call says more if its output has no axis of length 1, along which nothing can strike one, and if it has more axes."""
    shape = np.shape(worst.tried.right[worst.output])
    return -sum(length == 1 for length in shape), len(shape)


def _seen(exercise: Exercise, worst: Worst, wrong: list[int]) -> Text:
    """The symptom: which output, on what input, and what strikes one about it."""
    output, t = exercise.outputs[worst.output], worst.tried
    came, right = t.outcome.outputs[worst.output], t.right[worst.output]
    source = f" ({t.case.source})" if t.case.source else ""
    about = Text(f"{t.case.about.en}{source}", f"{t.case.about.zh}{source}")
    names = [exercise.outputs[j].name for j in wrong] or [output.name]
    fine = ", ".join(o.name for j, o in enumerate(exercise.outputs) if j not in wrong)
    also = Text(f" ({fine} right)", f"（{fine} 正确）") if fine and wrong else Text("", "")
    several = len(names) > 1
    head = Text(
        f"{' and '.join(names)} {'are' if several else 'is'} wrong{also.en}{f'. {output.name}' if several else ''} on {about.en}",
        f"{'、'.join(names)} 不对{also.zh}。{f'{output.name} ' if several else ''}输入为{about.zh}",
    )
    if isinstance(right, str):
        return Text(f'{head.en}. It is "{came}"', f"{head.zh}。它是“{came}”")
    if right.dtype.kind not in "f" or came.shape != right.shape:
        return Text(f"{head.en}. It is {_list(came)}", f"{head.zh}。它是 {_list(came)}")
    inputs = [
        found for name, a in zip(argument_names(exercise), t.case.args, strict=False) for found in arrays_in(a, name)
    ]
    with np.errstate(all="ignore"):
        related = relations(came.astype(np.float64), right, inputs, TOLERANCE)
        strikes = [*related[:2], *patterns(came.astype(np.float64), right, output.axes, TOLERANCE)][:4]
    return Text(f"{head.en}: {'; '.join(s.en for s in strikes)}", f"{head.zh}：{'；'.join(s.zh for s in strikes)}")


def _list(array: Array) -> str:
    text = str(array.tolist())
    return text if len(text) <= 80 else text[:77] + "..."


def _differences(exercise: Exercise, worst: Worst, seed: int) -> list[str]:
    """The worst entry beside the finite difference there, and how far that can be trusted."""
    t, j = worst.tried, worst.output
    came, right = t.outcome.outputs[j], t.right[j]
    if isinstance(right, str) or came.shape != right.shape or right.dtype.kind != "f":
        return []
    where = np.unravel_index(np.abs(came - right).argmax(), right.shape) if right.ndim else ()
    index = tuple(map(int, where))
    if t.case.forward is None or t.dtype is not np.float64:
        return [str(_entry(exercise, j, index, came[index], right[index], worst.error))]
    with use_backend("numpy"), np.errstate(all="ignore"):
        small = came.size <= ALL_ENTRIES
        names = tuple(output.name for output in exercise.outputs)
        report = compare_gradients(
            t.case.forward, t.case.arrays, t.case.args[0], t.outcome.outputs, names=names,
            mode="full" if small else "projection", tolerance=TOLERANCE, seed=seed + 1,
        )  # fmt: skip
        argument = report.arguments[j]
        if argument.worst is not None and argument.status == "WRONG":
            index = argument.worst
        numeric = slopes(t.case.forward, t.case.arrays, t.case.args[0], j, index, STEPS)
    lines = [
        _entry(exercise, j, index, came[index], right[index], worst.error),
        _sweep(numeric, float(right[index]) + 0.0, float(np.abs(right).max())),
    ]
    if argument.kinks:
        lines.append(
            Text(
                f"entries at a kink, where there is no derivative, and so left out: {argument.kinks}",
                f"{argument.kinks} 个元素位于不可导的折点，未计入",
            )
        )
    return list(map(str, lines))


def _entry(exercise: Exercise, output: int, index: tuple[int, ...], ours: float, right: float, error: float) -> Text:
    ours, right = ours + 0.0, right + 0.0  # no -0
    name = exercise.outputs[output].name
    at = f"{name}[{', '.join(map(str, index))}]" if index else name
    ratio = f"{float(ours) / float(right):.4g}" if right else "-"
    return Text(
        f"worst at {at}: yours {ours:.6g}, right {right:.6g}, ratio {ratio}; error {error:.1%} of the largest entry",
        f"误差最大处 {at}：你的 {ours:.6g}，正确 {right:.6g}，比值 {ratio}；误差为最大元素的 {error:.1%}",
    )


def _sweep(numeric: list[float], right: float, largest: float) -> Text:
    """For which steps the finite difference is the right value: over how many decades it can be trusted."""
    good = [h for h, value in zip(STEPS, numeric, strict=True) if abs(value - right) <= 1e-4 * largest]
    shown = ", ".join(f"{value:.4g} (h={h:.0e})" for h, value in zip(STEPS, numeric, strict=True))
    if len(good) < 2:  # at a kink: every step gives the same wrong number, or none
        return Text(f"finite differences there: {shown}", f"该处的有限差分：{shown}")
    return Text(
        f"a finite difference there gives {right:.6g} for steps from {good[0]:.0e} to {good[-1]:.0e}: it is no noise",
        f"该处的有限差分在步长 {good[0]:.0e} 到 {good[-1]:.0e} 之间都是 {right:.6g}：不是噪声",
    )


# ---- put together --------------------------------------------------------------------------------------------------------
def _result(
    exercise: Exercise,
    worst: Worst,
    symptom: Text,
    names: list[str],
    findings: list[Finding],
    details: list[str],
    printed: str,
) -> CheckResult:
    mistakes = {m.name: m for m in exercise.mistakes}
    explained = {name: mistakes[name].why if name in mistakes else GENERIC[name] for name in names}
    for finding in findings:
        for name in finding.names:
            explained.setdefault(name, mistakes[name].why if name in mistakes else finding.seen)
    output = exercise.outputs[worst.output]
    known = next((mistakes[name] for name in explained if name in mistakes), None)
    hints = [symptom, (known and known.concept) or output.concept, known.line if known else output.line]
    notes = [str(f.seen) for f in findings if all(name in mistakes for name in f.names)]
    came, right = worst.tried.outcome.outputs[worst.output], worst.tried.right[worst.output]
    mapped = not isinstance(right, str) and right.dtype.kind == "f" and came.shape == right.shape and right.size > 1
    return CheckResult(
        exercise.name,
        False,
        str(symptom),
        list(explained),
        list(map(str, hints)),
        error=worst.error,
        tolerance=TOLERANCE if worst.tried.dtype is np.float64 else TOLERANCE_FLOAT32,
        explanations=[str(why) for why in explained.values()],
        details=details,
        notes=notes,
        heat_map=HeatMap(*heat_map(came, right, output.axes)) if mapped else None,
        printed=printed,
    )
