"""From a net function and its variables to a frozen net."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

from ..ops.checks import FLOATS, positive_int
from ..slim import Variables, current_scope, variable_scope
from .fold import fold
from .frozen import Frozen
from .graph import Graph
from .stores import OtherStore, Sealed, check_store, missing
from .trace import trace

Shape4: TypeAlias = tuple[int, int, int, int]
SAID = {"is_training": False, "collect": False, "gradients": False}  # to every net function that takes them


def freeze(
    net_fn: Callable[..., Any],
    variables: Variables,
    *,
    input_shape: Shape4,
    dtype: str = "float32",
    **keywords: Any,
) -> Frozen:
    """`frozen = freeze(resnet_v2_50, variables, input_shape=(8, 224, 224, 3), num_classes=1000)`; then `logits = frozen(images)`.

    net_fn       function of images [N, H, W, C] whose result is the net, or a tuple that begins with it: a member of the family, or your
                 own, made of slim's layers and of ops. It is run once, on images without numbers: nothing is computed
    variables    the store. It is left as it is, moving averages too, and what happens to it later does not change the frozen net
    input_shape  (N, H, W, C): up to N images at a time, of this height, width and number of channels
    dtype        of images and variables, "float32" or "float64"
    keywords     go to net_fn. It is also given is_training=False, collect=False, gradients=False and variables, as far as it takes them

    Batch norm, biases, ReLU and residual additions are folded into convolutions, so results differ from the net's by rounding.
    Raises ValueError for a net that cannot be frozen (docs/freeze.md has the list), for a variable that the store lacks, and for bad
    arguments; TypeError for a store that is none.
    """
    _check(net_fn, variables, keywords)
    shape, number = _checked_shape(input_shape), _checked_dtype(dtype)
    before = set(variables)
    try:
        graph = _traced(net_fn, variables, keywords, shape, number)
    finally:  # a net that brings `variables` along itself, as a closure does, has created in it what it did not find
        created = [variable for variable in variables if variable not in before]
        for variable in created:
            del variables[variable]
    if created:
        raise missing(created[0], variables)
    return Frozen(fold(graph))


def _traced(
    net_fn: Callable[..., Any], variables: Variables, keywords: dict[str, Any], shape: Shape4, dtype: str
) -> Graph:
    """The graph. A net finds its variables by the argument `variables`, by a closure, or by the scope that surrounds it: that of the
    caller, or, if its layers then ask another store, one made for it. (Such a scope needs a name: names begin with the function's.)"""
    name = _name_of(net_fn)
    sealed = Sealed(variables)
    net = functools.partial(net_fn, **_taken(net_fn, {**SAID, "variables": sealed}), **keywords)
    try:
        return trace(net, shape, dtype, name, lambda: check_store(sealed, variables))
    except OtherStore as error:
        if current_scope() is not None:
            raise
        inside = Sealed(variables, name + "/")
        net = functools.partial(net_fn, **_taken(net_fn, {**SAID, "variables": inside}), **keywords)
        try:
            with _outermost(name, inside):
                return trace(net, shape, dtype, name, lambda: check_store(inside))
        except OtherStore:
            raise error from None


@contextmanager
def _outermost(name: str, store: Variables) -> Iterator[None]:
    """A scope for a net that has none around it: default names are not counted in it, as they are not without any."""
    with variable_scope(name, variables=store) as scope:
        scope.unused = lambda default_name: default_name  # type: ignore[method-assign]
        yield


def _taken(net_fn: Callable[..., Any], offered: dict[str, Any]) -> dict[str, Any]:
    """What of the offered keywords the function takes."""
    parameters = inspect.signature(net_fn).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return offered
    names = {parameter.name for parameter in parameters if parameter.kind is not parameter.POSITIONAL_ONLY}
    return {name: value for name, value in offered.items() if name in names}


def _name_of(net_fn: Callable[..., Any]) -> str:
    function = getattr(net_fn, "func", net_fn)  # of a functools.partial
    return str(getattr(function, "__name__", type(function).__name__))


# ---- arguments -----------------------------------------------------------------------------------------------------------
def _check(net_fn: Any, variables: Any, keywords: dict[str, Any]) -> None:
    if not callable(net_fn):
        raise TypeError(f"net_fn must be a function of images, such as resnet_v2_50, not {type(net_fn).__name__}")
    if not isinstance(variables, Variables):
        raise TypeError(
            f"variables must be a tinyresnet.Variables, not {type(variables).__name__}: Variables(dict_of_arrays) makes one"
        )
    for name in SAID.keys() & keywords.keys():
        if keywords[name]:
            raise ValueError(
                f"freeze: {name} must be {SAID[name]} in a frozen net, not {keywords[name]!r}: leave it out"
            )


def _checked_shape(input_shape: Any) -> Shape4:
    if not isinstance(input_shape, (tuple, list)) or len(input_shape) != 4:
        raise ValueError(f"input_shape must be (N, H, W, C), four integers >= 1, not {input_shape!r}")
    n, h, w, c = (positive_int(f"input_shape[{i}]", size) for i, size in enumerate(input_shape))
    return n, h, w, c


def _checked_dtype(dtype: Any) -> str:
    name = getattr(dtype, "name", None) or getattr(dtype, "__name__", dtype)  # numpy.dtype, numpy.float32
    if name not in FLOATS:
        raise ValueError(f"dtype must be float32 or float64, not {dtype!r}")
    return str(name)
