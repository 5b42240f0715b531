"""What happened on the device while a `recording()` was open."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple


class Call(NamedTuple):
    """A CuPy name and how it was called: ("ndarray.sum", 1, ("keepdims",)) is x.sum(2, keepdims=True)."""

    name: str
    positional: int
    keywords: tuple[str, ...]  # sorted


@dataclass
class Recording:
    """Counts since `recording()` was entered; `where` has a line for each event that was counted."""

    syncs: int = 0  # the program waited for the device: float(loss), x.get(), x[mask], ...
    uploads: int = 0  # host -> device copies
    float64: int = 0  # arrays of float64 or complex128 that came out of an operation
    calls: set[Call] = field(default_factory=set)
    where: list[str] = field(default_factory=list)


_open: list[Recording] = []


@contextmanager
def recording() -> Iterator[Recording]:
    """`with recording() as seen: ...`. Recordings may be nested; the outer one sees what the inner one sees."""
    seen = Recording()
    _open.append(seen)
    try:
        yield seen
    finally:
        _open.remove(seen)


def call(name: str, positional: int, keywords: object = ()) -> None:
    for seen in _open:
        seen.calls.add(Call(name, positional, tuple(sorted(keywords))))


def sync(what: str) -> None:
    for seen in _open:
        seen.syncs += 1
        seen.where.append(f"sync: {what}{_line_of_the_program()}")


def upload(what: str) -> None:
    for seen in _open:
        seen.uploads += 1
        seen.where.append(f"upload: {what}{_line_of_the_program()}")


def float64(what: str) -> None:
    for seen in _open:
        seen.float64 += 1
        seen.where.append(f"float64: {what}{_line_of_the_program()}")


def _line_of_the_program() -> str:
    """The nearest line outside the stand-in and NumPy."""
    frame = sys._getframe(2)
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if not module.startswith((__package__, "numpy")):
            return f" in {module}, line {frame.f_lineno}"
        frame = frame.f_back
    return ""
