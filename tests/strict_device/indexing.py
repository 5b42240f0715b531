"""x[key] and x[key] = value, with CuPy's rules: views, masks that make the program wait, indices that wrap, duplicates."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import log
from .boundary import NUMBERS, Memory, mixing, run
from .errors import UndefinedOnDevice


def get(host: np.ndarray, key: Any) -> np.ndarray:
    """A view for integers, slices, None and Ellipsis (also where NumPy gives a number); a copy for arrays."""
    parts = host_key(key)
    return np.array(run(host.__getitem__, parts), copy=True) if _has_arrays(parts) else _view(host, parts)


def put(host: np.ndarray, key: Any, value: Any) -> None:
    """Host arrays are refused as values, also where CuPy would copy them, and lists as CuPy refuses them."""
    if not isinstance(value, (Memory, *NUMBERS)):
        raise mixing(value, "assignment")
    parts, given = host_key(key), value._host if isinstance(value, Memory) else value
    if _has_arrays(parts):
        if isinstance(given, np.ndarray) and given.size > 1:
            _check_duplicates(host.shape, parts)
        run(host.__setitem__, parts, given)
    else:
        target = _view(host, parts)
        if isinstance(given, np.ndarray):
            _check_overlap(target, given)
        run(target.__setitem__, ..., given)


def _view(host: np.ndarray, parts: tuple[Any, ...]) -> np.ndarray:
    """With an Ellipsis, an array also where all axes have an integer."""
    return host[parts] if any(part is Ellipsis for part in parts) else host[(*parts, ...)]


def host_key(key: Any) -> tuple[Any, ...]:
    return tuple(_part(part) for part in (key if isinstance(key, tuple) else (key,)))


def _part(part: Any) -> Any:
    if isinstance(part, Memory):
        if part._host.dtype == bool:
            log.sync("a boolean mask as an index (its number of True decides the shape)")
        return part._host
    if isinstance(part, np.ndarray):  # CuPy copies it to the device, at every use
        raise mixing(part, "index")
    if isinstance(part, (list, tuple)):
        if any(isinstance(item, (Memory, np.ndarray)) for item in part):
            raise mixing(part, "index")
        log.upload("a list as an index")
        return np.asarray(part, None if len(part) else np.int32)
    if isinstance(part, slice):
        return slice(*(_number(bound) for bound in (part.start, part.stop, part.step)))
    return part


def _number(bound: Any) -> Any:
    if isinstance(bound, Memory):
        log.sync("a device array as the bound of a slice")
        return int(bound._host)
    return bound


def _has_arrays(parts: tuple[Any, ...]) -> bool:
    return any(isinstance(part, (np.ndarray, bool, np.bool_)) for part in parts)


def _check_duplicates(shape: tuple[int, ...], parts: tuple[Any, ...]) -> None:
    written = run(np.arange(int(np.prod(shape))).reshape(shape).__getitem__, parts)
    if np.unique(written).size < written.size:
        raise UndefinedOnDevice(
            "assignment with duplicate indices: which of the values is stored is undefined in CuPy; see add.at"
        )


def _check_overlap(target: np.ndarray, value: np.ndarray) -> None:
    """CuPy copies arrays of one layout by cudaMemcpy, which may not overlap; with other layouts it takes care itself."""
    same = target.shape == value.shape and target.strides == value.strides and target.dtype == value.dtype
    if (
        same
        and target.flags.c_contiguous
        and np.may_share_memory(target, value)
        and target.ctypes.data != value.ctypes.data
    ):
        raise UndefinedOnDevice(
            "source and target of the assignment overlap: CuPy copies them by cudaMemcpy, which is undefined"
        )
