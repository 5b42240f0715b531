"""What a student has handed in, by its text alone: nothing of it is run here."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ... import ops
from ..catalogue import NAMES, load
from ..language import Text
from ..submission import MOST_BYTES, Unreadable, functions_in, parsed
from .notebook import source_of

STUB, OURS, TRY, UNREADABLE = "stub", "ours", "try", "unreadable"
TELLING = {
    "ctypes",
    "subprocess",
    "socket",
    "importlib",
    "inspect",
    "gc",
    "builtins",
    "multiprocessing",
    "signal",
    "os",
}
FOR_LEARNERS = {"tinyresnet.exercises", "tinyresnet.exercises.check", "tinyresnet.exercises.check_file"}
TELLING_CALLS = {"eval", "exec", "compile", "__import__", "open", "globals", "vars"}


class Work(NamedTuple):
    """One exercise of one student."""

    exercise: str
    file: str  # in the student's folder, with "/"
    status: str  # STUB, OURS, TRY or UNREADABLE
    notes: tuple[Text, ...] = ()  # what the text shows: "calls our answer"
    problem: Text | None = None  # why it is UNREADABLE


def works_in(stage: Path) -> Iterator[Work]:
    """Of every file, every exercise. A notebook's functions are written into a file beside it first, which is then the work."""
    for path in sorted(stage.rglob("*")):
        if path.is_file() and path.suffix in (".py", ".ipynb"):
            yield from works_of(stage, path)


def works_of(stage: Path, path: Path) -> Iterator[Work]:
    """Of one file."""
    file = path.relative_to(stage).as_posix()
    try:
        source = path.read_bytes()
        if path.suffix == ".ipynb":
            source = source_of(source, path.name)
            path = _beside(path)
            path.write_bytes(source)
        elif len(source) > MOST_BYTES:
            raise Unreadable(Text(f"{path.name} is larger than a mebibyte", f"{path.name} 超过 1 MiB"))
        tree = parsed(source, path.name)
        found = functions_in(tree)
        if path.stem in NAMES and path.stem not in found:
            raise Unreadable(Text(f"{path.name} has no function {path.stem}", f"{path.name} 中没有函数 {path.stem}"))
    except Unreadable as error:
        if path.stem in NAMES:  # only then is it known which exercise it was to be
            yield Work(path.stem, file, UNREADABLE, (), error.text)
        else:
            yield Work("", file, UNREADABLE, (), error.text)
        return
    run_as = path.relative_to(stage).as_posix()
    for name, its in found.items():
        exercise = load(name)
        status = STUB if its.is_stub(exercise) else OURS if its.is_ours(exercise) else TRY
        notes = tuple(notes_on(tree, exercise.op)) if status == TRY else ()
        if run_as != file:
            notes = (Text(f"from {file}", f"来自 {file}"), *notes)
        yield Work(name, run_as, status, notes)


def _beside(path: Path) -> Path:
    """Where a notebook's functions go: a name that is free."""
    number, free = 1, path.with_name(f"{path.stem}_ipynb.py")
    while free.exists():
        number += 1
        free = path.with_name(f"{path.stem}_ipynb_{number}.py")
    return free


# ---- what the text shows ---------------------------------------------------------------------------------------------------
def notes_on(tree: ast.Module, op: str | None) -> Iterator[Text]:
    """What a teacher may want to look at. None of it is forbidden, and whoever wants to hide it can."""
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    imported = {alias.name for node in _imports_from(tree, "tinyresnet") for alias in node.names}
    modules = set(_modules(tree))
    if op is not None and op in names | imported:
        yield Text(f"calls our answer: {op}", f"调用了我们的答案：{op}")
    others = sorted(name for name in (names | imported) if name != op and name.endswith("_backward") and _is_op(name))
    if others:
        yield Text(f"calls {', '.join(others)} of ours", f"调用了我们的 {'、'.join(others)}")
    if names & {"answer", "also_right", "attempt"} or any(
        m.startswith("tinyresnet.exercises.") for m in modules - FOR_LEARNERS
    ):
        yield Text("looks into tinyresnet.exercises, where the answers are", "访问了存放答案的 tinyresnet.exercises")
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    telling = sorted({module.partition(".")[0] for module in modules} & TELLING) + sorted(called & TELLING_CALLS)
    if telling:
        yield Text(f"uses {', '.join(telling)}", f"使用了 {'、'.join(telling)}")


def _is_op(name: str) -> bool:
    return callable(getattr(ops, name, None))


def _imports_from(tree: ast.Module, package: str) -> Iterator[ast.ImportFrom]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == package:
            yield node


def _modules(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


# ---- which of several ------------------------------------------------------------------------------------------------------
def one_each(works: list[Work]) -> list[Work]:
    """One work an exercise: what was written before what was not, NAME.py before other files; the others are noted."""
    order = {TRY: 0, OURS: 1, UNREADABLE: 2, STUB: 3}

    def rank(work: Work) -> tuple[int, bool, str]:
        return order[work.status], Path(work.file).stem != work.exercise, work.file

    chosen = []
    for name in NAMES:
        same = sorted((work for work in works if work.exercise == name), key=rank)
        if same:
            also = ", ".join(work.file for work in same[1:] if work.status != STUB)
            extra = (Text(f"also in {also}, which was not looked at", f"{also} 中也有，未予检查"),) if also else ()
            chosen.append(same[0]._replace(notes=(*same[0].notes, *extra)))
    return chosen


# ---- out of the process that read it ---------------------------------------------------------------------------------------
def as_line(work: Work) -> bytes:
    """For `from_line`, which never fails on it."""
    return json.dumps(work).encode()


def from_line(line: bytes) -> Work:
    """What `as_line` wrote."""
    exercise, file, status, notes, problem = json.loads(line)
    return Work(exercise, file, status, tuple(Text(*note) for note in notes), _text(problem))


def _text(problem: Any) -> Text | None:
    return None if problem is None else Text(*problem)
