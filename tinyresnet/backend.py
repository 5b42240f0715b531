"""Floor 0: which array library, and which implementation of each op.

An **op** is a plain function of arrays, `NAME_forward` or `NAME_backward`. `@op` writes it into the table of references. A call
looks its name up in a chain of layers, the nearest first:

    with use(relu_forward=mine):      a layer of overrides, for this context
        with use(...):                another one, nearer
    use_backend("numba")              the bottom: a back end = an array library + a table of kernels
    the plain function itself         whatever nobody replaced

While an override runs, the chain is the part *below* its layer, so `mine` may call `ops.relu_forward` and reaches the
implementation it replaced, as `super()` would. That is all; kernels, the GPU, exercises and tracing are made of it.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from importlib.util import find_spec
from typing import Any, NamedTuple, ParamSpec, TypeAlias, TypeVar, overload

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[
    Any
]  # written as NumPy's; under back end "cupy" it is a cupy.ndarray, which has the same interface
Implementation: TypeAlias = Callable[..., Any]
P = ParamSpec("P")
R = TypeVar("R")

BACKENDS = ("numpy", "numba", "cupy")
REFERENCE: dict[str, Implementation] = {}  # op name -> the plain function of ops/
COMPOSITES: dict[str, tuple[str, ...]] = {}  # those that call others -> which


class BackendUnavailable(RuntimeError):
    """The back end exists, but cannot run on this machine; the message says what is missing and how to get it."""


class EndedUseWarning(UserWarning):
    """A `back` ran outside the `use(...)` that its forward pass ran in."""


class Backend(NamedTuple):
    """An array library and the kernels written for it; an op without a kernel runs its plain function."""

    name: str
    arrays: Any  # the module: numpy, or cupy
    kernels: Mapping[str, Implementation]


class Layer:
    """One `use(...)`, or a back end at the bottom of the chain (then `below` is None)."""

    __slots__ = ("backend", "below", "overrides", "said")

    def __init__(self, overrides: Mapping[str, Implementation], below: Layer | None, backend: Backend) -> None:
        self.overrides, self.below, self.backend = overrides, below, backend
        self.said = False  # whether EndedUseWarning was given for this layer

    def rest(self) -> Layer:
        """The chain an override of this layer sees; under the kernels there is nothing but the plain functions."""
        return self.below or Layer({}, None, self.backend)


# ---- back ends ---------------------------------------------------------------------------------------------------------
_NUMPY = Backend("numpy", np, {})
_process_default: Layer | None = None  # every thread sees it; made when first asked for
_default_lock = threading.Lock()
_context_layer: ContextVar[Layer | None] = ContextVar("tinyresnet_layer", default=None)


def _load_numba() -> Backend:
    if find_spec("numba") is None:
        raise BackendUnavailable(
            "back end 'numba' needs the package numba, which is not installed: pip install \"tinyresnet[numba]\""
        )
    return Backend("numba", np, importlib.import_module("tinyresnet.ops.compiled").KERNELS)


def _load_cupy() -> Backend:
    try:
        cupy = importlib.import_module("cupy")
    except ImportError as error:
        raise BackendUnavailable(
            "back end 'cupy' needs the package CuPy, which is not installed: "
            'pip install "tinyresnet[cuda13]" (or "tinyresnet[cuda12]", as your driver asks)'
        ) from error
    try:
        devices = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise BackendUnavailable(
            f"back end 'cupy' needs an NVIDIA GPU and its driver; CuPy {cupy.__version__} is installed, but finds none ({error}). "
            "`nvidia-smi` shows what the driver sees; if it shows a GPU, match CUDA: "
            'pip install "tinyresnet[cuda13]" or "tinyresnet[cuda12]"'
        ) from error
    if devices < 1:
        raise BackendUnavailable(
            "back end 'cupy' needs an NVIDIA GPU; the driver reports none (`nvidia-smi` shows what it sees)"
        )
    return Backend("cupy", cupy, {})


def _load(name: str, asked_by: str) -> Backend:
    if name not in BACKENDS:
        raise ValueError(f"{asked_by}: {name!r} is no back end; there are {', '.join(map(repr, BACKENDS))}")
    return {"numpy": lambda: _NUMPY, "numba": _load_numba, "cupy": _load_cupy}[name]()


def _default() -> Layer:
    """TINYRESNET_BACKEND if it is set; else Numba's where Numba is installed; else NumPy's."""
    global _process_default
    with _default_lock:
        if _process_default is None:
            name = os.environ.get("TINYRESNET_BACKEND", "")
            if not name:
                name = "numba" if find_spec("numba") and find_spec("tinyresnet.kernels") else "numpy"
            backend = _load(name, "environment variable TINYRESNET_BACKEND")
            _process_default = Layer(backend.kernels, None, backend)
        return _process_default


def _active() -> Layer:
    return _context_layer.get() or _default()


def get_backend() -> str:
    """The name of the back end that an op called here would run on."""
    return _active().backend.name


def set_backend(name: str) -> None:
    """Chooses the back end of the whole process: every thread, until changed. A surrounding `use_backend` still wins.

    Raises ValueError for an unknown name and BackendUnavailable if it cannot run here; the old one then stays.
    """
    global _process_default
    backend = _load(name, "set_backend")
    with _default_lock:
        _process_default = Layer(backend.kernels, None, backend)


@contextmanager
def _entered(layer: Layer) -> Iterator[None]:
    token = _context_layer.set(layer)
    try:
        yield
    finally:
        _context_layer.reset(token)


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """`with use_backend("numba"): ...` chooses the back end for this context only (this thread; see `carry`).

    A back end is a whole table, so it hides the `use(...)` it is written in: the nearest `with` wins. Do not `yield` out of a
    generator inside the block. Raises as `set_backend`.
    """
    backend = _load(name, "use_backend")
    with _entered(Layer(backend.kernels, None, backend)):
        yield


@contextmanager
def use(**overrides: Implementation) -> Iterator[None]:
    """`with use(conv2d_backward=mine): ...` runs `mine` wherever `ops.conv2d_backward` is called in this context.

    Inside `mine`, the op of that name is the one below: the one that it replaces. An op is looked up when it is called, so keep
    a forward pass and its `back` inside one `use`; a `back` that runs after it ended gives an EndedUseWarning. A new thread
    starts without it (see `carry`); do not `yield` out of a generator inside the block.
    Raises ValueError for a name that is no op, TypeError for a value that cannot be called.
    """
    for name, implementation in overrides.items():
        if name not in REFERENCE:
            near = difflib.get_close_matches(name, REFERENCE, n=3, cutoff=0.4) or sorted(REFERENCE)
            raise ValueError(f"use: there is no op named {name!r}; did you mean {', '.join(near)}?")
        if not callable(implementation):
            raise TypeError(f"use: {name} must be a function, not {type(implementation).__name__}")
    below = _active()
    with _entered(Layer(overrides, below, below.backend)):
        yield


def carry(fn: Callable[P, R]) -> Callable[P, R]:
    """`fn` bound to the back end, the overrides and the scopes in force here, to be called from any other thread.

    `pool.map(carry(work), batches)`: a new thread, or one of a pool, otherwise starts with the process's back end and no overrides.
    """
    context = copy_context()

    @functools.wraps(fn)
    def carried(*args: P.args, **kwargs: P.kwargs) -> R:
        return context.copy().run(fn, *args, **kwargs)  # a copy: one context cannot be entered twice at a time

    return carried


# ---- ops ---------------------------------------------------------------------------------------------------------------
@overload
def op(fn: Callable[P, R]) -> Callable[P, R]: ...
@overload
def op(*, parts: tuple[str, ...]) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def op(fn: Callable[P, R] | None = None, *, parts: tuple[str, ...] = ()) -> Any:
    """Makes a plain function an op: it stands in the table under its name and can be replaced by it.

    `parts` names the ops that a composite's plain body calls. A kernel for the composite runs only while no *nearer* layer
    overrides one of them; else the plain body does, and so reaches the override.
    """
    if fn is None:
        return functools.partial(op, parts=parts)
    name = fn.__name__
    REFERENCE[name] = fn
    if parts:
        COMPOSITES[name] = parts

    @functools.wraps(fn)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        top = _active()
        _check_arrays(fn, top.backend, args, kwargs)
        layer: Layer | None = top
        while layer is not None:
            if name in layer.overrides:
                with _entered(layer.rest()):
                    return layer.overrides[name](*args, **kwargs)  # type: ignore[no-any-return]
            if any(part in layer.overrides for part in parts):
                break
            layer = layer.below
        return fn(*args, **kwargs)

    return call


def backward_overrides() -> tuple[Layer, ...]:
    """The `use(...)` in force that replace a backward op: what a pullback remembers of its forward pass."""
    found, layer = [], _active()
    while layer.below is not None:
        if any(name.endswith("_backward") for name in layer.overrides):
            found.append(layer)
        layer = layer.below
    return tuple(found)


def warn_of_ended(then: tuple[Layer, ...]) -> None:
    """Says so, once a `use(...)`, if one that was in force in the forward pass is over now that `back` runs."""
    if not then:
        return
    now = backward_overrides()
    for layer in then:
        if layer not in now and not layer.said:
            layer.said = True
            names = ", ".join(sorted(name for name in layer.overrides if name.endswith("_backward")))
            warnings.warn(
                f"the forward pass ran inside use({names}=...), but back runs outside it, so that override is not used: "
                "call back inside the same `with use(...)` block",
                EndedUseWarning,
                stacklevel=3,  # warn_of_ended, Pullback, and then the line that called back
            )


# ---- arrays ------------------------------------------------------------------------------------------------------------
def _module_of(value: object) -> Any:
    if isinstance(value, np.ndarray):
        return np
    cupy = sys.modules.get("cupy")
    return cupy if cupy is not None and isinstance(value, cupy.ndarray) else None


def _check_arrays(fn: Callable[..., Any], backend: Backend, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Every array given to an op must live where the back end works: nothing is copied behind the caller's back."""
    for value in (*args, *kwargs.values()):
        for item in value if isinstance(value, tuple) else (value,):  # a `saved` is a tuple
            module = _module_of(item)
            if module is not None and module is not backend.arrays:
                names = inspect.signature(fn).bind_partial(*args, **kwargs).arguments
                name = next(key for key, given in names.items() if given is value)
                here, there = ("host", "device") if module is np else ("device", "host")
                mend = "to_device(...)" if module is np else 'to_host(...), or work inside use_backend("cupy")'
                raise TypeError(
                    f"{fn.__name__}: {name} is on the {here} ({module.__name__} array), but back end {backend.name!r} works on "
                    f"{there} arrays ({backend.arrays.__name__}), and host and device arrays cannot be mixed: use {mend}"
                )


def get_array_module(*arrays: object) -> Any:
    """The library the arrays belong to, `numpy` or `cupy`: `xp = get_array_module(x)`. Without any array: the back end's.

    Raises TypeError if host and device arrays are mixed.
    """
    modules = {id(module): module for module in map(_module_of, arrays) if module is not None}
    if len(modules) > 1:
        raise TypeError(
            "get_array_module: host (numpy) and device (cupy) arrays are mixed: use to_device(...) or to_host(...)"
        )
    return next(iter(modules.values())) if modules else _active().backend.arrays


def to_device(array: npt.ArrayLike) -> Array:
    """The array where the active back end works: itself if it is there already, else a copy on the device."""
    arrays = _active().backend.arrays
    if arrays is np:
        return to_host(array)
    return array if _module_of(array) is arrays else arrays.asarray(array)  # type: ignore[return-value]


def to_host(array: npt.ArrayLike) -> Array:
    """The array as NumPy's: itself if it is one already, else a copy (which waits until the device has computed it)."""
    return np.asarray(array if _module_of(array) in (np, None) else array.get())  # type: ignore[union-attr]
