"""The modules `cupy`, `cupy.linalg`, `cupy.random`, ...: their names are those of the table."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import numpy as np

from . import api, log
from .boundary import Memory
from .cuda import make_cuda
from .functions import WITH_RULES_OF_THEIR_OWN, Function
from .ndarray import DeviceArray, wrap
from .ufunc import Ufunc

SUBMODULES = ("lib", "lib.stride_tricks", "linalg", "random")
KERNELS = {"ElementwiseKernel", "ReductionKernel", "RawKernel", "RawModule", "fuse", "vectorize"}


# ---- random numbers ---------------------------------------------------------------------------------------------------------
class Generator:
    """cupy.random.Generator, which has less than NumPy's: no normal, permutation, shuffle, choice. Other numbers than CuPy's."""

    def __init__(self, seed: Any = None) -> None:
        self._numpys = np.random.default_rng(seed)

    def __getattr__(self, name: str) -> Any:
        if name not in api.GENERATOR:
            raise AttributeError(f"'Generator' object has no attribute {name!r}")

        def draw(*args: Any, **kwargs: Any) -> Any:
            label = f"random.Generator.{name}"
            api.check_call(label, api.GENERATOR[name], args, kwargs)
            log.call(label, len(args), kwargs)
            return wrap(getattr(self._numpys, name)(*args, **kwargs), label)

        return draw


# ---- the modules ------------------------------------------------------------------------------------------------------------
class Namespace(types.ModuleType):
    """`cupy` or a part of it."""

    def __init__(self, prefix: str = "") -> None:
        super().__init__(f"cupy.{prefix}".rstrip("."), "The strict device: CuPy's names, NumPy's arithmetic.")
        self._prefix = prefix

    def __getattr__(self, short: str) -> Any:
        name = f"{self._prefix}.{short}".lstrip(".")
        if short.startswith("_"):
            raise AttributeError(f"module 'cupy' has no attribute {name!r}")
        value = self._find(name)
        setattr(self, short, value)
        return value

    def _find(self, name: str) -> Any:
        if name in KERNELS:
            return _no_kernels(name)
        if name in api.LEFT_OUT:
            raise AttributeError(
                f"the strict device leaves cupy.{name} out: it cannot tell whether the result is defined"
            )
        numpys: Any = np
        for part in name.split("."):
            numpys = getattr(numpys, part, None)
        if name in api.UFUNCS and isinstance(numpys, np.ufunc):
            return Ufunc(name, numpys)
        if name in api.FUNCTIONS and (name in WITH_RULES_OF_THEIR_OWN or callable(numpys)):
            return Function(name, numpys)
        if name in api.OTHERS and (numpys is None or isinstance(numpys, (type, float))):
            return numpys
        raise AttributeError(f"module 'cupy' has no attribute {name!r} (or the strict device does not have it)")


def _no_kernels(name: str) -> Callable[..., Any]:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"cupy.{name}: the strict device has no compiler and runs no CUDA")

    return refuse


def _get_array_module(*args: Any) -> Any:
    return CUPY if any(isinstance(arg, Memory) for arg in args) else np


def make_modules() -> dict[str, types.ModuleType]:
    """name -> module, as they stand in sys.modules while the stand-in is installed."""
    modules: dict[str, Any] = {"cupy": Namespace(), **{f"cupy.{name}": Namespace(name) for name in SUBMODULES}}
    modules |= make_cuda()
    for name, module in modules.items():
        parent, _, short = name.rpartition(".")
        if parent:
            setattr(modules[parent], short, module)
    cupy = modules["cupy"]
    cupy.ndarray, cupy.__version__, cupy.__path__ = DeviceArray, api.VERSION, []
    cupy.get_array_module = _get_array_module
    modules["cupy.random"].default_rng = Generator
    modules["cupy.random"].Generator = Generator
    return modules


MODULES = make_modules()
CUPY: Any = MODULES["cupy"]
