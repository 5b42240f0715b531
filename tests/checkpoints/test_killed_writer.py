"""kill -9 in the middle of saving, for real: what is there is a whole checkpoint, and the next save cleans up."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinyresnet.checkpoints import load, save

pytest.importorskip("safetensors")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
PROGRAM = Path(__file__).with_name("endless_writer.py")


@contextmanager
def writer(path: Path, *options: str) -> Iterator[Any]:
    """The process; it is killed at the end of the block, if not before."""
    command = [sys.executable, str(PROGRAM), str(path), *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def lines_until(process: Any, wanted: str) -> list[str]:
    """What it says, up to that line."""
    said: list[str] = []
    while not said or said[-1] != wanted:
        line = process.stdout.readline()
        assert line, f"the writer ended; it had said {said}"
        said.append(line.strip())
    return said


def whole(path: Path) -> int:
    """The number of the checkpoint, which must be in every place of it."""
    found = load(path)
    number = int(found.metadata["i"])
    assert sorted(found.arrays) == ["a", "b"] and all((array == number).all() for array in found.arrays.values())
    return number


def temporary_files(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if name.endswith(".tmp")]


def save_another(path: Path) -> None:
    save(path, {"a": np.full(3, 77, "float32"), "b": np.full((2, 3), 77, "int64")}, {"i": "77"})
    assert whole(path) == 77


@pytest.mark.parametrize("saves", [1, 4, 9])
def test_killed_while_it_saves_and_saves(tmp_path: Path, saves: int) -> None:
    path = tmp_path / "last.safetensors"
    with writer(path) as process:
        lines_until(process, f"saved {saves}")
    assert whole(path) >= saves
    save_another(path)
    assert temporary_files(tmp_path) == []


@pytest.mark.parametrize("point", ["fsync", "replace"])
def test_killed_in_the_middle_of_the_third_save(tmp_path: Path, point: str) -> None:
    """Written, but not renamed: the second one is there. A process that still lives keeps its temporary file."""
    path = tmp_path / "last.safetensors"
    with writer(path, point) as process:
        assert lines_until(process, "halted") == ["saved 0", "saved 1", "halted"]
        in_the_middle = temporary_files(tmp_path)
        assert len(in_the_middle) == 1 and str(process.pid) in in_the_middle[0]
        assert whole(path) == 1
        save_another(path)
        assert temporary_files(tmp_path) == in_the_middle
    assert whole(path) == 77 and temporary_files(tmp_path) == in_the_middle
    save_another(path)
    assert temporary_files(tmp_path) == []


def test_a_writer_that_was_held_up_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    with writer(path, "replace") as process:
        lines_until(process, "halted")
        save_another(path)
        process.stdin.write("\n")
        process.stdin.flush()
        lines_until(process, "saved 3")
    assert whole(path) >= 3


def test_writing_in_place_is_seen(tmp_path: Path) -> None:
    """The fifth fsync of the planted mistake is in the middle of the third checkpoint."""
    path = tmp_path / "last.safetensors"
    with writer(path, "fsync", "in-place") as process:
        assert lines_until(process, "halted") == ["saved 0", "saved 1", "halted"]
    with pytest.raises(ValueError, match="last.safetensors is damaged"):
        whole(path)
