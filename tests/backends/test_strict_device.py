"""The stand-in for CuPy: it refuses what CuPy refuses, runs what CuPy runs, and counts what costs time on a device."""

from __future__ import annotations

import importlib
import io
import math
import pickle
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from tests import strict_device
from tests.strict_device import DeviceArray, api, idioms

cupy: Any = None  # the stand-in, while a test runs


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with strict_device.installed() as module:
        monkeypatch.setattr(sys.modules[__name__], "cupy", module)
        yield


def on_device() -> idioms.Arrays:
    return idioms.arrays(cupy, cupy.asarray)


def on_host(value: Any) -> Any:
    """Device arrays in it as NumPy's; a host number where an array should be stays what it is, and is then seen."""
    if isinstance(value, (list, tuple)):
        return [on_host(item) for item in value]
    return value.get() if isinstance(value, DeviceArray) else value


def assert_same(ours: Any, numpys: Any) -> None:
    if isinstance(numpys, (list, tuple)):
        assert len(ours) == len(numpys)
        for one, other in zip(ours, numpys, strict=True):
            assert_same(one, other)
    elif isinstance(numpys, (np.ndarray, np.generic)) and isinstance(ours, np.ndarray):
        assert (ours.dtype, ours.shape) == (numpys.dtype, numpys.shape)
        np.testing.assert_array_equal(ours, numpys)
    else:
        assert type(ours) is type(numpys) and ours == numpys


# ---- the two tables -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", idioms.BUGS)
def test_a_bug_is_refused(name: str) -> None:
    bug = idioms.BUGS[name]
    with pytest.raises(bug.error, match=bug.match):
        bug.run(on_device())


@pytest.mark.parametrize("name", [name for name, bug in idioms.BUGS.items() if bug.cupy != "refuses"])
def test_numpy_sees_nothing_wrong_with_it(name: str) -> None:
    """So a test that runs on NumPy only cannot find these (an index out of range is another error there, which code may catch)."""
    bug, a = idioms.BUGS[name], idioms.arrays(np, np.array)
    if "out of range" in name:
        with pytest.raises(IndexError):
            bug.run(a)
    else:
        bug.run(a)


@pytest.mark.parametrize("name", idioms.IDIOMS)
def test_an_idiom_gives_what_numpy_gives(name: str) -> None:
    device, host = on_device(), idioms.arrays(np, np.array)
    with np.errstate(all="ignore"):
        assert_same(on_host(idioms.IDIOMS[name](device)), idioms.IDIOMS[name](host))
    assert_same(on_host(device[1:]), host[1:])  # and what it wrote is the same too


# ---- counting -----------------------------------------------------------------------------------------------------------
SYNCS: dict[str, tuple[int, Callable[[idioms.Arrays], Any]]] = {
    "float": (1, lambda a: float(a.s)),
    "int": (1, lambda a: int(a.s)),
    "bool": (1, lambda a: bool(a.s)),
    "complex": (1, lambda a: complex(a.s)),
    "if": (1, lambda a: 1 if a.s > 0 else 2),
    "bool(x == y)": (1, lambda a: bool((a.x == a.x).all())),
    "item, tolist, get": (3, lambda a: (a.s.item(), a.v.tolist(), a.x.get())),
    "asnumpy": (1, lambda a: cupy.asnumpy(a.x)),
    "asnumpy of a host array": (0, lambda a: cupy.asnumpy(idioms.HOST)),
    "math.sqrt": (1, lambda a: math.sqrt(a.s)),
    "an f-string, str, repr": (3, lambda a: (f"{a.s:.3f}", str(a.x), repr(a.x))),
    "pickle": (1, lambda a: pickle.loads(pickle.dumps(a.x)) + a.x),
    "max() of Python": (3, lambda a: max(a.v)),
    "in": (1, lambda a: a.v[0] in a.v),
    "x[mask]": (1, lambda a: a.x[a.mask]),
    "x[mask] = 0": (1, lambda a: idioms.set_item(a.x, a.mask, 0)),
    "x[a:]": (1, lambda a: a.v[a.i[0] :]),
    "where of one argument": (1, lambda a: cupy.where(a.mask)),
    "where of three": (0, lambda a: cupy.where(a.mask, a.x, 0)),
    "nonzero": (2, lambda a: (a.mask.nonzero(), cupy.nonzero(a.mask))),
    "unique, argwhere": (2, lambda a: (cupy.unique(a.i), cupy.argwhere(a.mask))),
    "repeat by a device array": (1, lambda a: cupy.repeat(a.v[:2], a.i)),
    "np.save": (1, lambda a: np.save(io.BytesIO(), a.x)),
    "synchronize": (2, lambda a: (cupy.cuda.Device().synchronize(), cupy.cuda.get_current_stream().synchronize())),
    "len, iteration, shape": (0, lambda a: (len(a.x), list(a.x), a.x.shape, a.x.size, np.shape(a.x))),
    "sums": (0, lambda a: (a.x.sum(), a.x.max(0), a.x @ a.x.mT, (a.x > 0).any())),
    "integer arrays as indices": (0, lambda a: (a.x[a.i], idioms.set_item(a.x, a.i, 0))),
    "copy": (0, lambda a: (a.x.copy(), cupy.asarray(a.x), a.x == None)),  # noqa: E711
}


@pytest.mark.parametrize("name", SYNCS)
def test_waiting_for_the_device_is_counted(name: str) -> None:
    expected, run = SYNCS[name]
    a = on_device()
    with strict_device.recording() as seen:
        run(a)
    assert seen.syncs == expected, seen.where


FLOAT64: dict[str, tuple[int, Callable[[idioms.Arrays], Any]]] = {
    "by a Python number": (0, lambda a: a.x * 2.0),
    "by a float32 scalar": (0, lambda a: a.x * np.float32(2)),
    "by a float64 scalar": (1, lambda a: a.x * np.float64(2)),
    "by a float64 scalar on the left": (1, lambda a: np.float64(2) * a.x),
    "zeros": (1, lambda a: cupy.zeros(3)),
    "zeros, float32": (0, lambda a: cupy.zeros(3, "float32")),
    "integers divided": (1, lambda a: a.i / 2),
    "integers and floats": (1, lambda a: a.i + a.x[:, 0, 0]),
    "mean of integers": (1, lambda a: a.i.mean()),
    "sum(dtype=)": (1, lambda a: a.x.sum(dtype="float64")),
    "add(dtype=)": (1, lambda a: np.add(a.x, a.x, dtype="float64")),
    "astype": (1, lambda a: a.x.astype(float)),
    "a number made an array": (1, lambda a: cupy.asarray(1.0)),
    "sqrt of a number": (1, lambda a: cupy.sqrt(2.0)),
    "there and back": (1, lambda a: a.x.astype("float64").astype("float32")),
    "complex": (1, lambda a: a.x.astype("complex128")),
    "float32 throughout": (0, lambda a: (a.x.mean(), a.x.var(0), np.exp(a.x), a.x @ a.x.mT, 1 / cupy.sqrt(a.x + 1e-5))),
    "in place": (0, lambda a: a.x.__iadd__(1.0)),
}


@pytest.mark.parametrize("name", FLOAT64)
def test_float64_results_are_counted(name: str) -> None:
    expected, run = FLOAT64[name]
    a = on_device()
    with strict_device.recording() as seen:
        run(a)
    assert seen.float64 == expected, seen.where


def test_copies_to_the_device_are_counted() -> None:
    a = on_device()
    with strict_device.recording() as seen:
        cupy.asarray(idioms.HOST)
        cupy.array([1, 2])
        a.x[[1, 0]]
        cupy.asarray(a.x)
        cupy.zeros(3, "float32")
    assert seen.uploads == 3, seen.where


def test_a_recording_says_what_was_called_and_where_it_waited() -> None:
    a = on_device()
    with strict_device.recording() as outer:
        a.x.sum(2, keepdims=True)
        with strict_device.recording() as inner:
            np.maximum(a.x, 0, out=a.x)
            float(a.s)
    assert inner.calls == {("maximum", 2, ("out",))}
    assert outer.calls == inner.calls | {("ndarray.sum", 1, ("keepdims",))}
    assert outer.syncs == inner.syncs == 1
    assert "float(x)" in outer.where[0] and __name__.rpartition(".")[2] in outer.where[0]
    float(a.s)
    assert outer.syncs == 1  # closed


# ---- what an array is ---------------------------------------------------------------------------------------------------
def test_a_reduction_gives_an_array_on_the_device() -> None:
    a = on_device()
    for value in (
        a.x.sum(),
        cupy.mean(a.x),
        np.max(a.x),
        a.x[0, 0, 0],
        a.v @ a.v,
        cupy.count_nonzero(a.mask),
        cupy.array_equal(a.x, a.x),
    ):
        assert (
            isinstance(value, cupy.ndarray)
            and value.shape == ()
            and not isinstance(value, (np.ndarray, np.generic, float))
        )


def test_an_element_is_a_view() -> None:
    """In NumPy v[0] is a number of its own; in CuPy it changes with v."""
    v = on_device().v
    first = v[0]
    v += 1
    assert first.get() == v.get()[0]
    first += 1
    assert first.get() == v.get()[0]


def test_the_device_has_memory_of_its_own() -> None:
    host = idioms.HOST.copy()
    device = cupy.asarray(host)
    host[...] = 0
    assert device.get().any()
    back = device.get()
    back[...] = 0
    assert device.get().any()


def test_memory_that_nobody_wrote_is_poisoned() -> None:
    x = on_device().x
    assert np.isnan(cupy.empty((2, 2), "float32").get()).all()
    assert np.isnan(cupy.empty_like(x).get()).all() and np.isnan(cupy.ndarray((2,)).get()).all()
    assert (cupy.empty(3, "int64").get() == np.iinfo("int64").max).all()


def test_no_warning_of_overflow_or_0_over_0() -> None:
    x = on_device().x
    with pytest.warns(RuntimeWarning):
        np.exp(idioms.HOST * np.float32(1e9))
    assert np.isinf(np.exp(x * 1e9).get()).any()  # a warning would be an error here


def test_results_are_the_arrays_that_were_given() -> None:
    a = on_device()
    x = a.x
    assert cupy.maximum(x, 0, out=x) is x and cupy.asarray(x) is x
    x += 1
    assert x is a.x


def test_it_has_no_special_method_that_cupy_lacks() -> None:
    ours = {name for kind in DeviceArray.__mro__[:-1] for name in vars(kind) if name.startswith("__")}
    pythons = {"__slots__", "__weakref__", "__module__", "__doc__", "__getattr__", "__annotations__", "__firstlineno__"}
    assert ours - pythons - {"__static_attributes__"} <= set(api.TABLE["special"]) | {"__qualname__"}
    assert "__index__" not in api.TABLE["special"] and "__len__" in api.TABLE["special"]


# ---- the module ---------------------------------------------------------------------------------------------------------
def test_import_gives_the_stand_in() -> None:
    import_module = importlib.import_module
    assert import_module("cupy") is cupy and import_module("cupy.cuda.runtime") is cupy.cuda.runtime
    assert import_module("cupy.lib.stride_tricks") is cupy.lib.stride_tricks
    assert cupy.cuda.runtime.getDeviceCount() == 1 and cupy.cuda.is_available()
    assert issubclass(cupy.cuda.runtime.CUDARuntimeError, RuntimeError)
    assert cupy.get_array_module(on_device().x) is cupy and cupy.get_array_module(idioms.HOST) is np
    assert cupy.__version__ == api.VERSION and repr(cupy.ndarray) == "<class 'cupy.ndarray'>"
    with pytest.raises(ImportError):
        import_module("cupyx")
    with pytest.raises(NotImplementedError, match="no compiler"):
        cupy.RawKernel("", "f")


def test_afterwards_everything_is_as_before() -> None:
    real, part = types.ModuleType("cupy"), types.ModuleType("cupy._core")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in sys.modules if name.partition(".")[0] in ("cupy", "cupyx")]:
            patch.delitem(sys.modules, name)
        patch.setitem(sys.modules, "cupy", real)
        patch.setitem(sys.modules, "cupy._core", part)
        with strict_device.installed() as outer:
            assert sys.modules["cupy"] is outer and "cupy._core" not in sys.modules
            with strict_device.installed() as inner:
                assert inner is outer
            assert sys.modules["cupy"] is outer
        assert sys.modules["cupy"] is real and sys.modules["cupy._core"] is part
        assert "cupyx" not in sys.modules and "cupy.cuda" not in sys.modules


def test_random_numbers_have_less_than_numpys() -> None:
    rng = cupy.random.default_rng(0)
    assert rng.standard_normal((2, 2), dtype="float32").dtype == np.float32 and isinstance(rng.random(3), cupy.ndarray)
    for missing in ("normal", "permutation", "shuffle", "choice"):
        with pytest.raises(AttributeError, match=missing):
            getattr(rng, missing)
    with pytest.warns(UserWarning, match="not a subclass of 'Sequence'"):  # it swaps views, which loses values
        np.random.default_rng(0).shuffle(on_device().v)
