"""What an optimizer asks of its numbers, and of the arrays that it keeps."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..backend import Array
from ..ops.checks import check_like
from ..slim import Variables


def checked_number(name: str, value: Any, allowed: str, fits: Callable[[float], bool]) -> float:
    """`value` as Python's float, which widens no float32. Raises ValueError unless it is finite and fits (a bool is none)."""
    a_number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not (a_number and math.isfinite(value) and fits(value)):
        raise ValueError(f"{name} must be a number {allowed}, not {value!r}")
    return float(value)


def not_negative(name: str, value: Any) -> float:
    """A learning rate."""
    return checked_number(name, value, ">= 0", lambda number: number >= 0)


def share(name: str, value: Any) -> float:
    """A momentum or a decay: how much of what was is kept."""
    return checked_number(name, value, "from 0 to less than 1", lambda number: 0 <= number < 1)


def check_kept(what: str, kept: Mapping[str, Array], variables: Variables) -> None:
    """Arrays kept for variables, "the momentum", must be for variables of the store, and like them: nothing broadcasts silently."""
    unknown = [name for name in kept if name not in variables]
    if unknown:
        raise ValueError(f"{what} is kept for {some(unknown)}, which {len(variables)} variables do not have")
    for name, array in kept.items():
        check_like(f"{what} of {name}", array, variables[name].shape, variables[name].dtype, "as the variable")


def some(names: list[str]) -> str:
    """The first names, for a message."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
