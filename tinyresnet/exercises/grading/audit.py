"""A lock in Python itself: whatever Python is about to do that has a name for auditors is looked at, and refused if it leads outside.

It works on every platform and needs nothing of the system. It is the weaker lock: it sees what goes through Python, and code that is
determined enough can get round it from inside the process. So it is the second one where Linux has better, and elsewhere the only one.

Source: PEP 578; the events are those of the Python documentation's audit events table.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

REFUSED = (
    "os.fork", "os.forkpty", "os.exec", "os.spawn", "os.posix_spawn", "os.system", "os.startfile", "os.kill", "os.killpg", "pty.spawn",
    "subprocess.Popen", "socket.", "ctypes.", "_winapi.", "winreg.", "webbrowser.open", "urllib.Request", "http.client.", "ftplib.",
    "smtplib.", "signal.pthread_kill", "os.chmod", "os.chown", "os.link", "os.symlink", "os.setxattr", "os.removexattr", "os.utime",
    "os.chflags", "os.lockf", "resource.", "syslog.", "fcntl.", "sys.addaudithook", "cpython._PySys_ClearAuditHooks", "gc.get_objects",
    "gc.get_referrers", "gc.get_referents", "msvcrt.", "shutil.chown", "pdb.Pdb",
)  # fmt: skip
WRITTEN = {"os.remove", "os.rmdir", "os.mkdir", "os.rename", "os.truncate", "sqlite3.connect"}
READ = {"os.listdir", "os.scandir", "os.chdir"}  # os.walk, glob and shutil end in these


class Outside(PermissionError):
    """What a submission is refused."""


def install(readable: Iterable[Path], writable: Iterable[Path]) -> None:
    """For good, and for every thread of this process."""
    sys.addaudithook(hook(_whole(readable), _whole(writable)))


def _whole(paths: Iterable[Path]) -> tuple[str, ...]:
    return tuple(os.path.realpath(path) for path in paths)


def hook(readable: tuple[str, ...], writable: tuple[str, ...]) -> Callable[[str, tuple[Any, ...]], None]:
    """The function that is asked. Everything that it needs it holds itself: what is patched in a module does not reach it."""
    realpath, fsdecode, separator = os.path.realpath, os.fsdecode, os.sep
    write_flags = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    text = (str, bytes, os.PathLike)
    every = (*readable, *writable)
    written, looked_at, refused, error = frozenset(WRITTEN), frozenset(WRITTEN | READ), tuple(REFUSED), Outside

    def inside(path: Any, roots: tuple[str, ...]) -> bool:
        if not isinstance(path, text):
            return True  # a descriptor: it has been opened already
        whole = realpath(fsdecode(path))
        return any(whole == root or whole.startswith(root + separator) for root in roots)

    def ask(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if not inside(path, writable if isinstance(flags, int) and flags & write_flags else every):
                raise error(f"outside the submission's folder: {path!r}")
        elif event in looked_at:
            roots = writable if event in written else every
            if not all(inside(path, roots) for path in arguments[:2] if path is not None):
                raise error(f"outside the submission's folder: {event} {arguments[0]!r}")
        elif event.startswith(refused):
            raise error(f"a submission may not do that: {event}")

    return ask
