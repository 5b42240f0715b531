"""Linux's Landlock: from here on this process opens nothing but what it is given. Needs no root; Linux 5.13 or newer.

What Landlock does not refuse: to ask whether a file exists, how large it is and whose (stat). Rights, owners and times of files are
guarded by seccomp.py.

Source: Linux, Documentation/userspace-api/landlock.rst and include/uapi/linux/landlock.h.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
import sys
from collections.abc import Iterable
from pathlib import Path

_CREATE, _ADD, _RESTRICT = 444, 445, 446  # system calls, the same on every architecture

_WRITE_FILE, _READ_FILE, _READ_FOLDER, _TRUNCATE = 1 << 1, 1 << 2, 1 << 3, 1 << 14
_REMOVE_FOLDER, _REMOVE_FILE, _MAKE_FOLDER, _MAKE_FILE = 1 << 4, 1 << 5, 1 << 7, 1 << 8
_OF_A_FILE = _WRITE_FILE | _READ_FILE | _TRUNCATE
READ = _READ_FILE | _READ_FOLDER
WRITE = (
    READ | _WRITE_FILE | _TRUNCATE | _REMOVE_FOLDER | _REMOVE_FILE | _MAKE_FOLDER | _MAKE_FILE
)  # and no links, devices, sockets

# What a version knows. Everything known is handled, that is, refused unless a rule allows it.
_FILE_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
_NETWORK = 3  # since 4: bind and connect, TCP
_SCOPES = 3  # since 6: abstract sockets, signals


def version() -> int:
    """Of Landlock on this machine; 0 if there is none."""
    if sys.platform != "linux":
        return 0
    return max(0, _call(_CREATE, None, 0, 1))


def restrict(readable: Iterable[Path], writable: Iterable[Path]) -> int:
    """Locks this thread, and those it will start, in; for good. Returns the version, or 0 if nothing was done.

    Folders are meant with all that is below them; what does not exist is left out. Raises OSError if the kernel has Landlock and refuses.
    """
    have = version()
    if not have:
        return 0
    handled = max(rights for since, rights in _FILE_RIGHTS.items() if since <= have)
    fields = [handled, *([_NETWORK] if have >= 4 else []), *([_SCOPES] if have >= 6 else [])]
    attributes = struct.pack(f"={len(fields)}Q", *fields)
    rules = _call(_CREATE, attributes, len(attributes), 0)
    if rules < 0:
        raise OSError(ctypes.get_errno(), "Landlock gives no set of rules")
    try:
        for paths, rights in ((readable, READ), (writable, WRITE)):
            for path in paths:
                _allow(rules, path, rights & handled)
        libc = ctypes.CDLL(None, use_errno=True)
        if (
            libc.prctl(38, 1, 0, 0, 0) != 0 or _call(_RESTRICT, rules, 0) != 0
        ):  # PR_SET_NO_NEW_PRIVS first: it is asked for
            raise OSError(ctypes.get_errno(), "Landlock does not lock")
    finally:
        os.close(rules)
    return have


def _allow(rules: int, path: Path, rights: int) -> None:
    try:
        at = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(at).st_mode):
            rights &= _OF_A_FILE
        if _call(_ADD, rules, 1, struct.pack("=Qi", rights, at), 0) != 0:
            raise OSError(ctypes.get_errno(), f"Landlock takes no rule for {path}")
    finally:
        os.close(at)


def _call(number: int, *arguments: int | bytes | None) -> int:
    """A system call that the C library has no function for."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    as_c = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return int(libc.syscall(ctypes.c_long(number), *as_c))
