"""Puts the stand-in where `import cupy` looks, and takes it away again."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .namespace import CUPY, MODULES


@contextmanager
def installed() -> Iterator[Any]:
    """`with installed() as cupy: ...`: a program that imports cupy in here works on the stand-in. May be nested.

    A real CuPy that was imported before is put back at the end. `cupyx`, which the stand-in lacks, cannot be imported.
    """
    before = {name: module for name, module in sys.modules.items() if _is_cupys(name)}
    _replace({**MODULES, "cupyx": None})
    try:
        yield CUPY
    finally:
        _replace(before)


def _is_cupys(name: str) -> bool:
    return name.partition(".")[0] in ("cupy", "cupyx")


def _replace(modules: dict[str, Any]) -> None:
    for name in [name for name in sys.modules if _is_cupys(name)]:
        del sys.modules[name]
    sys.modules.update(modules)
