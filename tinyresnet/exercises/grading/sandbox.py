"""One exercise of one submission, run in a process of its own: started, watched, ended.

The process is a new Python (-I: no environment, no user's site, no current folder), not a fork of the grader: nothing of the grader's
memory is in it. It gets a fresh copy of the submission, which is thrown away afterwards.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from ..limits import take

MOST_SENT, MOST_MESSAGES = 16 << 20, 1000  # bytes of all messages together; no exercise has so many calls
MOST_WRITTEN, MOST_ENTRIES = 64 << 20, 5000  # bytes and files that may be in the copy
START = 120.0  # seconds until the locks are on: Python and NumPy are loaded by then
LOOK = 0.05  # seconds between two looks
KEPT = ("LD_LIBRARY_PATH", "SYSTEMROOT", "OPENBLAS_CORETYPE")  # of the environment: what the libraries need to load

_BOOT = (
    "import json, sys; told = json.loads(sys.argv[1]); "
    "sys.path.insert(0, told['ours']); sys.path.append(told['numpys']); "  # this very package, whatever else is installed
    "from tinyresnet.exercises.grading.child import main; main(told)"
)


class Ran(NamedTuple):
    """What came of it."""

    messages: list[bytes]  # of call_all, without the first, which is `locks`
    reason: str  # "" whole; "time", "died", "written" (too much on the disk), "sent" (too much, or no message), "start", "stopped"
    locks: dict[str, Any]  # empty if it did not get so far
    said: str = ""  # what the grader's own part of it said on stderr before it failed
    seconds: float = float("nan")  # that the submission ran


class Limits(NamedTuple):
    """Of one run."""

    seconds: float
    memory: int  # bytes


def run(
    stage: Path, file: str, exercise: str, seed: int, limits: Limits, stop: Callable[[], bool] = lambda: False
) -> Ran:
    """Runs the function `exercise` of `stage`/`file` in a copy of `stage`. Never raises for anything that the submission does."""
    with _copy_of(stage) as copy:
        told = {
            "ours": _place_of("tinyresnet"),
            "numpys": _place_of("numpy"),
            "exercise": exercise,
            "file": file,
            "copy": str(copy),
            "seed": seed,
            "seconds": limits.seconds,
            "memory": limits.memory,
        }
        process = subprocess.Popen(
            [sys.executable, "-I", "-B", "-X", "utf8", "-c", _BOOT, json.dumps(told)],
            cwd=copy,
            env=_environment(copy),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            reader = _Reader(process)
            reason, seconds = _watch(process, reader, copy, limits, stop)
        finally:
            _end(process)
        reader.thread.join(5)
        return _what_came(process, reader, reason)._replace(seconds=seconds)


class _Reader:
    """Reads the messages in a thread: a pipe cannot be waited for with a time limit on every platform."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.messages: list[bytes] = []
        self.ended: bool | None = None
        self._process = process
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        buffer = bytearray()
        with contextlib.suppress(OSError, ValueError):
            while self.ended is None:
                more = os.read(self._process.stdout.fileno(), 1 << 16)
                if not more:
                    return
                buffer += more
                self.ended = take(buffer, self.messages, MOST_SENT)
                if len(self.messages) > MOST_MESSAGES:
                    self.ended = False


def _watch(
    process: subprocess.Popen[bytes], reader: _Reader, copy: Path, limits: Limits, stop: Callable[[], bool]
) -> tuple[str, float]:
    """Waits for its end, or for a reason to end it. Returns the reason, and the seconds that the submission has run."""
    begin, allowed, started = time.monotonic(), START, False
    while True:
        reader.thread.join(LOOK)
        now = time.monotonic()
        if not started and reader.messages:  # the locks are on: from here the time is the submission's
            begin, allowed, started = now, limits.seconds, True
        gone = process.poll() is not None
        if gone:
            reader.thread.join(1)  # what is still in the pipe
        if gone or not reader.thread.is_alive():
            return "" if reader.ended else "sent" if reader.ended is False else "died", now - begin
        if stop():
            return "stopped", now - begin
        if now - begin > allowed:
            return "time" if started else "start", now - begin
        if started and _too_much_in(copy):
            return "written", now - begin


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)  # it began a session: whatever it may have started, too
    process.kill()
    process.wait()


def _what_came(process: subprocess.Popen[bytes], reader: _Reader, reason: str) -> Ran:
    assert process.stdout is not None and process.stderr is not None
    with process.stdout, process.stderr:
        if reader.messages:
            if reason == "died" and sys.platform != "win32" and process.returncode == -signal.SIGXCPU:
                reason = "time"
            return Ran(reader.messages[1:], reason, json.loads(reader.messages[0]))
        said = process.stderr.read(1 << 16).decode(errors="replace").strip()
        last = said.rpartition("\n")[2][:300]
        return Ran([], reason if reason == "stopped" else "start", {}, last)


# ---- around it ---------------------------------------------------------------------------------------------------------
def _place_of(package: str) -> str:
    """The folder that it is in: -I may not find it, or may find another."""
    file = sys.modules[package].__file__
    assert file is not None
    return str(Path(file).parents[1])


def _environment(copy: Path) -> dict[str, str]:
    threads = {f"{name}_THREADS": "1" for name in ("OPENBLAS_NUM", "OMP_NUM", "MKL_NUM", "VECLIB_MAXIMUM")}
    return {
        **{name: os.environ[name] for name in KEPT if name in os.environ},
        **threads,
        "HOME": str(copy),
        "TMPDIR": str(copy),
        "LANG": "C.UTF-8",
        "MPLBACKEND": "Agg",
        "TINYRESNET_BACKEND": "numpy",
        "TINYRESNET_PROGRESS": "",
    }


@contextlib.contextmanager
def _copy_of(stage: Path) -> Any:
    above = Path(tempfile.mkdtemp(prefix="tinyresnet-grade-")).resolve()
    try:
        copy = above / "work"
        shutil.copytree(stage, copy)
        yield copy
    finally:
        remove(above)


def remove(folder: Path) -> None:
    """Removes a folder that somebody hostile may have filled."""

    def again(function: Callable[..., Any], path: str, _: Any) -> None:
        with contextlib.suppress(OSError):
            os.chmod(os.path.dirname(path), 0o700)
            os.chmod(path, 0o700)
            function(path)

    try:
        retry: dict[str, Any] = {"onexc" if sys.version_info >= (3, 12) else "onerror": again}
        shutil.rmtree(folder, **retry)
    except RecursionError:
        pass
    if folder.exists() and os.name == "posix":  # folders in folders, by the thousand
        subprocess.run(["rm", "-rf", "--", str(folder)], check=False, stderr=subprocess.DEVNULL)


def _too_much_in(folder: Path) -> bool:
    """Whether more has been written than one may."""
    left, entries, folders = MOST_WRITTEN, 0, [str(folder)]
    while folders:
        try:
            with os.scandir(folders.pop()) as inside:
                for entry in inside:
                    entries += 1
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    else:
                        left -= entry.stat(follow_symlinks=False).st_size
                    if left < 0 or entries > MOST_ENTRIES:
                        return True
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue  # removed meanwhile, or not to be read
        except OSError:  # a path too long for the system
            return True
    return False
