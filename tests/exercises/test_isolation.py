"""The locks of a graded process, each by itself: what it refuses is first shown to work without it."""

from __future__ import annotations

import functools
import json
import os
import signal
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tinyresnet.exercises.grading import audit, child, landlock, sandbox, seccomp

pytestmark = [
    pytest.mark.host_only,
    pytest.mark.skipif(sys.platform != "linux", reason="the locks of the system are Linux's"),
]

# Runs in a process of its own. Every action is tried; what it raised, or "done", is printed.
ACTIONS = """
import ctypes, json, os, signal, socket, subprocess, sys, resource
from pathlib import Path
from tinyresnet.exercises.grading import audit, child, landlock, seccomp

outside, copy, lock, victim = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
libc = ctypes.CDLL(None, use_errno=True)

def c(result):
    if result == -1:
        raise OSError(ctypes.get_errno(), "refused")

def fork():
    if (pid := os.fork()) == 0:
        os._exit(0)
    os.waitpid(pid, 0)

actions = {
    "read": lambda: (outside / "secret.txt").read_text(),
    "read_through_a_link": lambda: (copy / "link").read_text(),
    "read_by_dots": lambda: (copy / ".." / outside.name / "secret.txt").read_text(),
    "list": lambda: os.listdir(outside),
    "write": lambda: (outside / "secret.txt").write_text("changed"),
    "append": lambda: open(outside / "secret.txt", "a").close(),
    "make": lambda: (outside / "new.txt").write_text("new"),
    "make_folder": lambda: (outside / "new").mkdir(),
    "remove": lambda: (outside / "spare.txt").unlink(),
    "rename": lambda: (outside / "other.txt").rename(copy / "taken.txt"),
    "hard_link": lambda: os.link(outside / "secret.txt", copy / "hard"),
    "truncate": lambda: os.truncate(outside / "secret.txt", 1),
    "c_read": lambda: c(libc.open(str(outside / "secret.txt").encode(), os.O_RDONLY)),
    "change_rights": lambda: os.chmod(outside / "secret.txt", 0o777),
    "change_times": lambda: os.utime(outside / "secret.txt", (1, 1)),
    "c_change_rights": lambda: c(libc.chmod(str(outside / "secret.txt").encode(), 0o644)),
    "fork": fork,
    "c_fork": lambda: c(libc.syscall(57)) if os.uname().machine == "x86_64" and lock == "seccomp" else fork(),
    "start": lambda: subprocess.run(["true"], check=True),
    "system": lambda: c(-(os.system("true") != 0)),
    "socket": lambda: socket.socket().close(),
    "connect": lambda: socket.create_connection(("127.0.0.1", int(sys.argv[5])), 5).close(),
    "signal": lambda: os.kill(victim, 0) or os.kill(victim, signal.SIGUSR1),
    "c_signal": lambda: c(libc.kill(victim, signal.SIGUSR1)),
    "limit_another": lambda: resource.prlimit(victim, resource.RLIMIT_CORE, (0, 0)),
    "slow_another": lambda: os.setpriority(os.PRIO_PROCESS, victim, 19),
    "new_namespace": lambda: c(libc.unshare(0x10000000)),
    "own_file": lambda: (copy / "mine.txt").write_text("mine") and (copy / "mine.txt").read_text(),
    "own_folder": lambda: (copy / "folder").mkdir(),
    "python": lambda: Path(os.__file__).read_bytes(),
    "signal_oneself": lambda: signal.raise_signal(signal.SIGUSR1),
    "random": lambda: os.urandom(4),
    "nothing": lambda: open(os.devnull, "w").close(),
}
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
readable, writable = [*child.readable_paths(), copy], [copy, Path(os.devnull)]
if lock == "landlock":
    assert landlock.restrict(readable, writable) == landlock.version()
elif lock == "seccomp":
    assert seccomp.install()
elif lock == "audit":
    audit.install(readable, writable)
elif lock == "all":
    child.lock(copy, 60, 1 << 30)
found = {}
for name, action in actions.items():
    try:
        action()
        found[name] = "done"
    except BaseException as error:
        found[name] = type(error).__name__
print(json.dumps(found))
"""

FILES = {
    "read",
    "read_through_a_link",
    "read_by_dots",
    "list",
    "write",
    "append",
    "make",
    "make_folder",
    "remove",
    "rename",
}
OURS = {"own_file", "own_folder", "python", "signal_oneself", "random", "nothing"}
LANDLOCK = FILES | {"hard_link", "truncate", "c_read"}
SECCOMP = {
    *("fork", "c_fork", "start", "system", "socket", "connect", "signal", "c_signal", "limit_another", "slow_another"),
    *("change_rights", "change_times", "c_change_rights", "truncate", "new_namespace"),
}
AUDIT = FILES | {
    "hard_link",
    "truncate",
    "change_rights",
    "change_times",
    "fork",
    "start",
    "system",
    "socket",
    "connect",
    "signal",
}


@functools.cache
def tried(lock: str) -> dict[str, str]:
    """Every action in a process with this lock alone; "none" is the control."""
    import socket

    with tempfile.TemporaryDirectory() as above, socket.create_server(("127.0.0.1", 0)) as server:
        outside, copy = Path(above, "outside").resolve(), Path(above, "copy").resolve()
        outside.mkdir()
        copy.mkdir()
        for name in ("secret", "spare", "other"):
            (outside / f"{name}.txt").write_text(name)
        (copy / "link").symlink_to(outside / "secret.txt")
        victim = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
        try:
            arguments = [str(outside), str(copy), lock, str(victim.pid), str(server.getsockname()[1])]
            done = subprocess.run(
                [sys.executable, "-c", ACTIONS, *arguments],
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
            )
        finally:
            victim.kill()
            victim.wait()
        assert done.returncode == 0, done.stderr
        found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
        if lock == "all":
            assert (outside / "secret.txt").read_text() == "secret" and len(list(outside.iterdir())) == 3
        return found


def refused_by(lock: str) -> set[str]:
    return {name for name, came in tried(lock).items() if came != "done"}


@pytest.fixture(autouse=True)
def _needs(request: pytest.FixtureRequest) -> Iterator[None]:
    name = request.node.name
    if "landlock" in name and not landlock.version():
        pytest.skip("this kernel has no Landlock")
    if "seccomp" in name and seccomp.architecture() is None:
        pytest.skip("no seccomp filter for this architecture")
    yield


def test_without_a_lock_everything_works() -> None:
    """Else the tests below would show nothing. (Not everybody may make a namespace.)"""
    assert refused_by("none") <= {"new_namespace"}


def test_landlock_refuses_files_outside() -> None:
    assert refused_by("landlock") >= LANDLOCK and not refused_by("landlock") & OURS
    assert landlock.version() < 6 or {"signal", "c_signal"} <= refused_by("landlock")
    assert landlock.version() < 4 or "connect" in refused_by("landlock")


def test_seccomp_refuses_processes_network_signals_and_rights() -> None:
    assert refused_by("seccomp") >= SECCOMP and not refused_by("seccomp") & OURS


def test_the_audit_hook_refuses_what_goes_through_python() -> None:
    assert refused_by("audit") >= AUDIT and not refused_by("audit") & OURS


def test_all_together_refuse_everything_outside_and_nothing_inside() -> None:
    assert set(tried("all")) - refused_by("all") == OURS


# ---- the filter's program, interpreted here: the other architecture too ------------------------------------------------------
ALLOW, REFUSE, UNKNOWN, KILL = 0x7FFF0000, 0x00050001, 0x00050000 | 38, 0x80000000


def verdict(column: int, number: int, *arguments: int, architecture: int | None = None) -> int:
    """What the kernel would answer to this call from process 1234."""
    which = (seccomp.X86_64, seccomp.ARM_64)[column] if architecture is None else architecture
    padded = [*arguments, 0, 0, 0, 0, 0, 0][:6]
    data = struct.pack("<IIQ6Q", number, which, 0, *padded)
    code, at, accumulator = seccomp.program(column, 1234), 0, 0
    while True:
        operation, if_true, if_false, value = struct.unpack_from("<HBBI", code, 8 * at)
        at += 1
        if operation == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, value)
        elif operation == 0x06:
            return int(value)
        else:
            is_so = {0x15: accumulator == value, 0x35: accumulator >= value, 0x45: accumulator & value != 0}[operation]
            at += if_true if is_so else if_false


@pytest.mark.parametrize("column", [0, 1], ids=["x86-64", "ARM64"])
def test_the_filter_says_what_the_table_says(column: int) -> None:
    def of(name: tuple[int, int], *arguments: int) -> int:
        return verdict(column, name[column], *arguments)

    for name, numbers in seccomp.REFUSED.items():
        number = numbers[column]
        assert number is None or verdict(column, number) == REFUSE, name
    for allowed in (
        (0, 63),
        (1, 64),
        (9, 222),
        (39, 172),
        (60, 93),
        (202, 98),
    ):  # read, write, mmap, getpid, exit, futex
        assert of(allowed) == ALLOW
    assert of(seccomp.CLONE, 0x3D0F00) == ALLOW  # a thread
    assert of(seccomp.CLONE, signal.SIGCHLD) == REFUSE  # a process
    assert of(seccomp.KILL, 1234) == of(seccomp.TGKILL, 1234) == ALLOW
    assert of(seccomp.KILL, 1) == of(seccomp.KILL, 0xFFFFFFFF) == of(seccomp.TGKILL, 1233) == REFUSE
    assert of(seccomp.PRLIMIT, 0, 7, 0) == ALLOW  # asks
    assert of(seccomp.PRLIMIT, 0, 7, 1) == of(seccomp.PRLIMIT, 0, 7, 1 << 40) == REFUSE  # sets
    assert of(seccomp.IOCTL, 1, 0x5401) == ALLOW and of(seccomp.IOCTL, 1, 0x5412) == REFUSE  # TCGETS, TIOCSTI
    assert of(seccomp.FCNTL, 1, 1) == ALLOW and of(seccomp.FCNTL, 1, 8) == REFUSE  # F_GETFD, F_SETOWN
    assert (
        verdict(column, 435) == verdict(column, 452) == verdict(column, 9999) == UNKNOWN
    )  # clone3, fchmodat2, to come
    assert verdict(column, 439) == ALLOW  # faccessat2
    assert verdict(column, 0x40000000 + 41) == UNKNOWN  # x32
    assert verdict(column, 39, architecture=0x40000003) == KILL  # 32-bit calls have other numbers


def test_no_number_stands_for_two_calls() -> None:
    for column in (0, 1):
        numbers = [
            n[column]
            for n in (*seccomp.REFUSED.values(), seccomp.CLONE, seccomp.KILL, seccomp.IOCTL)
            if n[column] is not None
        ]
        assert len(numbers) == len(set(numbers))


# ---- details ---------------------------------------------------------------------------------------------------------------
def test_a_second_thread_is_no_reason_to_leave_the_locks_off(tmp_path: Path) -> None:
    code = (
        "import sys, threading; from pathlib import Path; from tinyresnet.exercises.grading import child; "
        "threading.Thread(target=threading.Event().wait, daemon=True).start(); child.lock(Path(sys.argv[1]), 9, 1 << 30)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "a second thread" in done.stderr


def test_the_hook_needs_nothing_that_can_be_patched_in_a_module(tmp_path: Path) -> None:
    code = """
import os, sys, posixpath
from pathlib import Path
from tinyresnet.exercises.grading import audit
audit.install([], [Path(sys.argv[1])])
os.path.realpath = os.fsdecode = lambda path: sys.argv[1]
audit.READ.clear(); audit.WRITTEN.clear()
audit.REFUSED, audit.Outside, audit.hook = (), Warning, None
for action in (lambda: open("/etc/hostname"), lambda: os.listdir("/"), lambda: os.mkdir("/tmp/x"), lambda: os.fork()):
    try:
        action()
    except PermissionError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.splitlines() == [
        "outside the submission's folder: '/etc/hostname'",
        "outside the submission's folder: os.listdir '/'",
        "outside the submission's folder: os.mkdir '/tmp/x'",
        "a submission may not do that: os.fork",
    ]


@pytest.mark.skipif(os.name != "posix", reason="deeper than a path may be: POSIX")
def test_a_copy_that_somebody_made_hard_to_remove_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    (folder / "locked" / "inside").mkdir(parents=True)
    (folder / "locked").chmod(0)
    dig = "import os, sys\nos.chdir(sys.argv[1])\nfor _ in range(3000): os.mkdir('d'); os.chdir('d')"
    subprocess.run([sys.executable, "-c", dig, str(folder)], check=True)
    sandbox.remove(folder)
    assert not folder.exists() and tmp_path.exists()


def test_nothing_of_a_home_or_of_the_checkout_is_readable() -> None:
    checkout = Path(__file__).resolve().parents[2]
    inside = [Path.home(), checkout, checkout / "tests", Path("/etc"), Path("/tmp"), Path("/proc"), Path("/")]
    for path in map(Path.resolve, inside):
        assert not any(path == root or root in path.parents for root in child.readable_paths()), path
    assert audit.REFUSED and landlock.READ & landlock.WRITE == landlock.READ
