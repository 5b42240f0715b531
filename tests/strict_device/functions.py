"""cupy.sum, cupy.concatenate, cupy.where, ...: everything that is called and is no ufunc."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import api, log
from .boundary import NUMBERS, Memory, argument, array_only, operand, run
from .ndarray import DeviceArray, poisoned, wrap

# CuPy waits for the device in these, mostly because the shape of the result depends on the values.
WAITING = {
    "nonzero", "argwhere", "flatnonzero", "unique", "compress", "extract", "bincount", "histogram", "trim_zeros", "union1d",
    "intersect1d", "setdiff1d", "setxor1d", "delete", "array_repr", "array_str", "array2string", "save", "savez", "savetxt",
    "savez_compressed", "linalg.inv", "linalg.solve", "linalg.cholesky", "linalg.lstsq", "linalg.pinv", "linalg.matrix_rank",
}  # fmt: skip
# Their answer is a Python value in CuPy too; any other number is a 0-d array there.
ANSWERS_ON_HOST = {
    "shape", "ndim", "size", "can_cast", "isscalar", "iscomplexobj", "isrealobj", "issubdtype", "isdtype", "may_share_memory",
    "shares_memory", "result_type", "promote_types", "min_scalar_type", "common_type", "broadcast_shapes", "isfortran",
}  # fmt: skip
ARRAYS = {"a", "arr", "array", "ary", "m", "x", "a1", "v", "A"}  # a first parameter of this name must be an array ...
OR_A_NUMBER = {"isclose", "allclose", "round", "around", "real", "imag", "angle", "nan_to_num"}  # ... except in these
PRODUCTS = {"matmul", "dot", "vdot", "inner", "outer", "tensordot", "kron", "linalg.matmul"}  # the second one as well
# Parameters that the program must know when it calls: CuPy refuses a device array there.
KNOWN = {
    "shape", "newshape", "dims", "axis", "axes", "axis1", "axis2", "source", "destination", "num", "N", "M", "k", "decimals",
    "ddof", "reps", "shift", "pad_width", "offset", "keepdims", "indices_or_sections", "strides", "window_shape", "order",
}  # fmt: skip


class Function:
    """CuPy's parameters, NumPy's arithmetic."""

    def __init__(self, name: str, numpys: Callable[..., Any]) -> None:
        self.__name__, self._numpys, self._text = name, numpys, api.FUNCTIONS[name]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        name = self.__name__
        api.check_call(name, self._text, args, kwargs, api.numpy_parameters(self._numpys))
        log.call(name, len(args), kwargs)
        if name in WITH_RULES_OF_THEIR_OWN:
            return WITH_RULES_OF_THEIR_OWN[name](*args, **kwargs)
        check_operands(name, args, {**dict(zip(api.parameters(self._text).positional, args, strict=False)), **kwargs})
        if name in WAITING:
            log.sync(f"cupy.{name}")
        given = [argument(arg, name) for arg in args]
        value = run(self._numpys, *given, **{key: argument(value, name) for key, value in kwargs.items()})
        return value if name in ANSWERS_ON_HOST else wrap(value, name, (*args, *kwargs.values()))


def check_operands(name: str, args: tuple[Any, ...], bound: dict[str, Any]) -> None:
    """What CuPy asks of the arguments; `bound`: those that have a name."""
    first, value = next(iter(bound.items()), ("", None))
    if first in ARRAYS and name not in ANSWERS_ON_HOST and not (name in OR_A_NUMBER and isinstance(value, NUMBERS)):
        array_only(value, name)
    if name in PRODUCTS:
        for factor in args[:2]:
            array_only(factor, name)
    if isinstance(bound.get("tup"), (list, tuple)):  # concatenate, stack, ...
        for item in bound["tup"]:
            array_only(item, name)
    for parameter in KNOWN.intersection(bound):
        if holds_array(bound[parameter]):
            raise TypeError(
                f"{parameter} of cupy.{name} must be known on the host, but it is (or holds) a cupy.ndarray"
            )
    if bound.get("out") is not None:
        array_only(bound["out"], f"{name}(out=)")


def holds_array(value: Any) -> bool:
    return isinstance(value, Memory) or (isinstance(value, (list, tuple)) and any(map(holds_array, value)))


# ---- with rules of their own ----------------------------------------------------------------------------------------------
def _array(obj: Any, dtype: Any = None, copy: Any = True, order: str = "K", subok: bool = False, ndmin: int = 0, *,
           blocking: bool = False) -> Any:  # fmt: skip
    """The one way from the host to the device: always a copy, always counted."""
    if isinstance(obj, Memory):
        host = np.array(obj._host, dtype, copy=copy or None, order=order, ndmin=ndmin)
        return wrap(host, "array", [obj])
    if isinstance(obj, (list, tuple)) and holds_array(obj):
        host = np.array(argument(obj, "array"), dtype, order=order, ndmin=ndmin)
    else:
        log.upload("cupy.array or cupy.asarray")
        host = np.array(obj, dtype, copy=True, order=order, ndmin=ndmin)
    return wrap(host, "array")


def _asarray(a: Any, dtype: Any = None, order: Any = None, *, copy: Any = None, blocking: bool = False) -> Any:
    return _array(a, dtype, bool(copy), order or "K")


def _asnumpy(a: Any, stream: Any = None, order: str = "C", out: Any = None, *, blocking: bool = True) -> np.ndarray:
    return a.get() if isinstance(a, Memory) else np.asarray(a)


def _empty(shape: Any, dtype: Any = float, order: str = "C") -> Any:
    if holds_array(shape):
        raise TypeError("'cupy.ndarray' object cannot be interpreted as an integer")
    return wrap(DeviceArray(shape, dtype, order)._host, "empty")


def _empty_like(prototype: Any, dtype: Any = None, order: str = "K", subok: Any = None, shape: Any = None) -> Any:
    array_only(prototype, "empty_like")
    return wrap(poisoned(np.empty_like(prototype._host, dtype, order, shape=shape)), "empty_like")


def _where(condition: Any, x: Any = None, y: Any = None) -> Any:
    array_only(condition, "where")
    if x is None and y is None:
        log.sync("cupy.where of one argument (the number of True decides the shape)")
        return wrap(np.where(condition._host), "where")
    return wrap(run(np.where, condition._host, operand(x, "where"), operand(y, "where")), "where")


def _repeat(a: Any, repeats: Any, axis: Any = None) -> Any:
    array_only(a, "repeat")
    if isinstance(repeats, Memory):
        log.sync("cupy.repeat by a device array (its sum decides the shape)")
    return wrap(np.repeat(a._host, argument(repeats, "repeat"), axis), "repeat")


WITH_RULES_OF_THEIR_OWN: dict[str, Callable[..., Any]] = {
    "array": _array, "asarray": _asarray, "asanyarray": _asarray, "asnumpy": _asnumpy, "empty": _empty, "empty_like": _empty_like,
    "where": _where, "repeat": _repeat,
}  # fmt: skip
