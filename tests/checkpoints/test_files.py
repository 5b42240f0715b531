"""write_atomically: whatever goes wrong, the old file or the new one is there, whole, and nothing else."""

from __future__ import annotations

import builtins
import errno
import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tinyresnet.checkpoints import files, write_atomically

Writer = Callable[[Path, bytes], None]
OLD, NEW = b"old " * 1000, b"new " * 2000


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A file of its own folder, with something in it."""
    path = tmp_path / "last.safetensors"
    path.write_bytes(OLD)
    return path


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_it_writes(target: Path) -> None:
    write_atomically(target, NEW)
    assert target.read_bytes() == NEW
    write_atomically(str(target), b"")
    assert target.read_bytes() == b""
    write_atomically(target.with_name("another"), OLD)
    assert target.with_name("another").read_bytes() == OLD and names(target.parent) == ["another", target.name]


# ---- what goes wrong ------------------------------------------------------------------------------------------------------
class Half:
    """A file that takes half of what it is given, and then the disk is full."""

    def __init__(self, file: Any, error: BaseException, point: str) -> None:
        self.file, self.error, self.point = file, error, point

    def __enter__(self) -> Half:
        return self

    def __exit__(self, *args: Any) -> None:
        self.file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def write(self, data: bytes) -> None:
        self.file.write(data[: len(data) // 2])
        if self.point == "write":
            raise self.error
        self.file.write(data[len(data) // 2 :])

    def flush(self) -> None:
        self.file.flush()
        if self.point == "flush":
            raise self.error


POINTS = ("open", "write", "flush", "fsync", "replace")
ERRORS = (
    OSError(errno.ENOSPC, "No space left on device"),
    PermissionError(errno.EACCES, "no"),
    KeyboardInterrupt(),
    MemoryError(),
)


def breaking(monkeypatch: pytest.MonkeyPatch, point: str, error: BaseException) -> None:
    """From now on the writing of a file raises `error` there."""

    def fail(*args: Any, **kwargs: Any) -> Any:
        raise error

    def broken_open(*args: Any, **kwargs: Any) -> Any:
        return fail() if point == "open" else Half(builtins.open(*args, **kwargs), error, point)

    monkeypatch.setattr(files, "open", broken_open, raising=False)
    if point in ("fsync", "replace"):
        monkeypatch.setattr(os, point, fail)


def assert_all_or_nothing(writer: Writer, target: Path, point: str, error: BaseException) -> None:
    """The writer fails there, passes the error on, and leaves the old file and no other."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        breaking(monkeypatch, point, error)
        with pytest.raises(type(error)) as caught:
            writer(target, NEW)
    assert caught.value is error
    assert target.read_bytes() == OLD
    assert names(target.parent) == [target.name]
    writer(target, NEW)
    assert target.read_bytes() == NEW


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("point", POINTS)
def test_a_failure_leaves_the_old_file_and_nothing_else(target: Path, point: str, error: BaseException) -> None:
    assert_all_or_nothing(write_atomically, target, point, error)
    assert not files._being_written


@pytest.mark.parametrize("point", POINTS)
def test_a_failure_of_the_first_writing_leaves_nothing(tmp_path: Path, point: str) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        breaking(monkeypatch, point, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            write_atomically(tmp_path / "new", NEW)
    assert names(tmp_path) == []


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "none" / "file", NEW)
    assert names(tmp_path) == []


def test_a_folder_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(OSError):
        write_atomically(tmp_path / "run", NEW)
    assert names(tmp_path) == ["run"]


# ---- planted mistakes -----------------------------------------------------------------------------------------------------
def in_place(path: Path, data: bytes) -> None:
    with getattr(files, "open", open)(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def leaves_its_temporary_file(path: Path, data: bytes) -> None:
    temporary = path.with_suffix(".tmp")
    in_place(temporary, data)
    os.replace(temporary, path)


def cleans_up_after_errors_alone(path: Path, data: bytes) -> None:
    """Ctrl-C is no Exception."""
    try:
        leaves_its_temporary_file(path, data)
    except Exception:
        path.with_suffix(".tmp").unlink(missing_ok=True)
        raise


def removes_the_old_one_first(path: Path, data: bytes) -> None:
    path.unlink()
    write_atomically(path, data)


@pytest.mark.parametrize(
    ("mistake", "point", "error"),
    [
        (in_place, "write", ERRORS[0]),
        (in_place, "write", KeyboardInterrupt()),
        (leaves_its_temporary_file, "write", ERRORS[0]),
        (leaves_its_temporary_file, "replace", ERRORS[0]),
        (cleans_up_after_errors_alone, "fsync", KeyboardInterrupt()),
        (removes_the_old_one_first, "write", ERRORS[0]),
    ],
)
def test_a_mistake_is_seen(target: Path, mistake: Writer, point: str, error: BaseException) -> None:
    with pytest.raises((AssertionError, FileNotFoundError)):
        assert_all_or_nothing(mistake, target, point, error)


# ---- on the disk ----------------------------------------------------------------------------------------------------------
def assert_on_the_disk_before_the_rename(writer: Writer, target: Path) -> None:
    """All of the data is handed to the disk, then the file renamed, then its folder handed to the disk."""
    happened: list[Any] = []
    fsync, replace = os.fsync, os.replace

    def seen_fsync(descriptor: int) -> None:
        about = os.fstat(descriptor)
        is_folder = about.st_ino == target.parent.stat().st_ino
        happened.append("folder" if is_folder else about.st_size)
        fsync(descriptor)

    def seen_replace(*args: Any) -> None:
        happened.append("rename")
        replace(*args)

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(os, "fsync", seen_fsync)
        monkeypatch.setattr(os, "replace", seen_replace)
        writer(target, NEW)
    assert happened == [len(NEW), "rename", "folder"]


def not_flushed(path: Path, data: bytes) -> None:
    with open(path.with_suffix(".tmp"), "wb") as file:
        file.write(data[:10])
        os.fsync(file.fileno())
        file.write(data[10:])
    os.replace(path.with_suffix(".tmp"), path)
    files._sync_folder(path.parent)


def not_synced(path: Path, data: bytes) -> None:
    path.with_suffix(".tmp").write_bytes(data)
    os.replace(path.with_suffix(".tmp"), path)
    files._sync_folder(path.parent)


@pytest.mark.skipif(os.name != "posix", reason="folders have no fsync here")
def test_the_data_are_on_the_disk_before_the_rename(target: Path) -> None:
    assert_on_the_disk_before_the_rename(write_atomically, target)
    for mistake in (not_flushed, not_synced, leaves_its_temporary_file):
        with pytest.raises(AssertionError):
            assert_on_the_disk_before_the_rename(mistake, target)


def fsync_of_folders_raises(monkeypatch: pytest.MonkeyPatch, folder: Path, number: int) -> None:
    fsync = os.fsync

    def fail_for_the_folder(descriptor: int) -> None:
        if os.fstat(descriptor).st_ino == folder.stat().st_ino:
            raise OSError(number, os.strerror(number))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fail_for_the_folder)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_fsync_is_written_to(target: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    fsync_of_folders_raises(monkeypatch, target.parent, number)
    write_atomically(target, NEW)
    assert target.read_bytes() == NEW

    def no_fsync(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", no_fsync)
    write_atomically(target, OLD)
    assert target.read_bytes() == OLD


@pytest.mark.skipif(os.name != "posix", reason="folders have no fsync here")
def test_a_failing_disk_is_told(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync_of_folders_raises(monkeypatch, target.parent, errno.EIO)
    with pytest.raises(OSError) as caught:
        write_atomically(target, NEW)
    assert caught.value.errno == errno.EIO and target.read_bytes() == NEW and names(target.parent) == [target.name]


@pytest.mark.skipif(os.name != "posix", reason="folders have no fsync here")
def test_a_folder_that_may_not_be_listed_is_written_to(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> Any:
        raise PermissionError(errno.EACCES, "no")

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(Path, "iterdir", refuse)
    write_atomically(target, NEW)
    assert target.read_bytes() == NEW


# ---- leftovers ------------------------------------------------------------------------------------------------------------
def dead_process() -> int:
    with subprocess.Popen([sys.executable, "-S", "-c", ""]) as process:
        process.wait()
    return process.pid


@pytest.mark.skipif(os.name != "posix", reason="whether a process lives cannot be asked here")
def test_leftovers_of_dead_processes_are_removed_before_anything_is_written(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = [
        f".{target.name}.{dead_process()}-0.tmp",
        f".{target.name}.{os.getpid()}-123456789.tmp",  # of an earlier process with our number, as in a container
    ]
    kept = [
        f".{target.name}.{os.getppid()}-0.tmp",  # that process lives
        f".{target.name}.1-0.tmp",  # somebody else's, maybe
        f".{target.name}.12345678901234567890-0.tmp",  # no process has such a number
        f".{target.name}.x-0.tmp",
        f".{target.name}.tmp",
        f".other.{dead_process()}-0.tmp",
        f"{target.name}.{dead_process()}-0.tmp",
    ]
    for name in (*left, *kept):
        (target.parent / name).write_bytes(b"half")
    here_at_the_opening: list[str] = []

    def seen_open(*args: Any) -> Any:
        here_at_the_opening.extend(names(target.parent))
        return builtins.open(*args)

    monkeypatch.setattr(files, "open", seen_open, raising=False)
    write_atomically(target, NEW)
    assert here_at_the_opening == names(target.parent) == sorted([*kept, target.name])


def test_a_leftover_that_cannot_be_removed_is_in_nobodys_way(target: Path) -> None:
    (target.parent / f".{target.name}.{os.getpid()}-7.tmp").mkdir()
    write_atomically(target, NEW)
    assert target.read_bytes() == NEW


# ---- two at a time --------------------------------------------------------------------------------------------------------
def written_by_two_threads(target: Path) -> list[BaseException]:
    """Both have their temporary files open when the first of them goes on. What they raised."""
    barrier, first, raised = threading.Barrier(2, timeout=60), threading.local(), []
    fsync = os.fsync

    def meeting_fsync(descriptor: int) -> None:
        if not hasattr(first, "met"):
            first.met = True
            barrier.wait()
        fsync(descriptor)

    def write(data: bytes) -> None:
        try:
            write_atomically(target, data)
        except BaseException as error:
            raised.append(error)

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(os, "fsync", meeting_fsync)
        threads = [threading.Thread(target=write, args=(data,)) for data in (NEW, NEW[::-1])]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return raised


def test_two_threads_may_write_one_file(target: Path) -> None:
    assert written_by_two_threads(target) == []
    assert target.read_bytes() in (NEW, NEW[::-1]) and names(target.parent) == [target.name]


def test_one_name_for_both_threads_is_seen(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_attempts", itertools.repeat(0))
    assert [type(error) for error in written_by_two_threads(target)] == [FileNotFoundError]


# ---- links ----------------------------------------------------------------------------------------------------------------
def link(path: Path, to: Path | str) -> Path:
    try:
        path.symlink_to(to)
    except OSError:  # Windows asks for a privilege
        pytest.skip("links cannot be made here")
    return path


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    target = tmp_path / "store" / "file"
    target.write_bytes(OLD)
    write_atomically(link(tmp_path / "link", Path("store") / "file"), NEW)
    assert target.read_bytes() == NEW and (tmp_path / "link").is_symlink()
    assert names(tmp_path) == ["link", "store"] and names(tmp_path / "store") == ["file"]


def test_a_link_to_what_is_not_there_yet(tmp_path: Path) -> None:
    write_atomically(link(tmp_path / "link", "file"), NEW)
    assert (tmp_path / "file").read_bytes() == NEW and (tmp_path / "link").is_symlink()
