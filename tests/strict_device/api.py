"""CuPy's names and parameters, as `snapshot.py` read them off the real one, and what they say of a call."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

TABLE: dict[str, Any] = json.loads(Path(__file__).with_name("cupy_api.json").read_text(encoding="utf-8"))
VERSION: str = TABLE["cupy"]
FUNCTIONS: dict[str, str] = TABLE["functions"]  # "sum" -> "a, axis, dtype, out, keepdims"
METHODS: dict[str, str] = TABLE["methods"]  # of ndarray, without self
UFUNCS: dict[str, str] = TABLE["ufuncs"]  # "add" -> "2 at outer reduce": how many inputs, and the methods that work
OTHERS: frozenset[str] = frozenset(TABLE["others"])  # classes and constants
ATTRIBUTES: frozenset[str] = frozenset(TABLE["attributes"])  # of ndarray
GENERATOR: dict[str, str] = TABLE["generator"]  # methods of random.Generator
UFUNC_KEYWORDS: tuple[str, ...] = tuple(TABLE["ufunc_keywords"].split())
UFUNC_METHODS: dict[str, str] = TABLE["ufunc_methods"]  # "reduce" -> "array, axis, dtype, out, keepdims"
# CuPy has these and the stand-in has not: with an index given twice, what they store is undefined, and nothing here checks it.
LEFT_OUT = {"put", "place", "put_along_axis", "putmask", "choose", "scatter_add", "scatter_max", "scatter_min"}


class Parameters(NamedTuple):
    """A parsed entry of the table: `a, /, axis, *shape, order` as in Python's own signatures, without the defaults."""

    positional: tuple[str, ...]  # may be given by position
    rest: bool  # whether there is an *args
    keywords: frozenset[str]  # may be given by name


@functools.cache
def parameters(text: str) -> Parameters:
    positional: list[str] = []
    keywords: set[str] = set()
    rest = by_name_only = False
    for name in filter(None, (part.strip() for part in text.split(","))):
        if name == "/":
            keywords.clear()
        elif name.startswith("*"):
            by_name_only, rest = True, rest or name != "*"
        else:
            keywords.add(name)
            if not by_name_only:
                positional.append(name)
    return Parameters(tuple(positional), rest, frozenset(keywords))


def check_call(
    name: str, text: str, args: tuple[Any, ...], keywords: Iterable[str], theirs: tuple[str, ...] = ()
) -> None:
    """Raises the TypeError that CuPy raises, or one where NumPy has the same parameters (`theirs`) in another order."""
    takes = parameters(text)
    for keyword in keywords:
        if keyword not in takes.keywords:
            raise TypeError(f"cupy.{name}() got an unexpected keyword argument {keyword!r}")
    if len(args) > len(takes.positional) and not takes.rest:
        raise TypeError(f"cupy.{name}() takes {len(takes.positional)} positional arguments but {len(args)} were given")
    for place, (ours, other) in enumerate(zip(takes.positional[: len(args)], theirs, strict=False)):
        if ours != other and (ours in theirs or other in takes.positional):
            raise TypeError(
                f"argument {place + 1} of {name}() is {ours!r} in CuPy and {other!r} in NumPy: give it by name"
            )


@functools.cache
def numpy_parameters(function: Any) -> tuple[str, ...]:
    """The names that may be given by position; none if NumPy does not say."""
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return ()
    return tuple(p.name for p in found if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD))
