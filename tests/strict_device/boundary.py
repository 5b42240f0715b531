"""Between device and host: what may be an operand, what comes out, and NumPy's own function in between."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from . import log
from .errors import UndefinedOnDevice

NUMBERS = (bool, int, float, complex, np.generic)


class Memory:
    """Base of the device array: `_host` is the NumPy array that plays the device's memory."""

    __slots__ = ("__weakref__", "_host")
    _host: np.ndarray


def mixing(value: Any, where: str) -> TypeError:
    why = ": host and device arrays cannot be mixed" if isinstance(value, np.ndarray) else ""
    return TypeError(f"Unsupported type {type(value)} in cupy {where}{why}")


def array_only(value: Any, where: str) -> None:
    if not isinstance(value, Memory):
        raise mixing(value, where)


def operand(value: Any, where: str) -> Any:
    """What an operator or a ufunc takes: a device array or a number; no host array (not even 0-d), no list, no None."""
    if isinstance(value, Memory):
        return value._host
    if isinstance(value, NUMBERS):
        return value
    raise mixing(value, where)


def argument(value: Any, where: str) -> Any:
    """What another function takes: also lists, tuples, dtypes, names; but no host array, however deep it is hidden."""
    if isinstance(value, np.ndarray):
        raise mixing(value, where)
    if isinstance(value, (list, tuple)):
        items = [argument(item, where) for item in value]
        return items if isinstance(value, list) else tuple(items)
    return value._host if isinstance(value, Memory) else value


def check_dtype(dtype: np.dtype[Any]) -> None:
    if (
        dtype.kind not in "biufc"
        or dtype.itemsize > 16
        or dtype in (np.longdouble, np.clongdouble)
        or not dtype.isnative
    ):
        raise ValueError(f"Unsupported dtype {dtype}")


def result(value: Any, name: str, make: Callable[[np.ndarray], Any], given: Iterable[Any]) -> Any:
    """NumPy's result as CuPy's: arrays and numbers become device arrays (a reduction's is 0-d), also in tuples and lists.

    given: the arguments; one whose memory the result is (`out=`) is itself the result.
    """
    if isinstance(value, (tuple, list)) and any(isinstance(item, (np.ndarray, np.generic)) for item in value):
        items = [result(item, name, make, given) for item in value]
        return tuple(items) if isinstance(value, tuple) else items
    if not isinstance(value, (np.ndarray, *NUMBERS)):
        return value
    host = np.asarray(value)
    check_dtype(host.dtype)
    if host.dtype in (np.float64, np.complex128):
        log.float64(name)
    return next((array for array in given if isinstance(array, Memory) and array._host is host), make(host))


def run(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """NumPy's function on host memory. A device gives no warning of 0/0 or overflow, and no error of an index out of range."""
    try:
        with np.errstate(all="ignore"):
            return function(*args, **kwargs)
    except IndexError as error:
        if "out of bounds" in str(error) and not isinstance(error, np.exceptions.AxisError):
            raise UndefinedOnDevice(
                f"{error}: NumPy raises an IndexError, CuPy wraps the index around and goes on"
            ) from error
        raise
