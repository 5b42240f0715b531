"""What the real CuPy says without a GPU, and cupy_api.json made of it:   python -m tests.strict_device.snapshot

CuPy looks at a call's arguments before it looks for a device, so that much can be asked of it anywhere.
"""

from __future__ import annotations

import importlib
import inspect
import json
import re
from pathlib import Path
from typing import Any

SUBMODULES = ("lib", "lib.stride_tricks", "linalg", "random")
# What functions take by **kwargs, from CuPy's source (linalg/_einsum.py, _padding/pad.py, _creation/ranges.py).
BEHIND_KWARGS = {
    "einsum": "dtype, optimize",
    "pad": "constant_values, end_values, stat_length, reflect_type",
    "meshgrid": "indexing, copy, sparse",
}
NOT_METHODS = ("__class_getitem__", "__doc__", "__module__", "__new__", "__pyx_vtable__")
UFUNC_METHODS = ("at", "outer", "reduce", "accumulate", "reduceat")
UFUNC_KEYWORDS = ("out", "where", "axes", "axis", "keepdims", "casting", "order", "dtype", "subok", "signature")


# ---- asking it ------------------------------------------------------------------------------------------------------------
def has_gpu(cupy: Any) -> bool:
    try:
        return bool(cupy.cuda.runtime.getDeviceCount())
    except cupy.cuda.runtime.CUDARuntimeError:
        return False


def array(cupy: Any, shape: tuple[int, ...], dtype: str = "float32") -> Any:
    """Zeros where there is a GPU. Elsewhere an array at a made-up address: it has shape, strides and type, and no memory."""
    if has_gpu(cupy):
        return cupy.zeros(shape, dtype)
    memory = cupy.cuda.UnownedMemory(0x1000, 1 << 20, None, device_id=0)
    return cupy.ndarray(shape, dtype, memptr=cupy.cuda.MemoryPointer(memory, 0))


def refusal(cupy: Any, call: Any) -> BaseException | None:
    """What CuPy has against `call()`: None if it went through, or would have with a GPU and its libraries."""
    try:
        call()
    except cupy.cuda.runtime.CUDARuntimeError:  # it got as far as the driver
        return None
    except ImportError as error:  # ... or as the CUDA libraries, which the plain wheel does not bring
        return None if "lib" in str(error) else error
    except Exception as error:
        return error
    return None


# ---- the table -----------------------------------------------------------------------------------------------------------
def signature_text(function: Any, name: str = "") -> str | None:
    """`a, axis, *, out`: from the signature, or from the first line of the docstring, where Cython writes it."""
    try:
        kinds = [(p.name, p.kind) for p in inspect.signature(function).parameters.values()]
    except (TypeError, ValueError):
        return _docstring_text(function)
    parts: list[str] = []
    for parameter, kind in kinds:
        if kind is inspect.Parameter.KEYWORD_ONLY and not any(part.startswith("*") for part in parts):
            parts.append("*")
        if kind is inspect.Parameter.VAR_KEYWORD:
            parts += ["*"] if not any(part.startswith("*") for part in parts) else []
            parts += [BEHIND_KWARGS[name]] if name in BEHIND_KWARGS else []
        else:
            parts.append("*" + parameter if kind is inspect.Parameter.VAR_POSITIONAL else parameter)
        if kind is inspect.Parameter.POSITIONAL_ONLY:
            parts = [part for part in parts if part != "/"] + ["/"]
    return ", ".join(part for part in parts if part != "self")


def _docstring_text(function: Any) -> str | None:
    found = re.match(r"[\w.]+\((.*)\)", (function.__doc__ or "").partition("\n")[0])
    if found is None:
        return None
    names = [re.split("[=:]", part)[0].split()[-1] for part in found.group(1).split(",") if part.strip()]
    return ", ".join(name for name in names if name != "self" and not name.startswith("**"))


def _refuses(cupy: Any, error: type[Exception], function: Any, *args: Any, **kwargs: Any) -> bool:
    return isinstance(refusal(cupy, lambda: function(*args, **kwargs)), error)


def _ufunc_text(cupy: Any, ufunc: Any) -> str:
    """How many inputs it takes, and the methods that CuPy has for it."""
    x, index = array(cupy, (4,)), array(cupy, (2,), "int64")
    tries = {"accumulate": (x,), "at": (x, index, 1), "outer": (x, x), "reduce": (x,), "reduceat": (x, [0])}
    has = [name for name, args in tries.items() if not _refuses(cupy, NotImplementedError, getattr(ufunc, name), *args)]
    return " ".join([str(ufunc.nin), *(has if ufunc.nin == 2 else ())])


def _ufunc_keywords(cupy: Any) -> str:
    x = array(cupy, (4,))
    values = {"out": x, "dtype": "float32", "casting": "same_kind"}
    return " ".join(
        name for name in UFUNC_KEYWORDS if not _refuses(cupy, TypeError, cupy.add, x, x, **{name: values.get(name)})
    )


def read(cupy: Any) -> dict[str, Any]:
    """The table of this CuPy."""
    generator_type = cupy.random.Generator  # before `dir(cupy.random)`: CuPy imports it when it is first asked for
    generator = {name: getattr(generator_type, name) for name in dir(generator_type) if not name.startswith("_")}
    functions: dict[str, str] = {}
    ufuncs: dict[str, str] = {}
    others: list[str] = []
    for module in ("", *SUBMODULES):
        holder = importlib.import_module(f"cupy.{module}".rstrip("."))
        for short in dir(holder):
            value, name = getattr(holder, short), f"{module}.{short}".lstrip(".")
            if short.startswith("_") or short == "annotations" or inspect.ismodule(value):
                continue
            if isinstance(value, cupy.ufunc):
                ufuncs[name] = _ufunc_text(cupy, value)
            elif isinstance(value, type) or not callable(value):
                others.append(name)
            else:
                text = signature_text(value, name)
                (others.append(name) if text is None else functions.__setitem__(name, text))
    members = {name: getattr(cupy.ndarray, name) for name in dir(cupy.ndarray) if not name.startswith("_")}
    return {
        "cupy": cupy.__version__,
        "functions": functions,
        "ufuncs": ufuncs,
        "ufunc_keywords": _ufunc_keywords(cupy),
        "ufunc_methods": {name: signature_text(getattr(cupy.ufunc, name)) for name in UFUNC_METHODS},
        "others": sorted(others),
        "methods": {name: signature_text(value) for name, value in members.items() if callable(value)},
        "attributes": sorted(name for name, value in members.items() if not callable(value)),
        "special": sorted(
            name for name in vars(cupy._core.core._ndarray_base) if name.startswith("__") and name not in NOT_METHODS
        ),
        "generator": {name: signature_text(value) for name, value in generator.items() if callable(value)},
    }


if __name__ == "__main__":
    table = read(importlib.import_module("cupy"))
    path = Path(__file__).with_name("cupy_api.json")
    path.write_text(json.dumps(table, indent=0, sort_keys=True) + "\n", encoding="utf-8")
    print(
        f"CuPy {table['cupy']}: {len(table['functions'])} functions, {len(table['ufuncs'])} ufuncs, {len(table['methods'])} methods"
    )
