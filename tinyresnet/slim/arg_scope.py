"""arg_scope: defaults for the arguments of layers, for a block of code. TF-Slim: arg_scope.py."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeAlias, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
ArgScope: TypeAlias = Mapping[Callable[..., Any], Mapping[str, Any]]  # function -> its defaults

_current: ContextVar[ArgScope] = ContextVar("tinyresnet_arg_scope", default={})  # noqa: B039 (never written to)


def add_arg_scope(fn: Callable[P, R]) -> Callable[P, R]:
    """Decorator: the function takes defaults from the `arg_scope` it is called in; what the caller writes out wins."""
    names = frozenset(inspect.signature(fn).parameters)

    @functools.wraps(fn)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        defaults = _current.get().get(call)
        return fn(*args, **{**defaults, **kwargs}) if defaults else fn(*args, **kwargs)

    call.arg_scope_names = names  # type: ignore[attr-defined]
    return call


def current_arg_scope() -> ArgScope:
    """The defaults in force here."""
    return _current.get()


@contextmanager
def arg_scope(list_ops_or_scope: Sequence[Callable[..., Any]] | ArgScope, **defaults: Any) -> Iterator[ArgScope]:
    """`with arg_scope([conv2d, batch_norm], scope_argument=value): ...`

    Takes a list of functions and their new defaults, which add to those in force; or, alone, a scope that an earlier
    `with arg_scope(...) as scope` gave, which replaces them. TF-Slim: slim.arg_scope.
    Raises ValueError for a function without @add_arg_scope and for an argument that it does not have.
    """
    if isinstance(list_ops_or_scope, Mapping):
        if defaults:
            raise ValueError(
                f"arg_scope: a scope that was made before takes no further arguments, but {sorted(defaults)} came"
            )
        scope: ArgScope = list_ops_or_scope
    else:
        if not isinstance(list_ops_or_scope, (list, tuple)):
            raise TypeError(
                f"arg_scope: give a list of functions, [conv2d, ...], or a scope, not {list_ops_or_scope!r}"
            )
        now = _current.get()
        scope = {**now, **{fn: {**now.get(fn, {}), **_checked(fn, defaults)} for fn in list_ops_or_scope}}
    token = _current.set(scope)
    try:
        yield scope
    finally:
        _current.reset(token)


def _checked(fn: Callable[..., Any], defaults: dict[str, Any]) -> dict[str, Any]:
    names = getattr(fn, "arg_scope_names", None)
    label = getattr(fn, "__name__", repr(fn))
    if names is None:
        raise ValueError(f"arg_scope: {label} takes no defaults: decorate it with @add_arg_scope")
    unknown = sorted(set(defaults) - names)
    if unknown:
        raise ValueError(f"arg_scope: {label} has no argument {', '.join(unknown)}; it has {', '.join(sorted(names))}")
    return defaults


def under(scope: ArgScope) -> ArgScope:
    """`scope` put under the one in force: defaults where the surrounding code said nothing."""
    now = _current.get()
    return {fn: {**scope.get(fn, {}), **now.get(fn, {})} for fn in {**scope, **now}}
