"""What the ops ask of their arguments. Each check raises one error that names the argument, what came and what is allowed."""

from __future__ import annotations

import operator
from typing import Any, TypeAlias

from ..backend import Array

Pair: TypeAlias = tuple[int, int]
FLOATS = ("float32", "float64")
FLOAT_CHARS = ("f", "d")  # the same as NumPy's one-letter codes, which are quicker to ask for than names
IMAGES = ("N", "H", "W", "C")
CHANNELS_LAST = ("N", "...", "C")


def shape_text(shape: tuple[int, ...]) -> str:
    """(2, 5, 5, 3) -> "[2, 5, 5, 3]", as shapes are written everywhere in this project."""
    return "[" + ", ".join(map(str, shape)) + "]"


def check_array(name: str, value: Any, axes: tuple[str, ...]) -> None:
    """`value` must be a float32 or float64 array with these axes; ("N", "...", "C") allows any number between N and C."""
    wanted = f"[{', '.join(axes)}]"
    if not (hasattr(value, "shape") and hasattr(value, "dtype")):
        raise TypeError(f"{name} must be an array {wanted}, not {type(value).__name__}")
    fits = value.ndim >= len(axes) - 1 if "..." in axes else value.ndim == len(axes)
    if not fits:
        rank = f"{len(axes) - 1} or more" if "..." in axes else str(len(axes))
        raise ValueError(f"{name} must be of rank {rank}, {wanted}; its shape is {shape_text(value.shape)}")
    if value.dtype.char not in FLOAT_CHARS:
        raise ValueError(
            f"{name} must be float32 or float64, not {value.dtype}: convert it, for example {name}.astype(numpy.float32)"
        )


def check_like(name: str, value: Any, shape: tuple[int, ...], dtype: Any, because: str) -> None:
    """`value` must be an array of just this shape and dtype; `because` says who asks for it."""
    if not (hasattr(value, "shape") and hasattr(value, "dtype")):
        raise TypeError(f"{name} must be an array {shape_text(shape)}, not {type(value).__name__}")
    if tuple(value.shape) != tuple(shape):
        raise ValueError(f"{name} has shape {shape_text(value.shape)}, but must have {shape_text(shape)}, {because}")
    if value.dtype != dtype:
        raise ValueError(f"{name} is {value.dtype}, but must be {dtype}, {because}")


def check_gradient(dy: Array, shape: tuple[int, ...], dtype: Any = None) -> None:
    """The upstream gradient has the shape and dtype of the output it belongs to (dtype=None: any of the two floats)."""
    if dtype is None:
        dtype = dy.dtype if getattr(dy, "dtype", None) in FLOATS else FLOATS[0]
    check_like("dy", dy, shape, dtype, "as the output y it is the gradient of")


def positive_int(name: str, value: Any) -> int:
    """`value` as an int if it is an integer >= 1 (a bool is none)."""
    try:
        number = operator.index(value)
    except TypeError:
        number = 0
    if number < 1 or isinstance(value, bool):
        raise ValueError(f"{name} must be an integer >= 1, not {value!r}")
    return number


def not_negative_int(name: str, value: Any) -> int:
    """`value` as an int if it is an integer >= 0 (a bool is none)."""
    try:
        number = operator.index(value)
    except TypeError:
        number = -1
    if number < 0 or isinstance(value, bool):
        raise ValueError(f"{name} must be an integer >= 0, not {value!r}")
    return number


def positive_pair(name: str, value: Any) -> Pair:
    """An integer >= 1, or two of them for height and width: 3 -> (3, 3), [7, 1] -> (7, 1)."""
    if isinstance(value, (tuple, list)):
        if len(value) != 2:
            raise ValueError(f"{name} must be an integer >= 1 or a pair (height, width) of them, not {value!r}")
        return positive_int(f"{name}[0]", value[0]), positive_int(f"{name}[1]", value[1])
    number = positive_int(name, value)
    return number, number
