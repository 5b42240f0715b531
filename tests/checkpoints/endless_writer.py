"""A process that saves checkpoints until it is killed: python endless_writer.py PATH [HALT] [in-place]

Checkpoint i holds nothing but the number i; the line "saved i" follows it. With HALT, "fsync" or "replace", it stops there in the
third save, says "halted", and goes on when a line comes in. "in-place" is the planted mistake: no temporary file.
"""

from __future__ import annotations

import itertools
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tinyresnet.checkpoints import checkpoint, save

SIZE = 300_000  # numbers: more than a megabyte


def in_place(path: Path, data: bytes) -> None:
    with open(path, "wb") as file:
        for part in (data[: len(data) // 2], data[len(data) // 2 :]):
            file.write(part)
            file.flush()
            os.fsync(file.fileno())


def halt_in(point: str, number: int) -> None:
    """The third call of os.fsync or os.replace for a file (a folder's fsync does not count) waits for a line."""
    original: Callable[..., Any] = getattr(os, point)
    calls = itertools.count(1)

    def halting(*args: Any) -> None:
        is_folder = point == "fsync" and stat.S_ISDIR(os.fstat(args[0]).st_mode)
        if not is_folder and next(calls) == number:
            print("halted", flush=True)
            sys.stdin.readline()
        original(*args)

    setattr(os, point, halting)


def main(path: Path, *options: str) -> None:
    if "in-place" in options:
        checkpoint.write_atomically = in_place
    for point in ("fsync", "replace"):
        if point in options:
            halt_in(point, 5 if "in-place" in options else 3)
    for i in itertools.count():
        save(path, {"a": np.full(SIZE, i, "float32"), "b": np.full((2, 3), i, "int64")}, {"i": str(i)})
        print("saved", i, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
