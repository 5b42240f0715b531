"""Lines of array code: those that CuPy refuses or gets wrong, and those that are as good there as in NumPy.

Each takes `a`, arrays of one library. The stand-in must refuse the first and run the second; so must the real CuPy, as far as it
says so without a GPU.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .errors import UndefinedOnDevice

HOST = np.random.default_rng(0).standard_normal((2, 3, 4)).astype("float32")
MIXED = "host and device arrays cannot be mixed"


class Arrays(NamedTuple):
    """The same arrays in one library, `xp`."""

    xp: Any
    x: Any  # float32 [2, 3, 4]
    v: Any  # float32 [4]
    s: Any  # float32, 0-d
    i: Any  # int64 [2]: 1, 0
    mask: Any  # bool [2, 3, 4]


def arrays(xp: Any, to_device: Callable[[np.ndarray], Any]) -> Arrays:
    x = HOST.copy()
    parts = (x, x[1, 2] + 1, np.array(1.5, "float32"), np.array([1, 0]), x > 0)
    return Arrays(xp, *map(to_device, parts))


class Bug(NamedTuple):
    """`cupy`: what CuPy does. It refuses as well; goes on and gives something else; or copies to the device, unasked."""

    run: Callable[[Arrays], Any]
    error: type[BaseException]
    match: str
    cupy: str = "refuses"


def set_item(array: Any, key: Any, value: Any) -> Any:
    array[key] = value
    return array


GOES_ON, COPIES = "goes on", "copies"
ALL = slice(None)

BUGS: dict[str, Bug] = {
    # ---- host and device mixed
    "device + host": Bug(lambda a: a.x + HOST, TypeError, MIXED),
    "host + device": Bug(lambda a: HOST + a.x, TypeError, MIXED),
    "device + 0-d host": Bug(lambda a: a.x + np.array(1.0, "float32"), TypeError, MIXED),
    "device += host": Bug(lambda a: operator.iadd(a.x, HOST), TypeError, MIXED),
    "host += device": Bug(lambda a: operator.iadd(HOST.copy(), a.x), TypeError, "Output arguments"),
    "device @ host": Bug(lambda a: a.x @ HOST[0].T, TypeError, MIXED),
    "host @ device": Bug(lambda a: HOST[0].T @ a.x, TypeError, MIXED),
    "device < host": Bug(lambda a: a.x < HOST, TypeError, MIXED),
    "device == host": Bug(lambda a: a.x == HOST, TypeError, MIXED),
    "host > device": Bug(lambda a: HOST > a.x, TypeError, MIXED),
    "np.add(host, device)": Bug(lambda a: np.add(HOST, a.x), TypeError, MIXED),
    "out= on the host": Bug(lambda a: a.xp.add(a.x, a.x, out=HOST.copy()), TypeError, "Output arguments"),
    "np.add(out= on the host)": Bug(lambda a: np.add(a.x, a.x, out=HOST.copy()), TypeError, "Output arguments"),
    "sum(out= on the host)": Bug(lambda a: a.x.sum(0, out=HOST[0].copy()), TypeError, MIXED),
    "concatenate device, host": Bug(lambda a: a.xp.concatenate([a.x, HOST]), TypeError, MIXED),
    "stack host": Bug(lambda a: a.xp.stack([HOST, HOST]), TypeError, MIXED),
    "where(mask, host, 0)": Bug(lambda a: a.xp.where(a.mask, HOST, 0), TypeError, MIXED),
    "where(host mask, device, 0)": Bug(lambda a: a.xp.where(HOST > 0, a.x, 0), TypeError, MIXED, COPIES),
    "tensordot device, host": Bug(lambda a: a.xp.tensordot(a.x, HOST, 3), TypeError, MIXED),
    "einsum device, host": Bug(lambda a: a.xp.einsum("nij,nij", a.x, HOST), TypeError, MIXED),
    "clip by a host array": Bug(lambda a: a.x.clip(HOST, None), TypeError, MIXED),
    "copyto from the host": Bug(lambda a: a.xp.copyto(a.x, HOST), TypeError, MIXED),
    "zeros_like(host)": Bug(lambda a: a.xp.zeros_like(HOST), TypeError, MIXED, COPIES),
    "sum(host)": Bug(lambda a: a.xp.sum(HOST), TypeError, MIXED, GOES_ON),
    "pad(host)": Bug(lambda a: a.xp.pad(HOST, 1), TypeError, MIXED, COPIES),
    "index by a host mask": Bug(lambda a: a.x[HOST > 0], TypeError, MIXED, COPIES),
    "index by host integers": Bug(lambda a: a.x[np.array([1, 0])], TypeError, MIXED, COPIES),
    "take at host integers": Bug(lambda a: a.x.take(np.array([0])), TypeError, MIXED, COPIES),
    "assign host": Bug(lambda a: set_item(a.x, (ALL, 0), HOST[:, 0]), TypeError, MIXED),
    "assign all from host": Bug(lambda a: set_item(a.x, ALL, HOST), TypeError, MIXED),
    "assign 0-d host": Bug(lambda a: set_item(a.x, 0, np.array(1.0, "float32")), TypeError, MIXED, COPIES),
    "assign at a host mask": Bug(lambda a: set_item(a.x, HOST > 0, 0), TypeError, MIXED, COPIES),
    "assign device into host": Bug(lambda a: set_item(HOST.copy(), 0, a.x[0]), TypeError, "Implicit conversion"),
    "add.at host values": Bug(lambda a: a.xp.add.at(a.x, a.i, HOST), TypeError, MIXED),
    "array of a device and a host array": Bug(lambda a: a.xp.array([a.x, HOST]), TypeError, MIXED),
    # ---- turned into NumPy's unasked
    "np.asarray(device)": Bug(lambda a: np.asarray(a.x), TypeError, "Implicit conversion"),
    "np.array([device])": Bug(lambda a: np.array([a.x, a.x]), TypeError, "Implicit conversion"),
    "np.float32(device)": Bug(lambda a: np.float32(a.s), TypeError, "Implicit conversion"),
    "np.testing(device)": Bug(lambda a: np.testing.assert_array_equal(a.x, a.x), TypeError, "Implicit conversion"),
    "np's as_strided": Bug(
        lambda a: np.lib.stride_tricks.as_strided(a.x, (2,), (4,)), TypeError, "Implicit conversion"
    ),
    "range(device)": Bug(lambda a: range(a.i[0]), TypeError, "cannot be interpreted as an integer"),
    "[...][device]": Bug(lambda a: [1, 2][a.i[0]], TypeError, "must be integers"),
    "a shape from the device": Bug(lambda a: a.xp.zeros((a.i[0], 2)), TypeError, "must be known on the host"),
    "an axis from the device": Bug(lambda a: a.xp.sum(a.x, axis=a.i[0]), TypeError, "must be known on the host"),
    "a hash": Bug(lambda a: hash(a.x), TypeError, "unhashable"),
    "round()": Bug(lambda a: round(a.s), TypeError, "__round__"),
    # ---- what CuPy lacks
    "sum(where=)": Bug(lambda a: a.xp.sum(a.x, where=a.mask), TypeError, "'where'"),
    "max(initial=)": Bug(lambda a: a.xp.max(a.x, initial=0.0), TypeError, "'initial'"),
    "x.max(initial=)": Bug(lambda a: a.x.max(initial=0.0), TypeError, "'initial'"),
    "np.sum(where=)": Bug(lambda a: np.sum(a.x, where=a.mask), TypeError, "'where'"),
    "add(where=)": Bug(lambda a: a.xp.add(a.x, a.x, where=True), TypeError, "Wrong arguments.*'where'"),
    "add(order=)": Bug(lambda a: a.xp.add(a.x, a.x, order="C"), TypeError, "Wrong arguments.*'order'"),
    "add.reduce(initial=)": Bug(lambda a: a.xp.add.reduce(a.x, initial=1), TypeError, "'initial'"),
    "var(mean=)": Bug(lambda a: a.xp.var(a.x, mean=a.s), TypeError, "'mean'"),
    "var(correction=)": Bug(lambda a: a.xp.var(a.x, correction=1), TypeError, "'correction'"),
    "zeros(device=)": Bug(lambda a: a.xp.zeros(3, device="cpu"), TypeError, "'device'"),
    "as_strided(writeable=)": Bug(
        lambda a: a.xp.lib.stride_tricks.as_strided(a.v, (2,), (4,), writeable=False), TypeError, "'writeable'"
    ),
    "pad(bogus=)": Bug(lambda a: a.xp.pad(a.x, 1, bogus=0), TypeError, "'bogus'"),
    "pad(constant mode, stat_length=)": Bug(
        lambda a: a.xp.pad(a.x, 1, mode="constant", stat_length=1), ValueError, "unsupported keyword"
    ),
    "block": Bug(lambda a: a.xp.block([[a.x, a.x]]), AttributeError, "'block'"),
    "np.block": Bug(lambda a: np.block([[a.x, a.x]]), TypeError, "no implementation found"),
    "vecdot": Bug(lambda a: a.xp.vecdot(a.x, a.x), AttributeError, "'vecdot'"),
    "errstate": Bug(lambda a: a.xp.errstate(all="ignore"), AttributeError, "'errstate'"),
    "nditer": Bug(lambda a: a.xp.nditer(a.x), AttributeError, "'nditer'"),
    "multiply.at": Bug(lambda a: a.xp.multiply.at(a.x, a.i, 2.0), NotImplementedError, "multiply.at"),
    "maximum.reduce": Bug(lambda a: a.xp.maximum.reduce(a.x), NotImplementedError, "maximum.reduce"),
    "x.ctypes": Bug(lambda a: a.x.ctypes, AttributeError, "'ctypes'"),
    "x.itemset": Bug(lambda a: a.x.itemset(0, 1.0), AttributeError, "'itemset'"),
    "x.flags.writeable": Bug(lambda a: a.x.flags.writeable, AttributeError, "'writeable'"),
    "x.__array_interface__": Bug(lambda a: a.x.__array_interface__, AttributeError, "'__array_interface__'"),
    "x.sum, an argument too many": Bug(lambda a: a.x.sum(0, None, None, True, 0), TypeError, "positional"),
    "dtype object": Bug(lambda a: a.xp.array([None]), ValueError, "Unsupported dtype"),
    "astype(object)": Bug(lambda a: a.x.astype(object), ValueError, "Unsupported dtype"),
    "a list of names": Bug(lambda a: a.xp.array(["a"]), ValueError, "Unsupported dtype"),
    # ---- numbers and lists where CuPy wants arrays
    "device + list": Bug(lambda a: a.v + [1, 2, 3, 4], TypeError, "Unsupported type"),
    "maximum(device, list)": Bug(lambda a: a.xp.maximum(a.v, [1, 2, 3, 4]), TypeError, "Unsupported type"),
    "device + None": Bug(lambda a: a.v + None, TypeError, "Unsupported type"),
    "device + str": Bug(lambda a: a.v + "1", TypeError, "Unsupported type"),
    "sum(list)": Bug(lambda a: a.xp.sum([1, 2]), TypeError, "Unsupported type"),
    "sum(number)": Bug(lambda a: a.xp.sum(3.0), TypeError, "Unsupported type"),
    "clip(number)": Bug(lambda a: a.xp.clip(2.0, 0, 1), TypeError, "Unsupported type"),
    "where(True, ...)": Bug(lambda a: a.xp.where(True, a.x, 0), TypeError, "Unsupported type"),
    "dot(device, number)": Bug(lambda a: a.xp.dot(a.x, 2.0), TypeError, "Unsupported type"),
    "assign a list": Bug(lambda a: set_item(a.x, (0, 0), [1, 2, 3, 4]), TypeError, "Unsupported type"),
    # ---- where CuPy goes on and gives something else than NumPy
    "two values for one place": Bug(
        lambda a: set_item(a.x, a.i * 0, a.x + 1), UndefinedOnDevice, "duplicate indices", GOES_ON
    ),
    "x[i] += values, i twice": Bug(
        lambda a: set_item(a.v, a.i * 0, a.v[a.i * 0] + a.v[:2]), UndefinedOnDevice, "duplicate indices", GOES_ON
    ),
    "index out of range": Bug(lambda a: a.x[a.i + 5], UndefinedOnDevice, "wraps", GOES_ON),
    "assign out of range": Bug(lambda a: set_item(a.x, a.i + 5, 0), UndefinedOnDevice, "wraps", GOES_ON),
    "take out of range": Bug(lambda a: a.xp.take(a.v, a.i + 5), UndefinedOnDevice, "wraps", GOES_ON),
    "overlapping copy": Bug(lambda a: set_item(a.v, slice(1, None), a.v[:-1]), UndefinedOnDevice, "overlap", GOES_ON),
    "put": Bug(lambda a: a.v.put(a.i, 0.0), AttributeError, "'put'", GOES_ON),
    "put_along_axis": Bug(lambda a: a.xp.put_along_axis(a.v, a.i, 0.0, 0), AttributeError, "leaves .* out", GOES_ON),
    "argmax(x, axis, out)": Bug(lambda a: a.xp.argmax(a.x[:, :2, 0], 0, a.i), TypeError, "give it by name", GOES_ON),
}

IDIOMS: dict[str, Callable[[Arrays], Any]] = {
    # ---- shapes
    "reshape, transpose": lambda a: a.x.transpose(2, 0, 1).reshape(-1, 3),
    "T, mT, swapaxes": lambda a: (a.x.T, a.x.mT, a.x.swapaxes(0, 2)),
    "ravel, flatten, squeeze": lambda a: (a.x.ravel(), a.x.flatten(), a.x[:1].squeeze(0)),
    "None and ...": lambda a: (a.x[:, None, ..., None], a.x[..., 0]),
    "steps, also backwards": lambda a: (a.x[:, ::2, ::-1], a.x[1, -1]),
    "expand_dims, moveaxis": lambda a: a.xp.moveaxis(a.xp.expand_dims(a.x, 0), 1, 3),
    "broadcast_to": lambda a: a.xp.broadcast_to(a.v, (2, 3, 4)).copy(),
    "concatenate, stack, split": lambda a: (
        a.xp.concatenate([a.x, a.x], 1),
        a.xp.stack((a.v, a.v)),
        *a.xp.split(a.v, 2),
    ),
    "roll, flip, repeat, tile": lambda a: (
        a.xp.roll(a.v, 1),
        a.xp.flip(a.x, 1),
        a.xp.repeat(a.v, 2),
        a.xp.tile(a.v, 2),
    ),
    "pad": lambda a: a.xp.pad(a.x, ((0, 0), (1, 2), (0, 1)), mode="constant", constant_values=-a.xp.inf),
    "np.pad": lambda a: np.pad(a.x, ((0, 0), (1, 2), (0, 1))),
    "as_strided": lambda a: a.xp.lib.stride_tricks.as_strided(a.v, (3, 2), (4, 4)),
    "sliding_window_view": lambda a: a.xp.lib.stride_tricks.sliding_window_view(a.x, (2, 2), axis=(1, 2)),
    # ---- arithmetic
    "operators": lambda a: (a.x + a.v, 1 - a.x, a.x * 2.0, 1 / (a.x**2 + 1), a.x // 2, a.x % 2, -a.x, abs(a.x), +a.x),
    "divmod, integers": lambda a: (*divmod(a.i + 5, 2), a.i << 1, a.i >> 1, a.i & 1, a.i | 1, a.i ^ 1, ~a.i),
    "NumPy scalars": lambda a: (a.x * np.float32(2), np.float32(2) * a.x, a.x + np.float64(1), a.i + np.int64(1)),
    "in place": lambda a: operator.itruediv(operator.imul(operator.isub(operator.iadd(a.x, a.v), 1), np.float32(3)), 2),
    "in place on a part": lambda a: operator.iadd(a.x[:, ::2], 1),
    "comparisons": lambda a: (a.x > 0, 0 < a.x, a.x >= a.v, a.x == a.x, a.x != a.v, (a.x > 0) & ~a.mask),
    "equal to None": lambda a: (a.x == None, a.x != None),  # noqa: E711
    "exp, log, sqrt": lambda a: (a.xp.exp(a.x), a.xp.log(a.x * a.x + 1), a.xp.sqrt(abs(a.x))),
    "maximum, minimum, clip": lambda a: (
        a.xp.maximum(a.x, 0),
        a.xp.minimum(a.x, a.v),
        a.xp.clip(a.x, -1, 1),
        a.x.clip(0),
    ),
    "out=": lambda a: a.xp.maximum(a.x, 0, out=a.x),
    "out by position": lambda a: a.xp.add(a.x, 1, a.x),
    "dtype=": lambda a: (a.xp.add(a.x, 1, dtype="float64"), a.x.sum(dtype="float64"), a.i.sum(dtype="float32")),
    "casting=": lambda a: a.xp.add(a.i, 1.5, dtype="int64", casting="unsafe"),
    "where": lambda a: (a.xp.where(a.mask, a.x, 0), a.xp.where(a.mask, np.float32(1), a.v)),
    "astype": lambda a: (a.mask.astype("float32"), a.x.astype(a.xp.float64), a.x.astype("float32", copy=False)),
    "0/0": lambda a: (a.x - a.x) / (a.x - a.x),
    # ---- sums and products
    "sum": lambda a: (a.x.sum(), a.x.sum((0, 2)), a.xp.sum(a.x, axis=1, keepdims=True), a.x.sum(2, keepdims=True)),
    "mean, var, std": lambda a: (
        a.x.mean(axis=0),
        a.xp.var(a.x, axis=(0, 1), ddof=1),
        a.x.std(),
        a.xp.mean(a.x, dtype="f8"),
    ),
    "max, min, prod": lambda a: (a.x.max(-1, keepdims=True), a.xp.min(a.x, axis=0), a.v.prod()),
    "any, all": lambda a: (a.mask.any(), a.xp.all(a.mask, axis=0), a.xp.isfinite(a.x).all()),
    "argmax, argsort, sort": lambda a: (a.x.argmax(1), a.xp.argmax(a.x), a.xp.argsort(a.v), a.xp.sort(a.x, axis=0)),
    "cumsum": lambda a: (a.x.cumsum(1), a.xp.cumsum(a.x, axis=0)),
    "matmul": lambda a: (a.x @ a.x.mT, a.xp.matmul(a.x[0], a.v), a.x[0].T @ a.x[1]),
    "tensordot, dot, outer": lambda a: (
        a.xp.tensordot(a.x, a.x, axes=((0, 1), (0, 1))),
        a.v.dot(a.v),
        a.xp.outer(a.v, a.v),
    ),
    "einsum": lambda a: (a.xp.einsum("nij,nkj->nik", a.x, a.x), a.xp.einsum("nij,j->i", a.x, a.v, optimize=True)),
    "add.reduce, multiply.outer": lambda a: (a.xp.add.reduce(a.x, axis=1), a.xp.multiply.outer(a.v, a.v)),
    "linalg.norm": lambda a: a.xp.linalg.norm(a.v),
    "an empty batch": lambda a: (
        a.x[:0].sum(0),
        a.x[:0].reshape(-1, 4) @ a.x[0].T,
        a.xp.maximum(a.x[:0], 0),
        a.x[:0] + a.v,
    ),
    # ---- NumPy's functions go to CuPy
    "np.sum, np.mean": lambda a: (np.sum(a.x, axis=0), np.mean(a.x), np.max(a.x, 1)),
    "np.exp, np.maximum": lambda a: (np.exp(a.x), np.maximum(a.x, 0), np.add.reduce(a.x)),
    "np.concatenate, np.where": lambda a: (np.concatenate([a.x, a.x]), np.where(a.mask, a.x, 0)),
    "np.tensordot, np.matmul": lambda a: (np.tensordot(a.x, a.x, 3), np.matmul(a.x[0].T, a.x[1])),
    "np.shape, np.ndim, np.size": lambda a: (np.shape(a.x), np.ndim(a.x), np.size(a.x)),
    # ---- indices
    "integers on the device": lambda a: (a.x[a.i], a.x[:, a.i], a.x[a.i, a.i], a.x[a.i[0]]),
    "take, take_along_axis": lambda a: (a.x.take(a.i, axis=1), a.xp.take_along_axis(a.x, a.x.argmax(1)[:, None], 1)),
    "a mask": lambda a: a.x[a.mask],
    "the other way to a mask": lambda a: a.x * a.mask,
    "one-hot": lambda a: (a.i[..., None] == a.xp.arange(3)).astype(a.x.dtype),
    "assign a number": lambda a: set_item(a.x, (ALL, 0), 7),
    "assign a NumPy scalar": lambda a: set_item(a.x, (0, 0, 0), np.float32(7)),
    "assign an array": lambda a: set_item(a.x, (ALL, slice(1, 3)), a.v),
    "assign at integers": lambda a: set_item(a.x, a.i, a.x + 1),
    "one number for places given twice": lambda a: set_item(a.x, a.i * 0, 3.0),
    "assign at a mask": lambda a: set_item(a.x, a.mask, 0),
    "assign with a shift, not contiguous": lambda a: set_item(a.x, (ALL, ALL, slice(1, None)), a.x[:, :, :-1]),
    "add.at, indices twice": lambda a: (a.xp.add.at(a.v, a.i * 0, 1.0), a.v)[1],
    "nonzero, argwhere, unique": lambda a: (
        *a.mask.nonzero(),
        a.xp.argwhere(a.mask),
        a.xp.unique(a.i),
        *a.xp.where(a.mask),
    ),
    "a view is written through": lambda a: (operator.iadd(a.x[0].reshape(-1)[2:5], 1), a.x)[1],
    # ---- making arrays
    "zeros, ones, full": lambda a: (
        a.xp.zeros((2, 3), "float32"),
        a.xp.ones(3, a.x.dtype),
        a.xp.full((2,), 3, "int32"),
    ),
    "zeros_like, full_like": lambda a: (
        a.xp.zeros_like(a.x),
        a.xp.full_like(a.i, 3),
        a.xp.ones_like(a.x, dtype="int32"),
    ),
    "empty, then filled": lambda a: set_item(a.xp.empty(a.x.shape, a.x.dtype), ..., a.x),
    "arange, linspace, eye": lambda a: (a.xp.arange(5), a.xp.linspace(0, 1, 5), a.xp.eye(3, dtype="float32")),
    "asarray of an array": lambda a: (a.xp.asarray(a.x), a.xp.array(a.x, copy=True), a.xp.asarray(a.i, "float32")),
    "ascontiguousarray": lambda a: a.xp.ascontiguousarray(a.x.T),
    "copy": lambda a: (a.x.copy(), copy.copy(a.x), copy.deepcopy(a.v)),
    "fill, copyto": lambda a: (a.v.fill(2), a.xp.copyto(a.x, 3.0, where=a.mask), a.v, a.x)[2:],
    "len, iteration": lambda a: (len(a.x), *a.x, [row + 1 for row in a.v]),
    "a Python number": lambda a: (float(a.s), int(a.s), bool(a.s), a.s.item(), a.v.tolist(), f"{a.s:.2f}"),
    "constants": lambda a: (a.xp.inf, a.xp.pi, a.xp.newaxis, a.xp.float32(1), a.xp.finfo("float32").eps),
}
