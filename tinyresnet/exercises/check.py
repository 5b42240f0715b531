"""`check`: is this function right, and if not, what was done?"""

from __future__ import annotations

import difflib
import time
from typing import Any

import numpy as np

from .calls import Outcome, call_all, cases_of, decode
from .catalogue import NAMES, load
from .diagnose import diagnosed
from .exercise import Exercise, Function
from .failed import failed
from .judging import TOLERANCE, Judged, Tried, judge, right_outputs
from .language import Text
from .limits import MEMORY, SECONDS, Stopped, run_limited
from .passed import praised
from .progress import record
from .refusals import OurAnswer, is_ours, is_stub
from .result import CheckResult
from .structure import Fault, structural_fault

LONGEST = 86400  # seconds
LEAST_MEMORY, MOST_MEMORY = 16 << 20, 1 << 40  # bytes: with less, Python itself gets nowhere


def get(name: str) -> Exercise:
    """The exercise of this name. Raises ValueError."""
    if name not in NAMES:
        near = difflib.get_close_matches(str(name), NAMES, n=3, cutoff=0.4) or NAMES
        raise ValueError(f"there is no exercise named {name!r}; did you mean {', '.join(near)}?")
    return load(name)


def all_exercises() -> tuple[Exercise, ...]:
    """Every exercise, in the order in which they are taught."""
    return tuple(map(load, NAMES))


def check(
    name: str,
    mine: Function,
    *,
    seed: int = 0,
    progress: bool = True,
    seconds: float = SECONDS,
    memory: int = MEMORY,
) -> CheckResult:
    """Is `mine` a right answer to the exercise `name`? The result shows itself in a notebook and by print.

    mine      a function with the signature of our op of that name, as `tinyresnet exercise show NAME` gives it
    seed      of the inputs that it is tried on
    progress  whether the try is noted in tinyresnet-progress.json in the working folder
    seconds   how long it may take in all, and `memory`, in bytes, how much it may ask for (the latter on Linux alone)

    Raises ValueError for an unknown name and TypeError for something that cannot be called. Whatever `mine` does is in the result.
    """
    exercise = get(name)
    if not callable(mine):
        raise TypeError(f"mine must be a function, not {type(mine).__name__}")
    _check_limits(seed, seconds, memory)
    start = time.perf_counter()
    result = refused(exercise, is_stub(exercise, mine), is_ours(exercise, mine))
    if result is None:
        result = tried(exercise, lambda: mine, seed=seed, seconds=seconds, memory=memory)
    result.seconds = time.perf_counter() - start
    if progress:
        note(result)
    return result


def _check_limits(seed: Any, seconds: Any, memory: Any) -> None:
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ValueError(f"seed must be an integer >= 0, not {seed!r}")
    if not isinstance(seconds, (int, float)) or not 0 < seconds <= LONGEST:
        raise ValueError(f"seconds must be a number above 0 and at most {LONGEST}, not {seconds!r}")
    if not isinstance(memory, (int, np.integer)) or not LEAST_MEMORY <= memory <= MOST_MEMORY:
        raise ValueError(f"memory must be an integer, in bytes, from 16 MiB to 1 TiB, not {memory!r}")


def note(result: CheckResult) -> None:
    """Writes the try into the progress file; that it cannot is said in the result and stops nobody."""
    try:
        record(result.name, result.passed, result.diagnosis)
    except (OSError, ValueError) as error:
        result.notes.append(str(Text(f"progress was not kept: {error}", f"进度没有保存：{error}")))


def refused(exercise: Exercise, stub: bool, ours: bool) -> CheckResult | None:
    """The result for what is no answer."""
    if stub:
        seen = Text("this is the stub as it came: it is not written yet", "这还是原来的空函数：尚未编写")
        return failed(exercise, Fault("not_written", seen))
    return refused_as_ours(exercise) if ours else None


def refused_as_ours(exercise: Exercise) -> CheckResult:
    """The result for our own answer."""
    seen = Text(
        "this is our own answer, or a copy of it: write one yourself (calling ours inside yours is allowed)",
        "这是我们的答案或其副本：请自己写一个（在你的函数里调用我们的是允许的）",
    )
    return failed(exercise, Fault("our_answer", seen))


def tried(exercise: Exercise, load_function: Any, *, seed: int, seconds: float, memory: int) -> CheckResult:
    """Runs it within the limits and judges what came."""
    try:
        lines = run_limited(lambda send: call_all(exercise, load_function, seed, send), seconds=seconds, memory=memory)
    except Stopped as stopped:
        if len(stopped.done) < len(cases_of(exercise, seed)):
            return stopped_result(exercise, stopped, seconds, memory)
        lines = stopped.done  # every call gave a result; only its speed is not known
    return judged(exercise, [decode(line) for line in lines], seed)


def stopped_result(exercise: Exercise, stopped: Stopped, seconds: float, memory: int) -> CheckResult:
    """The result for a function that did not end by itself."""
    call = len(stopped.done) + 1
    if stopped.reason == "time":
        seen = Text(
            f"it was stopped after {seconds:g} s, in call {call}: does a loop never end?",
            f"运行 {seconds:g} 秒后被终止（第 {call} 次调用）：是否有循环不会结束？",
        )
        return failed(exercise, Fault("too_slow", seen))
    seen = Text(
        f"its process ended in call {call} without a result (it may use {memory >> 20} MiB)",
        f"进程在第 {call} 次调用中没有给出结果就结束了（可用内存 {memory >> 20} MiB）",
    )
    return failed(exercise, Fault("ended", seen))


def judged(exercise: Exercise, outcomes: list[Outcome], seed: int) -> CheckResult:
    """The result for what a function gave on every call of this seed. Runs nothing of the learner's."""
    if outcomes and outcomes[0].error == OurAnswer.__name__:
        return refused_as_ours(exercise)
    calls = cases_of(exercise, seed)
    everything = [
        Tried(case, dtype, outcome, right_outputs(exercise, case))
        for (case, dtype), outcome in zip(calls, outcomes, strict=False)
    ]
    printed = next((t.outcome.printed for t in everything if t.outcome.printed), "")
    if memory_error := next((t for t in everything if t.outcome.error == "MemoryError"), None):
        seen = Text(
            f"it asked for too much memory: {memory_error.outcome.raised}",
            f"它要求的内存过多：{memory_error.outcome.raised}",
        )
        return failed(exercise, Fault("too_much_memory", seen), printed=printed)
    for t in everything:
        if fault := structural_fault(exercise, t.case, t.dtype, t.outcome, t.right):
            fault = fault._replace(seen=_on(fault.seen, t.case.about))
            return diagnosed(exercise, everything, fault, None, seed, printed)
    if len(everything) < len(calls):
        seen = Text("some calls gave no result", "有些调用没有给出结果")
        return failed(exercise, Fault("ended", seen), printed=printed)
    if exercise.judge is not None:
        return _by_its_judge(exercise, everything, printed)
    verdicts = [_verdicts(exercise, t, seed) for t in everything]
    if all(v.right for row in verdicts for v in row):
        seconds = outcomes[len(calls)].seconds if len(outcomes) > len(calls) else float("nan")
        return praised(exercise, everything, verdicts, printed, seconds)
    return diagnosed(exercise, everything, None, verdicts, seed, printed)


def _on(seen: Text, about: Text) -> Text:
    """With the input that it was seen on, at the end of the first line."""
    (en, *more_en), (zh, *more_zh) = seen.en.split("\n"), seen.zh.split("\n")
    return Text("\n".join([f"{en} (on {about.en})", *more_en]), "\n".join([f"{zh}（输入：{about.zh}）", *more_zh]))


def _verdicts(exercise: Exercise, t: Tried, seed: int) -> list[Judged]:
    if t.case.raises is not None:
        return []
    with np.errstate(all="ignore"):
        return judge(exercise, t.case, t.dtype, t.outcome.outputs, t.right, seed)


def _by_its_judge(exercise: Exercise, everything: list[Tried], printed: str) -> CheckResult:
    assert exercise.judge is not None
    whole = [t for t in everything if t.dtype is np.float64]
    passed, seen, names = exercise.judge([t.case for t in whole], [t.outcome.outputs for t in whole])
    if passed:
        return CheckResult(exercise.name, True, error=0.0, tolerance=TOLERANCE, details=[str(seen)], printed=printed)
    known = [exercise.mistake(name) for name in names]
    concept = known[0].concept or exercise.outputs[0].concept if known else exercise.outputs[0].concept
    line = known[0].line if known else exercise.outputs[0].line
    return CheckResult(
        exercise.name,
        False,
        str(seen),
        list(names),
        [str(seen), str(concept), str(line)],
        explanations=[str(mistake.why) for mistake in known],
        printed=printed,
    )
