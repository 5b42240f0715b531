"""What runs in the process of one submission: it locks itself in, then runs the file, and sends what came out. It judges nothing.

The first message says which locks are on. It is sent before any line of the submission runs, so it can be believed; of the others,
the numbers are believed only as far as they are right.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import json
import os
import signal
import struct
import sys
import sysconfig
from pathlib import Path
from typing import Any

import numpy as np

from ..calls import call_all, cases_of
from ..catalogue import load
from ..limits import framed, limit, write
from ..submission import load_function
from . import audit, landlock, seccomp

MOST_OF_A_FILE = 16 << 20  # bytes
MOST_OPEN = 64
SYSTEM = (
    *("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache", "/usr/share/zoneinfo"),
    *("/dev/urandom", "/sys/devices/system/cpu"),
)


def main(told: dict[str, Any]) -> None:
    """Never returns. told: exercise, file, copy, seed, seconds, memory."""
    out = os.dup(1)
    if sys.platform == "win32":
        import msvcrt

        msvcrt.setmode(out, os.O_BINARY)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1):
        os.dup2(nothing, descriptor)
    exercise = load(told["exercise"])
    cases_of(exercise, told["seed"])  # whatever they import, while files can be read
    path = Path(told["copy"]) / told["file"]
    locks = lock(Path(told["copy"]), told["seconds"], told["memory"])
    write(out, framed(json.dumps(locks).encode()))
    os.dup2(nothing, 2)  # until here an error is the grader's, and it reads it
    call_all(
        exercise,
        lambda: load_function(path, exercise.name),
        told["seed"],
        lambda message: write(out, framed(message)),
    )
    write(out, framed(b""))
    os._exit(0)


def lock(copy: Path, seconds: float, memory: int) -> dict[str, Any]:
    """Every lock that this machine has, for good. Returns which."""
    readable, writable = [*readable_paths(), copy], [copy, Path(os.devnull)]
    limited = sys.platform == "linux"
    if limited:
        if len(os.listdir("/proc/self/task")) != 1:
            raise RuntimeError("a second thread is running already: it would stay outside the locks")
        limit(seconds, memory)
        _limit_files()
        drop_capabilities()
        ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG: it ends when the grader does
    locks = {
        "limits": limited,
        "landlock": landlock.restrict(readable, writable),
        "seccomp": seccomp.install(),
        "audit": True,
    }
    audit.install(readable, writable)
    return locks


def readable_paths() -> list[Path]:
    """Python, its libraries, NumPy, this package, and what the system's loader reads."""
    found = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    found += [str(Path(module.__file__).parent) for module in (np, sys.modules["tinyresnet"]) if module.__file__]
    kernels = importlib.util.find_spec("tinyresnet.kernels")
    found += list((kernels.submodule_search_locations if kernels is not None else None) or [])
    found += [path for path in sys.path if path.endswith(("site-packages", "dist-packages", ".zip", "DLLs"))]
    if sys.prefix != sys.base_prefix:  # a virtual environment
        found.append(sys.prefix)
    found.append(str(Path(sys.base_prefix) / "lib"))
    return [Path(path).resolve() for path in dict.fromkeys([*found, *SYSTEM]) if path]


def _limit_files() -> None:
    import resource

    for which, most in (
        (resource.RLIMIT_FSIZE, MOST_OF_A_FILE),
        (resource.RLIMIT_NOFILE, MOST_OPEN),
        (resource.RLIMIT_NPROC, 1),
    ):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(which, (most, most))


def drop_capabilities() -> None:
    """What root may do beyond others, but for reading and writing files whatever their rights say: Landlock limits that."""
    keep = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    libc = ctypes.CDLL(None, use_errno=True)
    header = struct.pack("=Ii", 0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this process
    now = ctypes.create_string_buffer(24)
    if libc.capget(header, now) != 0:
        return
    effective, permitted, *_ = struct.unpack("=6I", now.raw)
    libc.capset(header, struct.pack("=6I", effective & keep, permitted & keep, 0, 0, 0, 0))
