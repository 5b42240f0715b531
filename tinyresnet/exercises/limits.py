"""Running a function that may never return, or may ask for all the memory there is.

On Linux it runs in a forked child with limits of time, of processor time and of memory: whatever happens there, the caller goes
on. Elsewhere it runs in this process, and a timer raises an error in it when the time is over; memory is not limited there, and a
loop inside compiled code is not interrupted.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import gc
import os
import select
import signal
import struct
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import TypeAlias

SECONDS = 10.0
MEMORY = 1 << 30  # bytes beyond what the process has already
MOST_RECEIVED = 64 << 20  # bytes
HAS_LIMITS = sys.platform == "linux"

Work: TypeAlias = Callable[[Callable[[bytes], None]], None]


class Stopped(Exception):
    """The work did not end by itself. `reason` is "time", "memory" or "died"; `done`: the messages that came before."""

    def __init__(self, reason: str, done: list[bytes]) -> None:
        super().__init__(reason)
        self.reason, self.done = reason, done


class TimeIsOver(BaseException):
    """Raised inside the function by the timer; not an Exception, so that `except Exception` does not hold it up."""


def run_limited(work: Work, *, seconds: float = SECONDS, memory: int = MEMORY) -> list[bytes]:
    """The messages that work(send) sends. Raises Stopped."""
    return _in_a_child(work, seconds, memory) if HAS_LIMITS else _under_a_timer(work, seconds)


# ---- Linux -------------------------------------------------------------------------------------------------------------
def _in_a_child(work: Work, seconds: float, memory: int) -> list[bytes]:
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        # Python 3.12 and later warn of threads that a forked child does not have. This one computes with NumPy and ends by _exit.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        _be_the_child(work, reading, writing, seconds, memory)
    os.close(writing)
    try:
        messages, complete = _receive(reading, time.monotonic() + seconds)
    finally:
        os.close(reading)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child, signal.SIGKILL)  # what it may have started, too
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
    if complete is None:
        raise Stopped("time", messages)
    if not complete:
        by_time = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU
        raise Stopped("time" if by_time else "died", messages)
    return messages


def _be_the_child(work: Work, reading: int, writing: int, seconds: float, memory: int) -> None:
    """Never returns: whatever the parent has on its stack is not ours to unwind."""
    code = 1
    try:
        os.setsid()
        os.close(reading)
        gc.disable()  # no finalizers of the parent's objects
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        limit(seconds, memory)
        faulthandler.disable()
        for standard in range(3):  # what Python prints is caught before it comes here; what C prints belongs nowhere
            os.dup2(os.open(os.devnull, os.O_RDWR), standard)
        me = os.getpid()

        def send(message: bytes) -> None:
            if os.getpid() != me:  # the function has forked, and both came back: one of them is heard
                os._exit(0)
            write(writing, framed(message))

        work(send)
        send(b"")
        code = 0
    except BaseException:
        pass  # the parent sees that the end is missing
    finally:
        os._exit(code)


def limit(seconds: float, memory: int) -> None:
    """Limits this process: processor time, address space beyond what it has, no core dump."""
    import resource

    with open("/proc/self/statm", encoding="ascii") as file:
        have = int(file.read().split()[0]) * resource.getpagesize()
    used = sum(os.times()[:2])
    for which, most in (
        (resource.RLIMIT_CPU, int(used + 2 * seconds) + 1),
        (resource.RLIMIT_AS, have + memory),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(which)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(which, (most, most))


def framed(message: bytes) -> bytes:
    """A message as it goes through a pipe. An empty one is the end."""
    return struct.pack("<Q", len(message)) + message


def write(descriptor: int, data: bytes) -> None:
    """All of it."""
    while data:
        data = data[os.write(descriptor, data) :]


def take(buffer: bytearray, messages: list[bytes], most: int = MOST_RECEIVED) -> bool | None:
    """Moves every whole message out of the buffer. True at the end, False for what is no message or too much, None if more is to come."""
    while len(buffer) >= 8:
        (length,) = struct.unpack_from("<Q", buffer)
        if length == 0:
            return True
        if length > most:
            return False
        if len(buffer) < 8 + length:
            break
        messages.append(bytes(buffer[8 : 8 + length]))
        del buffer[: 8 + length]
    return False if sum(map(len, messages)) + len(buffer) > most else None


def _receive(descriptor: int, until: float) -> tuple[list[bytes], bool | None]:
    """The messages, and how it ended: True whole, False broken off, None too late."""
    buffer, messages = bytearray(), list[bytes]()
    while True:
        if not select.select([descriptor], [], [], max(0.0, until - time.monotonic()))[0]:
            return messages, None
        more = os.read(descriptor, 1 << 16)
        if not more:
            return messages, False
        buffer += more
        ended = take(buffer, messages)
        if ended is not None:
            return messages, ended


# ---- elsewhere ---------------------------------------------------------------------------------------------------------
def _under_a_timer(work: Work, seconds: float) -> list[bytes]:
    messages: list[bytes] = []
    try:
        with _timer(seconds):
            work(messages.append)
    except TimeIsOver:
        raise Stopped("time", messages) from None
    return messages


@contextlib.contextmanager
def _timer(seconds: float) -> Iterator[None]:
    thread = threading.get_ident()
    over = threading.Event()

    def wait() -> None:
        while not over.wait(seconds):  # again and again: a bare `except` may swallow one
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(TimeIsOver))

    timer = threading.Thread(target=wait, daemon=True)
    timer.start()
    try:
        yield
    finally:
        over.set()
        timer.join()
