"""A list of Steps that is being written, and how a step's work is cut into tasks."""

from __future__ import annotations

import functools
import threading
from typing import Any

import numpy as np

from . import threads
from .steps import FIELDS, STEP, Kernel

PLACE_OF = {name: i for i, name in enumerate(FIELDS)}


class _Workspace(threading.local):
    """A thread's memory for what lives from one step to another of a plan. It is kept: to get new pages from the system, and have them
    cleared, takes longer than most of what is done in them."""

    def __init__(self) -> None:
        self.bytes = np.empty(0, np.uint8)


_workspace = _Workspace()


def workspace(size: int) -> int:
    """Where the thread's own memory of `size` bytes begins, on a cache line; the next one who asks gets the same."""
    if _workspace.bytes.size < size + 64:
        _workspace.bytes = np.empty(size + 64, np.uint8)
    start = address(_workspace.bytes)
    return start + -start % 64


class Plan:
    """Steps in order, the scratch that the neediest of them asks for, and the arrays that must live as long as they do."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = np.dtype(dtype).newbyteorder("=")
        self.scratch = 0
        self.kept: list[Any] = []
        self._steps: list[tuple[Kernel, dict[str, Any]]] = []
        self._used = 0  # bytes of the workspace

    def room(self, count: int) -> Any:
        """An array of `count` elements to be filled by one step and read by another. It is the thread's own, and the next plan's as well:
        so a plan with rooms is written and run before the next one is begun."""
        size = -(-count * self.dtype.itemsize // 64) * 64
        if _workspace.bytes.size < self._used + size + 64:
            _workspace.bytes = np.empty(self._used + size + 64, np.uint8)
        start = -address(_workspace.bytes) % 64 + self._used
        self._used += size
        self.kept.append(_workspace.bytes)
        return _workspace.bytes[start : start + size].view(self.dtype)[:count]

    def add(self, kernel: Kernel, scratch: int = 0, **fields: Any) -> None:
        """One more step: `tasks` and whatever else the kernel reads. An array as a field stands for its address, and is kept."""
        for name, value in fields.items():
            if isinstance(value, np.ndarray):
                self.kept.append(value)
                fields[name] = address(value)
        self._steps.append((kernel, fields))
        self.scratch = max(self.scratch, scratch)

    def steps(self) -> Any:
        """The array of STEP that `threads.Pool.run` takes. Compiles the kernels that it has not met yet."""
        rows = []
        for kernel, fields in self._steps:
            row = [0] * len(FIELDS)  # a list first: NumPy takes a whole table much faster than number by number
            row[0] = kernel.address(self.dtype)
            for name, value in fields.items():
                row[PLACE_OF[name]] = value if name != "value" else int(np.float64(value).view(np.int64))
            rows.append(row)
        return np.array(rows, np.int64).reshape(-1, len(FIELDS)).view(STEP)[:, 0]

    def run(self) -> None:
        """Runs it once."""
        threads.pool().run(self.steps(), self.scratch)


def address(array: Any) -> int:
    """Where an array's first element is."""
    where: int = array.__array_interface__["data"][0]
    return where


@functools.cache
def _constants(dtype: str, value: float, count: int) -> Any:
    return np.full(count, value, dtype)


def constants(dtype: Any, value: float, count: int) -> Any:
    """At least `count` times the same number: kernels read zeros, and -inf, from memory. They live as long as the process."""
    return _constants(np.dtype(dtype).name, value, 1 << max(count - 1, 63).bit_length())


@functools.lru_cache(4096)
def integers(*rows: tuple[int, ...]) -> Any:
    """A table of int64 for kernels, cached by its contents."""
    return np.array(rows, np.int64)


STREAM = 4.0  # what it costs to fetch a panel of weights, in rows of a tile
UNEVEN = 0.2  # of a task: how long threads wait for the last one, on a machine that does other things as well


@functools.lru_cache(4096)
def tile_cost(rows: int, tile: int) -> int:
    """How many rows' time the micro-kernel needs for `rows`: a tile of one or two rows takes as long as one of four."""
    rest = rows % tile
    return rows - rest + sum(4 if part < 4 else part for part in _parts(rest))


def _parts(rest: int) -> list[int]:
    return [part for part in (8, 4, 2, 1) if rest & part]


@functools.lru_cache(4096)
def cut(
    rows: int,
    columns: int,
    most_rows: int,
    workers: int,
    tile: int,
    unit: int,
    overhead: float,
    stream: float = STREAM,
) -> tuple[int, int]:
    """(row_tasks, column_tasks) for the product of rows * unit rows by `columns` panels: all threads busy to the end, and tiles full.

    A task has whole units, at most `most_rows` of them. overhead: what a row costs once a task beside the product (to be packed, or
    transformed), in panels; stream: as STREAM says. Of the cuts that are tried, the one with the shortest time by estimate: the rounds
    that the threads need, times a task.
    """
    fewest = max(1, -(-rows // max(most_rows, 1)))
    tried = (
        {fewest + i for i in range(4 * workers + 1)}
        | {workers * i for i in range(1, 13)}
        | {-(-rows // max(1, tile // unit))}
    )
    best: tuple[float, int, int] | None = None
    for row_tasks in sorted(count for count in tried if fewest <= count <= max(rows, 1)):
        height = -(-rows // row_tasks) * unit
        for column_tasks in sorted({1, *(k for k in (2, 3, 4, workers, 2 * workers, columns) if k <= columns)}):
            task = -(-columns // column_tasks) * (tile_cost(height, tile) + stream) + overhead * height + 2
            time = (-(-row_tasks * column_tasks // workers) + (UNEVEN if workers > 1 else 0)) * task
            if best is None or time < best[0]:
                best = (time, row_tasks, column_tasks)
    return (best[1], best[2]) if best else (1, 1)


def pieces(count: int, smallest: int, workers: int) -> int:
    """Into how many tasks to cut `count` like things: four a thread, if none gets smaller than `smallest`; 0 for nothing."""
    return min(4 * workers, -(-count // max(smallest, 1))) if count else 0
