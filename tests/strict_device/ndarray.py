"""The array: a NumPy array behind `cupy.ndarray`'s interface."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from . import api, indexing, log
from .boundary import Memory, argument, array_only, check_dtype, operand, result, run

WAITING_METHODS = {
    "tobytes",
    "tofile",
    "dump",
    "dumps",
    "nonzero",
    "compress",
}  # get, item, tolist and float(x) stand below


class Flags:
    """CuPy's flags: no `writeable`."""

    def __init__(self, flags: Any) -> None:
        self.c_contiguous, self.f_contiguous, self.owndata = flags.c_contiguous, flags.f_contiguous, flags.owndata
        self.forc, self.fnc = flags.forc, flags.fnc

    def __getitem__(self, name: str) -> bool:
        return getattr(self, name.lower())


class DeviceArray(Memory):
    """`cupy.ndarray`, as far as CuPy has it. What is missing here is missing there, or is refused on purpose (README.md)."""

    __slots__ = ()
    __hash__ = None
    __array_priority__ = 100

    def __init__(self, shape: Any, dtype: Any = float, order: str = "C") -> None:
        self._host = poisoned(np.empty(shape, dtype, order))
        check_dtype(self._host.dtype)

    # ---- to the host: each of these waits for the device --------------------------------------------------------------
    def get(self, stream: Any = None, order: str = "C", out: Any = None, blocking: bool = True) -> np.ndarray:
        return self._read(".get()").copy(order)

    def item(self) -> Any:
        return self._read(".item()").item()

    def tolist(self) -> Any:
        return self._read(".tolist()").tolist()

    def _read(self, how: str) -> np.ndarray:
        log.sync(how)
        return self._host

    def __float__(self) -> float:
        return float(self._read("float(x)"))

    def __int__(self) -> int:
        return int(self._read("int(x)"))

    def __complex__(self) -> complex:
        return complex(self._read("complex(x)"))

    def __bool__(self) -> bool:
        return bool(self._read("bool(x), `if x`"))

    def __repr__(self) -> str:
        return repr(self._read("repr(x)"))

    def __str__(self) -> str:
        return str(self._read("str(x)"))

    def __format__(self, specification: str) -> str:
        return format(self._read("an f-string"), specification)

    def __reduce__(self) -> Any:
        return _unpickled, (self._read("pickle"),)

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct a NumPy array explicitly."
        )

    # ---- NumPy's protocols: np.f(x) goes to CuPy, if CuPy has f --------------------------------------------------------
    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        from .namespace import CUPY

        if "out" in kwargs:
            if len(kwargs["out"]) != 1:
                raise ValueError("The 'out' parameter must have exactly one array value")
            (kwargs["out"],) = kwargs["out"]
        function = getattr(CUPY, ufunc.__name__, None)
        if function is None:
            return NotImplemented
        return (function if method == "__call__" else getattr(function, method))(*inputs, **kwargs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        from .namespace import CUPY

        holder: Any = CUPY
        for name in (*function.__module__.split(".")[1:], function.__name__):
            holder = getattr(holder, name, None)
        if holder is None or any(kind not in (DeviceArray, np.ndarray) for kind in types):
            return NotImplemented
        return holder(*args, **kwargs)

    # ---- shape and type ------------------------------------------------------------------------------------------------
    def __getattr__(self, name: str) -> Any:
        if name in api.METHODS and name not in api.LEFT_OUT and hasattr(np.ndarray, name):
            return _method(self, name)
        raise AttributeError(f"cupy.ndarray has no attribute {name!r} (or the strict device does not have it)")

    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    dtype = property(lambda self: self._host.dtype)
    nbytes = property(lambda self: self._host.nbytes)
    itemsize = property(lambda self: self._host.itemsize)
    strides = property(lambda self: self._host.strides)
    flags = property(lambda self: Flags(self._host.flags))
    T = property(lambda self: wrap(self._host.T, "ndarray.T"))
    mT = property(lambda self: wrap(self._host.mT, "ndarray.mT"))  # noqa: N815 (CuPy's name)
    real = property(lambda self: wrap(self._host.real, "ndarray.real"))
    imag = property(lambda self: wrap(self._host.imag, "ndarray.imag"))
    base = property(lambda self: None if self._host.base is None else DeviceArray.of(self._host.base))

    @property
    def shape(self) -> tuple[int, ...]:
        return self._host.shape

    @classmethod
    def of(cls, host: np.ndarray) -> DeviceArray:
        made = cls.__new__(cls)
        made._host = host
        return made

    # ---- a container ---------------------------------------------------------------------------------------------------
    def __len__(self) -> int:
        return len(self._host)

    def __iter__(self) -> Iterator[DeviceArray]:
        if not self.ndim:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(len(self)))

    def __getitem__(self, key: Any) -> DeviceArray:
        return wrap(indexing.get(self._host, key), "x[...]")

    def __setitem__(self, key: Any, value: Any) -> None:
        indexing.put(self._host, key, value)

    def __copy__(self) -> DeviceArray:
        return DeviceArray.of(self._host.copy())

    def __deepcopy__(self, memo: Any) -> DeviceArray:
        return DeviceArray.of(self._host.copy())


DeviceArray.__name__ = DeviceArray.__qualname__ = "ndarray"
DeviceArray.__module__ = "cupy"


def _unpickled(host: np.ndarray) -> DeviceArray:
    return DeviceArray.of(host)


def wrap(value: Any, name: str, given: Iterable[Any] = ()) -> Any:
    """See boundary.result."""
    return result(value, name, DeviceArray.of, given)


def poisoned(host: np.ndarray) -> np.ndarray:
    """Memory that nobody has written to holds anything: NaN, or the largest integer."""
    if host.dtype.kind in "biu":
        host.fill(np.iinfo(host.dtype).max if host.dtype.kind in "iu" else True)
    elif host.dtype.kind in "fc":
        host.fill(np.nan)
    return host


def _method(self: DeviceArray, name: str) -> Callable[..., Any]:
    """x.sum, x.reshape, ...: CuPy's parameters, NumPy's arithmetic."""
    label = f"ndarray.{name}"

    def method(*args: Any, **kwargs: Any) -> Any:
        api.check_call(label, api.METHODS[name], args, kwargs, api.numpy_parameters(getattr(np, name, None))[1:])
        log.call(label, len(args), kwargs)
        bound = {**dict(zip(api.parameters(api.METHODS[name]).positional, args, strict=False)), **kwargs}
        for key in ("b", "v", "out"):  # dot(b), searchsorted(v)
            if bound.get(key) is not None:
                array_only(bound[key], f"{label}({key}=)")
        if name in WAITING_METHODS:
            log.sync(f"x.{name}()")
        given = [argument(arg, label) for arg in args]
        value = run(getattr(self._host, name), *given, **{key: argument(value, label) for key, value in kwargs.items()})
        return wrap(value, label, (self, *args, *kwargs.values()))

    return method


# ---- operators -----------------------------------------------------------------------------------------------------------
OPERATORS = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "truediv": np.true_divide, "floordiv": np.floor_divide,
    "mod": np.remainder, "pow": np.power, "matmul": np.matmul, "lshift": np.left_shift, "rshift": np.right_shift,
    "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor, "divmod": np.divmod,
}  # fmt: skip
COMPARISONS = {
    "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal, "eq": np.equal, "ne": np.not_equal,
}  # fmt: skip
SIGNS = {"neg": np.negative, "pos": np.positive, "abs": np.absolute, "invert": np.invert}


def _binary(dunder: str, ufunc: np.ufunc, swapped: bool) -> Callable[..., Any]:
    equality = dunder in ("__eq__", "__ne__")

    def operator(self: DeviceArray, other: Any, modulo: Any = None) -> Any:
        if equality and type(other).__eq__ is object.__eq__:  # None and the like, which no number equals
            return wrap(np.full(self.shape, dunder == "__ne__"), dunder)
        log.call(f"ndarray.{dunder}", 1)
        pair = [self._host, operand(other, f"operator {dunder}")]
        if ufunc is np.matmul and not isinstance(other, Memory):
            raise TypeError(f"Argument of @ has incorrect type (expected cupy.ndarray, got {type(other).__name__})")
        return wrap(run(ufunc, *(reversed(pair) if swapped else pair)), f"operator {dunder}")

    return operator


def _in_place(dunder: str, ufunc: np.ufunc) -> Callable[..., Any]:
    def operator(self: DeviceArray, other: Any) -> Any:
        log.call(f"ndarray.{dunder}", 1)
        run(ufunc, self._host, operand(other, f"operator {dunder}"), out=self._host)
        return wrap(self._host, f"operator {dunder}", [self])

    return operator


def _unary(dunder: str, ufunc: np.ufunc) -> Callable[..., Any]:
    def operator(self: DeviceArray) -> Any:
        log.call(f"ndarray.{dunder}", 0)
        return wrap(run(ufunc, self._host), f"operator {dunder}")

    return operator


def _give_operators() -> None:
    for name, ufunc in OPERATORS.items():
        setattr(DeviceArray, f"__{name}__", _binary(f"__{name}__", ufunc, swapped=False))
        setattr(DeviceArray, f"__r{name}__", _binary(f"__r{name}__", ufunc, swapped=True))
        if name not in ("matmul", "divmod"):
            setattr(DeviceArray, f"__i{name}__", _in_place(f"__i{name}__", ufunc))
    for name, ufunc in COMPARISONS.items():
        setattr(DeviceArray, f"__{name}__", _binary(f"__{name}__", ufunc, swapped=False))
    for name, ufunc in SIGNS.items():
        setattr(DeviceArray, f"__{name}__", _unary(f"__{name}__", ufunc))


_give_operators()
