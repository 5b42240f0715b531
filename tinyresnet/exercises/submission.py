"""A learner's file: which exercises are in it, read off its text, and the loading of a function from it.

What is in a file is found without running it: its top level may loop for ever. It runs only where it is stopped in time.
"""

from __future__ import annotations

import ast
import contextlib
import difflib
import sys
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from .catalogue import NAMES, load
from .exercise import Exercise, Function
from .language import Text
from .refusals import OurAnswer, is_ours, source_is_ours, source_is_stub
from .result import CheckResult

MOST_BYTES = 1 << 20  # of a file: nobody writes a megabyte of Python by hand


class Unreadable(ValueError):
    """A file that is no Python, or no exercise. `text` says what is the matter, in both languages; str() in the reader's."""

    def __init__(self, text: Text) -> None:
        super().__init__(str(text))
        self.text = text


class Found(NamedTuple):
    """A function with the name of an exercise in a file that has not been run."""

    name: str
    function: ast.FunctionDef | None  # None: the name is bound otherwise, by `name = other` or an import

    def is_stub(self, exercise: Exercise) -> bool:
        """Whether it is as it was given out."""
        return self.function is not None and source_is_stub(exercise, self.function)

    def is_ours(self, exercise: Exercise) -> bool:
        """Whether it is a copy of our answer."""
        return self.function is not None and source_is_ours(exercise, self.function)


def read_source(path: Path) -> bytes:
    """The bytes of a learner's file. Raises Unreadable for what is no file or far too large, OSError for what cannot be read."""
    if path.is_dir():
        raise Unreadable(
            Text(
                f"{path} is a folder; give the files in it that you want checked",
                f"{path} 是文件夹，请给出其中要检查的文件",
            )
        )
    if path.exists() and not path.is_file():
        raise Unreadable(Text(f"{path} is not a plain file", f"{path} 不是普通文件"))
    if path.exists() and path.stat().st_size > MOST_BYTES:
        raise Unreadable(Text(f"{path} is larger than a mebibyte", f"{path} 超过 1 MiB"))
    return path.read_bytes()


def parsed(source: bytes, name: str) -> ast.Module:
    """The syntax tree. Raises Unreadable, which names the line."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "\d" and the like: they are the learner's to see when the file runs
            return ast.parse(source, name)
    except SyntaxError as error:
        line = error.lineno
        where = Text(f"{name}, line {line}", f"{name} 第 {line} 行") if line else Text(name, f"{name} ")
        text = f": {error.text.strip()[:100]}" if error.text and error.text.strip() else ""
        raise Unreadable(
            Text(f"{where.en} is not Python ({error.msg}){text}", f"{where.zh}不是合法的 Python（{error.msg}）{text}")
        ) from error
    except (ValueError, RecursionError, MemoryError, OverflowError) as error:
        raise Unreadable(
            Text(f"{name} cannot be read as Python: {error}", f"{name} 无法作为 Python 读取：{error}")
        ) from error


def functions_in(tree: ast.Module) -> dict[str, Found]:
    """Exercise name -> what the file has under it, in the catalogue's order; of two definitions the last."""
    found: dict[str, Found] = {}
    for statement in _at_top_level(tree.body):
        for name in bound_by(statement):
            if name in NAMES:
                found[name] = Found(name, statement if isinstance(statement, ast.FunctionDef) else None)
    return {name: found[name] for name in NAMES if name in found}


def exercises_in(path: Path, source: bytes) -> dict[str, Found]:
    """The same of a learner's file. Raises Unreadable if there is none, or not the one that the file is named after."""
    tree = parsed(source, path.name)
    found = functions_in(tree)
    if path.stem in NAMES and path.stem not in found:
        near = _near(tree, path.stem)
        raise Unreadable(
            Text(
                f"{path.name} has no function {path.stem}{f'; is {near} it? Then rename it' if near else ''}",
                f"{path.name} 中没有函数 {path.stem}{f'；是不是写成了 {near}？请改名' if near else ''}",
            )
        )
    if not found:
        raise Unreadable(
            Text(
                f"{path.name} has no function with the name of an exercise; `tinyresnet exercise list` lists them",
                f"{path.name} 中没有以练习命名的函数；`tinyresnet exercise list` 列出所有练习",
            )
        )
    return found


def bound_by(statement: ast.stmt) -> Iterator[str]:
    """The names that one statement defines where it stands."""
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield statement.name
    elif isinstance(statement, (ast.Import, ast.ImportFrom)):
        yield from ((alias.asname or alias.name).partition(".")[0] for alias in statement.names)
    elif isinstance(statement, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        yield from (node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name))


def _at_top_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Also what stands in an `if`, a `try` or a `with` there."""
    for statement in body:
        yield statement
        for part in ("body", "orelse", "finalbody"):
            if isinstance(statement, (ast.If, ast.Try, ast.With)):
                yield from _at_top_level(getattr(statement, part, []))


def _near(tree: ast.Module, name: str) -> str:
    names = [node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    return next(iter(difflib.get_close_matches(name, names, n=1, cutoff=0.4)), "")


def load_function(path: Path, name: str, source: bytes | None = None) -> Function:
    """Runs a learner's file, with its own folder first in sys.path, and returns the function. Whatever the file raises is raised.

    A `check` at the file's own top level does nothing here: this is a check already. Raises OurAnswer.
    Only to be called where the file is stopped when it does not end.
    """
    if source is None:
        source = path.read_bytes()
    module = types.ModuleType(path.stem)
    module.__file__ = str(path)
    sys.path.insert(0, str(path.parent))
    sys.modules[path.stem] = module  # dataclasses and pickle look a class's module up there
    with _checks_do_nothing():
        exec(compile(source, str(path), "exec", dont_inherit=True), module.__dict__)
    function: Function = getattr(module, name)
    if not callable(function):
        raise TypeError(f"{name} must be a function, not {type(function).__name__}")
    if is_ours(load(name), function):
        raise OurAnswer(name)
    return function


@contextlib.contextmanager
def _checks_do_nothing() -> Iterator[None]:
    from tinyresnet import exercises

    before = exercises.check, exercises.check_file
    exercises.check = lambda name, *_, **__: CheckResult(name, True)
    exercises.check_file = lambda *_, **__: []
    try:
        yield
    finally:
        exercises.check, exercises.check_file = before
