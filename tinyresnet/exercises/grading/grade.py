"""A class's submissions -> marks. What is handed in runs elsewhere; what it is worth is decided here, from its text and its numbers."""

from __future__ import annotations

import contextlib
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from ..calls import decode
from ..check import get, judged, refused, stopped_result
from ..failed import failed
from ..language import Text
from ..limits import Stopped, run_limited
from ..result import CheckResult
from ..structure import Fault
from . import landlock, sandbox, seccomp
from .collect import Stage, students_in
from .sandbox import Limits, Ran
from .work import OURS, STUB, TRY, UNREADABLE, Work, as_line, from_line, one_each, works_in

RIGHT, WRONG, NOT_WRITTEN, REFUSED, BROKEN, NOT_GRADED = (
    "right",
    "wrong",
    "not written",
    "refused",
    "broken",
    "not graded",
)
BREAKS = {"raises", "too_slow", "too_much_memory", "ended", "wrote_too_much", "no_results", "unreadable"}
READING = Limits(seconds=60, memory=1 << 30)  # of one student's files, which are only looked at


class Mark(NamedTuple):
    """One exercise of one student."""

    student: str
    exercise: str
    status: str  # RIGHT, WRONG, NOT_WRITTEN, REFUSED, BROKEN, NOT_GRADED
    symptom: str = ""
    diagnosis: tuple[str, ...] = ()
    explanations: tuple[str, ...] = ()  # of the diagnosis
    seconds: float = float("nan")
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether it counts."""
        return self.status == RIGHT


class Graded(NamedTuple):
    """A class."""

    name: str
    students: dict[str, tuple[str, ...]]  # what is to be said of a student's work as a whole
    marks: list[Mark]
    seed: int
    weaknesses: tuple[str, ...]  # of the locks on this machine


class Handed(NamedTuple):
    """What a student has handed in, staged and looked at."""

    works: list[Work]
    notes: tuple[str, ...]


def grade(
    folder: str | Path, *, seed: int, jobs: int, limits: Limits, told: Callable[[str, list[Mark]], None] | None = None
) -> Graded:
    """Grades every submission in the folder. `told` hears of each student when all of theirs is done.

    Whatever a submission does costs its student alone. Raises ValueError and OSError for the folder itself.
    """
    folder = Path(folder)
    students = students_in(folder)
    marks: list[Mark] = []
    locks: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="tinyresnet-grading-") as above:
        stages = {name: Path(above).resolve() / str(number) for number, name in enumerate(students)}
        # All files are looked at before the first runs: that is done in forks, which must not happen beside threads.
        handed = {name: hand_in(path, stages[name]) for name, path in students.items()}
        with _pool(jobs) as submit:
            running = {
                name: [(work, submit(stages[name], work, seed, limits)) for work in one_each(handed[name].works)]
                for name in students
            }
            for name, works in running.items():
                its = [mark_of(name, work, future.result() if future else None, seed, limits) for work, future in works]
                marks += its
                locks = locks or next((f.result().locks for _, f in works if f and f.result().locks), {})
                if told is not None:
                    told(name, its)
    notes = {name: (*handed[name].notes, *_loose(handed[name].works)) for name in students}
    return Graded(folder.resolve().name, notes, marks, seed, weaknesses(locks or None))


def hand_in(path: Path, stage: Path) -> Handed:
    """Copies a submission to where it is looked at, and looks at it, within limits: a file may be made to be hard to read."""

    def work(send: Callable[[bytes], None]) -> None:
        staged = Stage(stage)
        staged.take(path)
        for text in staged.left_out:
            send(b"n" + _clean(str(text)).encode())
        for each in works_in(stage):
            send(b"w" + as_line(each))

    notes: list[str] = []
    try:
        lines = run_limited(work, seconds=READING.seconds, memory=READING.memory)
    except Stopped as stopped:
        lines = stopped.done
        notes.append(
            str(Text("not all of it could be read: one of the files is too much", "有文件过于复杂，未能全部读取"))
        )
    stage.mkdir(parents=True, exist_ok=True)
    notes += [line[1:].decode() for line in lines if line[:1] == b"n"]
    return Handed([from_line(line[1:]) for line in lines if line[:1] == b"w"], tuple(notes))


def _loose(works: list[Work]) -> Iterator[str]:
    """Files that cannot be read, of which nobody knows which exercise they were to be; and that there is nothing at all."""
    yield from (str(work.problem) for work in works if not work.exercise and work.problem is not None)
    if not any(work.exercise for work in works):
        yield str(Text("no exercise was found in it", "没有找到任何练习"))


@contextlib.contextmanager
def _pool(jobs: int) -> Iterator[Callable[[Path, Work, int, Limits], Future[Ran] | None]]:
    """Submits what is to be run. When the grader is interrupted, what runs is ended."""
    over = threading.Event()
    with ThreadPoolExecutor(jobs) as pool:

        def submit(stage: Path, work: Work, seed: int, limits: Limits) -> Future[Ran] | None:
            if work.status != TRY:
                return None
            return pool.submit(_run, stage, work, seed, limits, over.is_set)

        try:
            yield submit
        except BaseException:
            over.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _run(stage: Path, work: Work, seed: int, limits: Limits, stop: Callable[[], bool]) -> Ran:
    try:
        return sandbox.run(stage, work.file, work.exercise, seed, limits, stop)
    except OSError as error:  # no process, no disk: the grader's trouble, not the student's
        return Ran([], "start", {}, str(error))


# ---- what it is worth --------------------------------------------------------------------------------------------------
def mark_of(student: str, work: Work, ran: Ran | None, seed: int, limits: Limits) -> Mark:
    """The mark for what was run, or for what need not be."""
    notes = tuple(str(note) for note in work.notes)
    exercise = get(work.exercise)
    if ran is not None and ran.reason in ("start", "stopped"):
        said = ran.said or f"no process began within {sandbox.START:g} s"
        why = str(Text(f"could not be graded here: {said}", f"在这里无法评分：{said}"))
        return Mark(student, work.exercise, NOT_GRADED, _clean(why), notes=notes)
    if ran is None:
        result = refused(exercise, work.status == STUB, work.status == OURS)
        if result is None:
            result = failed(exercise, Fault("unreadable", work.problem or Text("?", "?")))
        status = {STUB: NOT_WRITTEN, OURS: REFUSED, UNREADABLE: BROKEN}[work.status]
        return _mark(student, result, status, float("nan"), notes)
    result = _result(work, ran, seed, limits)
    broken, ours = BREAKS.intersection(result.diagnosis), "our_answer" in result.diagnosis
    status = RIGHT if result.passed else REFUSED if ours else BROKEN if broken else WRONG
    return _mark(student, result, status, ran.seconds, notes)


def _mark(student: str, result: CheckResult, status: str, seconds: float, notes: tuple[str, ...]) -> Mark:
    return Mark(
        student,
        result.name,
        status,
        _clean(result.symptom),
        tuple(result.diagnosis),
        tuple(map(_clean, result.explanations)),
        seconds,
        (*notes, *map(_clean, result.notes)),
    )


def _result(work: Work, ran: Ran, seed: int, limits: Limits) -> CheckResult:
    exercise = get(work.exercise)
    if ran.reason in ("time", "died"):
        return stopped_result(exercise, Stopped(ran.reason, ran.messages), limits.seconds, limits.memory)
    if ran.reason == "written":
        most = f"{sandbox.MOST_WRITTEN >> 20} MiB"
        seen = Text(f"it wrote too much: more than {most} or too many files", f"写入过多：超过 {most} 或文件过多")
        return failed(exercise, Fault("wrote_too_much", seen))
    if ran.reason == "sent":
        seen = Text(
            "far more came out of its process than results of its calls: arrays that are too large, or messages of its own",
            "其进程输出的内容远多于各次调用的结果：数组过大，或者文件自己写了消息",
        )
        return failed(exercise, Fault("no_results", seen))
    try:
        return judged(exercise, [decode(line) for line in ran.messages], seed)
    except Exception:  # messages that were forged to break whoever reads them: whatever breaks, it is that student's
        seen = Text(
            "what came out of its process are no results of a function: the file wrote there itself",
            "其进程输出的不是函数的结果：文件自己向那里写了东西",
        )
        return failed(exercise, Fault("no_results", seen))


def _clean(text: str) -> str:
    """One line, of characters that every file and page can hold."""
    whole = text.encode("utf-8", "replace").decode()
    shown = "".join(c if c.isprintable() else " " for c in whole)
    return " ".join(shown.split())[:600]


# ---- the locks ---------------------------------------------------------------------------------------------------------
def weaknesses(locks: dict[str, Any] | None = None) -> tuple[str, ...]:
    """What a submission is not kept from on this machine, in sentences; without `locks`, as far as one can tell beforehand."""
    if locks is None:
        have_landlock, have_seccomp = landlock.version(), seccomp.architecture() is not None
    else:
        have_landlock, have_seccomp = int(locks["landlock"]), bool(locks["seccomp"])
    found = []
    if not have_landlock:
        found.append(
            Text(
                "there is no Landlock here: files outside a submission's folder are guarded by Python's audit hook alone",
                "本机没有 Landlock：提交文件夹之外的文件只由 Python 的审计钩子保护",
            )
        )
    if not have_seccomp:
        found.append(
            Text(
                "there is no seccomp filter here: network, processes and signals are guarded by Python's audit hook alone",
                "本机没有 seccomp 过滤器：网络、进程和信号只由 Python 的审计钩子保护",
            )
        )
    return tuple(map(str, found))
