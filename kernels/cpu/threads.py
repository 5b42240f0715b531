"""One pool of threads for all kernels, and how it runs Steps.

The threads take tasks from the step that is at work, each the next one from a common counter, until none is left. So a thread that comes
late, because the system had something else for it to do, finds less to do, and nobody waits for it. Threads that find nothing look again
for a moment before they fall asleep: to wake one takes longer than most steps of a net. No Python runs between two steps of a list.

Who works: TINYRESNET_NUM_THREADS threads, the calling one among them; default: every core this process may use. If two threads of a
program call at the same time, the first has the pool and the other works alone: there are no more cores to be had, and results do
not depend on who computed them.

The counter holds the number of the step that is at work in its upper half and the next task in its lower half. A thread takes a task by
replacing the counter it has seen by the same plus one (compare and swap), which fails if anything has changed: so it cannot take a task
of a step other than the one it has read.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from .steps import STEP, as_step, compiled, forget_lock

VARIABLE = "TINYRESNET_NUM_THREADS"
MOST = 1024  # threads
COUNTER, KERNEL_AT, STEP_AT, TASKS, FINISHED, ACTIVE, NEEDED, STOP = (
    8 * i for i in range(8)
)  # fields of the state, 64 bytes apart
TASK_BITS = 32
STEP_BYTES = STEP.itemsize
PATIENCE = 1000  # turns that a thread waits before it lets others have its core
LINGER = 4000  # turns that a thread without work goes on looking, about 0.2 ms
_I64 = ir.IntType(64)


# ---- machine words --------------------------------------------------------------------------------------------------------
def _word(builder: Any, address: Any) -> Any:
    return builder.inttoptr(address, _I64.as_pointer())


@intrinsic
def _atomic_load(typing_context: Any, address: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load_atomic(_word(builder, args[0]), "seq_cst", 8)

    return types.int64(types.int64), generate


@intrinsic
def _atomic_store(typing_context: Any, address: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store_atomic(args[1], _word(builder, args[0]), "seq_cst", 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@intrinsic
def _atomic_add(typing_context: Any, address: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.atomic_rmw("add", _word(builder, args[0]), args[1], "seq_cst")

    return types.int64(types.int64, types.int64), generate


@intrinsic
def _replaced(typing_context: Any, address: Any, seen: Any, by: Any) -> Any:
    """Compare and swap: whether `seen` stood there and is now replaced."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        result = builder.cmpxchg(_word(builder, args[0]), args[1], args[2], "seq_cst", "seq_cst")
        return builder.extract_value(result, 1)

    return types.boolean(types.int64, types.int64, types.int64), generate


def _declared(builder: Any, name: str, arguments: list[Any]) -> Any:
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(ir.VoidType(), arguments), name)


@intrinsic
def _pause(typing_context: Any) -> Any:
    """Tells the processor that this is a waiting loop."""
    triple = cpu_target.target_context.codegen().magic_tuple()[0]

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if triple.startswith("x86_64"):
            builder.call(_declared(builder, "llvm.x86.sse2.pause", []), [])
        elif triple.startswith(("aarch64", "arm64")):
            builder.call(_declared(builder, "llvm.aarch64.hint", [ir.IntType(32)]), [ir.Constant(ir.IntType(32), 1)])
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def _give_way(typing_context: Any) -> Any:
    """Lets another thread have this core: whoever is waited for may be waiting for it."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if sys.platform != "win32":
            kind = ir.FunctionType(ir.IntType(32), [])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, "sched_yield"), [])
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def _run_task(typing_context: Any, kernel: Any, step: Any, task: Any, scratch: Any) -> Any:
    """kernel(step, task, scratch, like); `like` is a type in a pointer's clothes, so its value does not matter."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kernel, *rest = args
        pointer = ir.IntType(8).as_pointer()
        function = ir.FunctionType(ir.VoidType(), [_I64, _I64, _I64, pointer])
        builder.call(builder.inttoptr(kernel, function.as_pointer()), [*rest, ir.Constant(pointer, None)])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, types.int64), generate


# ---- compiled loops -------------------------------------------------------------------------------------------------------
@njit
def _take_tasks(state, scratch, size):
    """Takes tasks of the step at work until there are none (True), or its tasks need more room than `size` bytes (False)."""
    while True:
        seen = _atomic_load(state + 8 * COUNTER)
        task = seen & ((1 << TASK_BITS) - 1)
        if task >= _atomic_load(state + 8 * TASKS):
            return True
        if _atomic_load(state + 8 * NEEDED) > size:
            return False
        kernel, step = _atomic_load(state + 8 * KERNEL_AT), _atomic_load(state + 8 * STEP_AT)
        if _replaced(state + 8 * COUNTER, seen, seen + 1):
            _run_task(kernel, step, task, scratch)
            _atomic_add(state + 8 * FINISHED, 1)


@compiled("void(int64, int64, int64, int64, int64)")
def _run(state, steps, count, scratch, size):
    """Every step of the list, each after the one before it is finished."""
    _atomic_store(state + 8 * NEEDED, size)
    _atomic_store(state + 8 * ACTIVE, 1)
    for i in range(count):
        address = steps + i * STEP_BYTES
        s = as_step(address)
        if s.tasks <= 0:
            continue
        number = (_atomic_load(state + 8 * COUNTER) >> TASK_BITS) + 1
        _atomic_store(state + 8 * FINISHED, 0)
        _atomic_store(state + 8 * TASKS, 0)  # nobody takes a task while the step changes
        _atomic_store(state + 8 * COUNTER, number << TASK_BITS)
        _atomic_store(state + 8 * KERNEL_AT, s.kernel)
        _atomic_store(state + 8 * STEP_AT, address)
        _atomic_store(state + 8 * TASKS, s.tasks)
        _take_tasks(state, scratch, size)
        turns = 0
        while _atomic_load(state + 8 * FINISHED) < s.tasks:
            turns += 1
            _pause()
            if turns > PATIENCE:
                _give_way()
    _atomic_store(state + 8 * ACTIVE, 0)


@compiled("int64(int64, int64, int64)")
def _help(state, scratch, size):
    """A helper's life, until it has found nothing for a while (0), needs more room (1), or is told to stop (2)."""
    turns = waited = 0
    while turns < LINGER:
        if _atomic_load(state + 8 * STOP):
            return 2
        before = _atomic_load(state + 8 * COUNTER)
        if not _take_tasks(state, scratch, size):
            return 1
        if _atomic_load(state + 8 * COUNTER) != before or _atomic_load(state + 8 * ACTIVE):
            turns = 0
        if _atomic_load(state + 8 * COUNTER) != before:
            waited = 0
        turns, waited = turns + 1, waited + 1
        _pause()
        if waited > PATIENCE:
            _give_way()
    return 0


# ---- the pool -------------------------------------------------------------------------------------------------------------
def default_threads() -> int:
    """What TINYRESNET_NUM_THREADS says, else every core this process may use. Raises ValueError."""
    text = os.environ.get(VARIABLE, "")
    if not text:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not text.strip().isdecimal() or not 1 <= int(text) <= MOST:
        raise ValueError(
            f"environment variable {VARIABLE} must be an integer from 1 to {MOST} (or empty: all cores), not {text!r}"
        )
    return int(text)


class Room:
    """A thread's own memory for what lives within a task; it grows to the largest that was asked for."""

    def __init__(self) -> None:
        self._size, self._start = -1, 0

    def address(self, size: int) -> int:
        """Where `size` bytes begin, on a cache line."""
        if self._size < size:
            self._bytes = np.empty(size + 64, np.uint8)
            self._size, self._start = size, int(-(-self._bytes.ctypes.data // 64) * 64)
        return self._start


class _OwnRoom(threading.local):
    def __init__(self) -> None:
        self.room = Room()


class Pool:
    """The calling thread and `threads` - 1 helpers."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._state = np.zeros(8 * 8, np.int64)
        self._state_at = int(self._state.ctypes.data)
        self._busy = threading.Lock()
        self._beds = [threading.Semaphore(0) for _ in range(threads - 1)]
        self._asleep = [True] * (threads - 1)
        self._helpers: list[threading.Thread] = []
        self._own = _OwnRoom()

    def run(self, steps: Any, scratch: int) -> None:
        """Runs the Steps (an array of STEP, or of its rows as integers) in order; `scratch`: how many bytes a task may use for itself."""
        room, first = self._own.room.address(scratch), steps.__array_interface__["data"][0]
        if self.threads > 1 and self._busy.acquire(blocking=False):
            try:
                self._wake()
                _run(self._state_at, first, len(steps), room, scratch)
            finally:
                self._busy.release()
        else:
            alone = np.zeros(8 * 8, np.int64)
            _run(alone.ctypes.data, first, len(steps), room, scratch)

    def _wake(self) -> None:
        if not self._helpers:
            for i in range(self.threads - 1):
                helper = threading.Thread(target=self._live, args=(i,), name=f"tinyresnet-{i + 1}", daemon=True)
                self._helpers.append(helper)
                helper.start()
        for i, asleep in enumerate(self._asleep):
            if asleep:
                self._asleep[i] = False
                self._beds[i].release()

    def _live(self, i: int) -> None:
        room, state, size = Room(), self._state, 0
        while True:
            self._beds[i].acquire()
            while (wish := _help(state.ctypes.data, room.address(size), size)) or state[ACTIVE]:
                if wish == 2:
                    return
                size = max(size, int(state[NEEDED]))
            self._asleep[i] = True  # (a list that begins just now goes on without this helper)

    def stop(self) -> None:
        """Lets the helpers end. Nothing may be running."""
        with self._busy:
            self._state[STOP] = 1
            for bed in self._beds:
                bed.release()


_pool: Pool | None = None
_pool_lock = threading.Lock()


def pool() -> Pool:
    """The process's pool; made when first asked for. Raises ValueError as `default_threads`."""
    global _pool
    if _pool is None:
        with _pool_lock:
            if _pool is None:
                _pool = Pool(default_threads())
    return _pool


def get_num_threads() -> int:
    """How many threads kernels run on."""
    return pool().threads


def set_num_threads(threads: int) -> None:
    """From now on kernels run on this many threads. Raises ValueError."""
    global _pool
    if not isinstance(threads, int) or isinstance(threads, bool) or not 1 <= threads <= MOST:
        raise ValueError(f"threads must be an integer from 1 to {MOST}, not {threads!r}")
    with _pool_lock:
        old, _pool = _pool, Pool(threads)
    if old is not None:
        old.stop()


def _forget() -> None:
    """In a child made by fork there are no helpers, and a lock may have been held."""
    global _pool, _pool_lock
    _pool, _pool_lock = None, threading.Lock()
    forget_lock()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_forget)
