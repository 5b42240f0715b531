"""A Step: what a kernel is to do, as addresses and integers. And how a kernel is compiled.

Every kernel is a function `kernel(step, task, scratch, like)`: task number `task` of the step's `tasks`, any thread, any order. Since all
of them have this one form, a thread can run a step without Python, and a whole net is a list of steps (see threads.py).
The fields have the letters of the op's equations; each kernel's docstring says which it reads.
"""

from __future__ import annotations

import functools
import hashlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core.ccallback import CFunc
from numba.core.registry import cpu_target  # noqa: F401  (the target must exist before anything is compiled)
from numba.extending import intrinsic
from numba.np import numpy_support

FIELDS = (
    *("kernel", "tasks"),  # the compiled function; into how many tasks the step is cut
    *("x", "w", "y", "dy", "dx", "dw", "bias", "residual", "scale", "shift", "zeros"),  # addresses, in bytes
    *("gamma", "beta", "mean", "var", "inv_std", "sums", "winner", "column_sums"),
    *("n", "h", "width", "c", "oh", "ow", "k"),  # x is [n, h, width, c], y is [n, oh, ow, k]
    *("kh", "kw", "sh", "sw", "rh", "rw", "top", "left"),  # kernel, stride, rate, padding before
    *("flags", "rows", "columns", "row_tasks", "column_tasks", "split", "taps"),  # how the work is cut
    *("y_pixel", "y_row", "y_image", "x_pixel", "x_row", "x_image"),  # strides in bytes, where a map is not dense
    *("a", "b", "d", "e"),  # whatever else a kernel needs
    "value",  # a float64, by its bits
)
STEP = np.dtype([(name, np.float64 if name == "value" else np.int64) for name in FIELDS])
_RECORD = numpy_support.from_dtype(STEP)
LIKE = {"float32": types.CPointer(types.float32), "float64": types.CPointer(types.float64)}
SLOW = 2.0  # seconds of compiling, after which a line says so


@intrinsic
def as_step(typing_context: Any, address: Any) -> Any:
    """The Step at an address, for kernels: `s = as_step(step)`, then `s.x`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], context.get_value_type(_RECORD))

    return _RECORD(types.intp), generate


@intrinsic
def element_bytes(typing_context: Any, like: Any) -> Any:
    """4 or 8: of the type that `like` points to."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return ir.Constant(ir.IntType(64), 4 if like.dtype == types.float32 else 8)

    return types.intp(like), generate


@intrinsic
def read_integer(typing_context: Any, address: Any) -> Any:
    """The int64 at an address."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(builder.inttoptr(args[0], ir.IntType(64).as_pointer()))

    return types.intp(types.intp), generate


@intrinsic
def write_integer(typing_context: Any, address: Any, value: Any) -> Any:
    """The int64 at an address becomes `value`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[1], builder.inttoptr(args[0], ir.IntType(64).as_pointer()))
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), generate


@intrinsic
def read(typing_context: Any, like: Any, address: Any) -> Any:
    """The element (float32 or float64, as `like`) at an address."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(builder.inttoptr(args[1], context.get_value_type(like.dtype).as_pointer()))

    return like.dtype(like, types.intp), generate


@intrinsic
def write(typing_context: Any, like: Any, address: Any, value: Any) -> Any:
    """The element at an address becomes `value`, rounded to its type."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        element = context.cast(builder, args[2], value, like.dtype)
        builder.store(element, builder.inttoptr(args[1], context.get_value_type(like.dtype).as_pointer()))
        return context.get_dummy_value()

    return types.void(like, types.intp, value), generate


@intrinsic
def read_double(typing_context: Any, address: Any) -> Any:
    """The float64 at an address."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(builder.inttoptr(args[0], ir.DoubleType().as_pointer()))

    return types.float64(types.intp), generate


@intrinsic
def write_double(typing_context: Any, address: Any, value: Any) -> Any:
    """The float64 at an address becomes `value`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[1], builder.inttoptr(args[0], ir.DoubleType().as_pointer()))
        return context.get_dummy_value()

    return types.void(types.intp, types.float64), generate


@njit
def share(total, parts, part):
    """Where part number `part` of `total` things begins, cut as evenly as possible."""
    return total * part // parts


# ---- compiling -----------------------------------------------------------------------------------------------------------
_lock = threading.RLock()
_told = False
_spent = 0.0  # seconds of compiling so far


@functools.cache
def _sources() -> str:
    """A fingerprint of all kernels. Numba's cache looks at a kernel's own file only, and would miss a change in what it calls."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _say_that_it_takes_time() -> None:
    global _told
    if not _told:
        _told = True
        print(
            "tinyresnet: compiling kernels for this machine; this takes some seconds, once (Numba keeps them on disk)",
            file=sys.stderr,
        )


@contextmanager
def patience() -> Iterator[None]:
    """Says once, when compiling has taken two seconds in all, that it does: nobody should have to guess why a first call takes long."""
    global _spent
    start = time.perf_counter()
    said = threading.Timer(max(SLOW - _spent, 0.0), _say_that_it_takes_time)
    said.daemon = True
    if not _told:
        said.start()
    try:
        yield
    finally:
        said.cancel()
        _spent += time.perf_counter() - start


def forget_lock() -> None:
    """In a child made by fork the lock may be held by a thread that does not exist there."""
    global _lock
    _lock = threading.RLock()


class Kernel:
    """A kernel for both element types, compiled when it is first asked for."""

    def __init__(self, function: Callable[..., None]) -> None:
        self.__doc__ = function.__doc__
        self.function = function
        self.compiled: dict[str, CFunc] = {}

    def address(self, dtype: Any) -> int:
        """Where the machine code for float32 or float64 is."""
        name = "float32" if dtype.itemsize == 4 else "float64"
        found = self.compiled.get(name)
        if found is None:
            with _lock, patience():
                found = self.compiled.get(name) or self._compile(name)
        return int(found.address)  # type: ignore[arg-type]

    def _compile(self, name: str) -> CFunc:
        arguments = (types.int64, types.int64, types.int64, LIKE[name])
        code: Any = CFunc(
            self.function, (arguments, types.void), locals={}, options={"nopython": True, "error_model": "numpy"}
        )
        code.enable_caching()
        code._cache._cache_file._source_stamp = _sources()
        code.compile()
        self.compiled[name] = code
        return code


def compiled(signature: str) -> Callable[[Callable[..., Any]], Any]:
    """Compiles a function that Python calls, at once (or takes it from the cache); it runs without Python's lock."""

    def decorate(function: Callable[..., Any]) -> Any:
        dispatcher = njit(nogil=True)(function)
        dispatcher.enable_caching()
        dispatcher._cache._cache_file._source_stamp = _sources()
        with _lock:
            dispatcher.compile(signature)
        dispatcher.disable_compile()
        return dispatcher

    return decorate


def kernel(function: Callable[..., None]) -> Kernel:
    """Decorates a kernel."""
    return Kernel(function)


def new_steps(count: int = 1) -> Any:
    """`count` Steps, all fields 0."""
    return np.zeros(count, STEP)
