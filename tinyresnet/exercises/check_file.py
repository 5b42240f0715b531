"""`check_file`: every exercise in a learner's file."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from .check import get, note, refused, tried
from .limits import HAS_LIMITS, MEMORY, SECONDS
from .result import CheckResult
from .submission import Found, exercises_in, load_function, read_source


def check_file(
    path: str | Path,
    *,
    seed: int = 0,
    progress: bool = True,
    seconds: float = SECONDS,
    memory: int = MEMORY,
) -> list[CheckResult]:
    """Checks every function of the file that has the name of an exercise; the other arguments are those of `check`.

    Each of its exercises runs in a limited process of its own, the file's top level included. There, it finds what stands beside it in
    its folder.
    Raises ValueError for a file that is no Python or has no exercise in it, and OSError for one that cannot be read.
    """
    path = Path(path)
    source = read_source(path)
    return [
        _checked(found, path, source, seed=seed, progress=progress, seconds=seconds, memory=memory)
        for found in exercises_in(path, source).values()
    ]


def _checked(
    found: Found, path: Path, source: bytes, *, seed: int, progress: bool, seconds: float, memory: int
) -> CheckResult:
    exercise, start = get(found.name), time.perf_counter()
    result = refused(exercise, found.is_stub(exercise), found.is_ours(exercise))
    if result is None:
        path = path.absolute()
        with contextlib.nullcontext() if HAS_LIMITS else _imports_as_before(path.parent):
            result = tried(
                exercise, lambda: load_function(path, found.name, source), seed=seed, seconds=seconds, memory=memory
            )
    result.seconds = time.perf_counter() - start
    if progress:
        note(result)
    return result


@contextlib.contextmanager
def _imports_as_before(folder: Path) -> Iterator[None]:
    """Where the file runs in this process: afterwards sys.path is as before, and what came from the folder is forgotten."""
    paths, modules = list(sys.path), dict(sys.modules)
    try:
        yield
    finally:
        sys.path[:] = paths
        for name, module in list(sys.modules.items()):
            if modules.get(name) is not module and folder in Path(getattr(module, "__file__", None) or "").parents:
                del sys.modules[name]
        sys.modules.update({name: module for name, module in modules.items() if name not in sys.modules})
