"""What is no answer: the stub as it came, our own function, and a copy of its source.

A function that calls ours is not refused: its numbers are looked at like anybody's. And a one-line answer is written the same by
everybody, so only a copy with its docstring and all counts as one there.
"""

from __future__ import annotations

import ast
import inspect
import os
import textwrap
import threading
from collections.abc import Iterable
from types import CodeType
from typing import Any

from .. import ops
from .exercise import Exercise, Function

SHORT = 2  # statements: an answer of so few may well be written twice


class OurAnswer(Exception):
    """A file's function is our answer itself, brought in by an import or `name = ...`: seen when the file has run."""


def is_stub(exercise: Exercise, mine: Any) -> bool:
    """Whether it is the function that only says that it is not written, or a copy of it."""
    return _unwrapped(mine) is exercise.stub or _same_code(mine, exercise.stub, docstring=False)


def is_ours(exercise: Exercise, mine: Any) -> bool:
    """Whether it is our answer, or a copy of its source."""
    mine = _unwrapped(mine)
    for answer in _answers(exercise):
        if mine is answer:
            return True
        short = _statements(answer) <= SHORT
        if _same_code(mine, answer, docstring=short):
            return True
    return False


def source_is_stub(exercise: Exercise, function: ast.FunctionDef) -> bool:
    """The same of a function in a file that is not to be run yet."""
    return _bare(function, docstring=False) == _of(exercise.stub, docstring=False)


def source_is_ours(exercise: Exercise, function: ast.FunctionDef) -> bool:
    """The same of a function in a file that is not to be run yet."""
    for answer in _answers(exercise):
        short = _statements(answer) <= SHORT
        if _bare(function, docstring=short) == _of(answer, docstring=short):
            return True
    return False


def _answers(exercise: Exercise) -> Iterable[Function]:
    """Our answers: the exercise's, and the op that it is named after, as the table holds it and plain."""
    yield exercise.answer
    if exercise.op is not None:
        op = getattr(ops, exercise.op)
        yield op
        yield op.__wrapped__


def _unwrapped(function: Any) -> Any:
    return getattr(function, "__func__", function)


# Python 3.11 counts the depth of a tree for all threads together, and raises SystemError if two parse at a time.
_PARSING = threading.Lock()
if hasattr(os, "register_at_fork"):  # a child must not find it held by a thread that stayed behind
    os.register_at_fork(before=_PARSING.acquire, after_in_parent=_PARSING.release, after_in_child=_PARSING.release)


def _parsed(function: Function) -> ast.FunctionDef | None:
    try:
        source = inspect.getsource(getattr(function, "__code__", function))  # its own, not that of what it wraps
        with _PARSING:
            tree = ast.parse(textwrap.dedent(source))
    except (OSError, TypeError, SyntaxError, ValueError):
        return None
    found = tree.body[0] if tree.body else None
    return found if isinstance(found, ast.FunctionDef) else None


def _of(function: Function, docstring: bool) -> str | None:
    parsed = _parsed(function)
    return None if parsed is None else _bare(parsed, docstring)


def _bare(function: ast.FunctionDef, docstring: bool) -> str:
    """Arguments and body as one text: without the function's name, annotations, decorators and comments."""
    body = function.body if docstring else _without_docstring(function)
    names = [argument.arg for argument in function.args.args]
    return "\n".join([",".join(names), *(ast.dump(statement) for statement in body)])


def _without_docstring(function: ast.FunctionDef) -> list[ast.stmt]:
    return function.body[1:] if ast.get_docstring(function) is not None else function.body


def _statements(function: Function) -> int:
    parsed = _parsed(function)
    return 0 if parsed is None else len(_without_docstring(parsed))


def _same_code(mine: Any, ours: Function, docstring: bool) -> bool:
    """By the source where there is one, else (exec, an interpreter's prompt) by the compiled code."""
    if not hasattr(mine, "__code__") or not hasattr(ours, "__code__"):
        return False
    parsed = _parsed(mine)
    if parsed is not None:
        return _bare(parsed, docstring) == _of(ours, docstring)
    return _compiled(mine.__code__, docstring) == _compiled(ours.__code__, docstring)


def _compiled(code: CodeType, docstring: bool) -> tuple[Any, ...]:
    """A code object without names and line numbers; constant 0 is the docstring, or None."""
    constants = code.co_consts if docstring else code.co_consts[1:]
    inner = tuple(_compiled(c, True) if isinstance(c, CodeType) else (type(c).__name__, c) for c in constants)
    return code.co_code, code.co_names, code.co_varnames[: code.co_argcount], inner
