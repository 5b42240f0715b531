"""cupy.add, cupy.exp and the like: three keywords, arrays and numbers only, and not all of NumPy's methods."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import api, indexing, log
from .boundary import Memory, argument, array_only, operand, run
from .ndarray import wrap


class Ufunc:
    """CuPy's rules, NumPy's arithmetic."""

    def __init__(self, name: str, numpys: np.ufunc) -> None:
        self.__name__, self._numpys = name, numpys
        nin, *self._methods = api.UFUNCS[name].split()
        self.nin, self.nout = int(nin), numpys.nout

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        name = self.__name__
        for keyword in kwargs:
            if keyword not in api.UFUNC_KEYWORDS:
                raise TypeError(f"Wrong arguments {{{keyword!r}: ...}} for cupy.{name}")
        if not self.nin <= len(args) <= self.nin + self.nout:
            raise TypeError(f"Wrong number of arguments for cupy.{name}: {len(args)}")
        log.call(name, len(args), kwargs)
        outs = [out for out in (*args[self.nin :], kwargs.pop("out", None)) if out is not None]
        for out in outs:
            if not isinstance(out, Memory):
                raise TypeError(f"Output arguments of cupy.{name} must be cupy.ndarray, not {type(out)}")
        if outs:
            kwargs["out"] = tuple(out._host for out in outs)
        inputs = [operand(arg, name) for arg in args[: self.nin]]
        return wrap(run(self._numpys, *inputs, **kwargs), name, outs)

    def __getattr__(self, method: str) -> Callable[..., Any]:
        if method not in api.UFUNC_METHODS:
            raise AttributeError(f"'cupy.ufunc' object has no attribute {method!r}")

        def call(*args: Any, **kwargs: Any) -> Any:
            label = f"{self.__name__}.{method}"
            if method not in self._methods:
                raise NotImplementedError(f"`cupy.{label}` is not supported yet")
            api.check_call(label, api.UFUNC_METHODS[method], args, kwargs)
            log.call(label, len(args), kwargs)
            return self._at(*args) if method == "at" else self._reduce(method, label, args, kwargs)

        return call

    def _at(self, array: Any, key: Any, value: Any) -> None:
        array_only(array, f"{self.__name__}.at")
        run(self._numpys.at, array._host, indexing.host_key(key), operand(value, f"{self.__name__}.at"))

    def _reduce(self, method: str, label: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        array_only(args[0], label)
        given = [argument(arg, label) for arg in args]
        by_name = {name: argument(value, label) for name, value in kwargs.items()}
        return wrap(run(getattr(self._numpys, method), *given, **by_name), label, (*args, *kwargs.values()))
