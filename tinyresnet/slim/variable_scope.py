"""Scopes: the one context object. It carries the name, the store, `reuse`, and whether pullbacks are recorded."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from ..backend import Array
from ..ops.checks import shape_text
from .initializers import Initializer, L2Regularizer, Shape
from .variables import Variables, default_variables


@dataclass
class VariableScope:
    """One entry of a `variable_scope`; layers ask it for their variables. `gradients=None`: nobody has said, so they are recorded."""

    name: str
    variables: Variables
    reuse: bool | None = None
    gradients: bool | None = None
    stop_gradient: Array | None = None
    default_names: dict[str, int] = field(default_factory=dict)  # how often each was handed out inside this entry
    journal: list[Callable[[], object]] = field(default_factory=list)  # how to take back each change to the store

    def variable(
        self,
        leaf: str,
        shape: Shape,
        initializer: Initializer,
        dtype: Any,
        *,
        trainable: bool = True,
        regularizer: L2Regularizer | None = None,
    ) -> Array:
        """The variable `<scope>/<leaf>`, created if it is missing. Raises ValueError if `reuse`, its shape or its dtype forbids it."""
        name, store = f"{self.name}/{leaf}", self.variables
        if name in store:
            if self.reuse is False:
                raise ValueError(
                    f"variable {name} exists already, and reuse=False allows only new ones (None allows both)"
                )
            found = store[name]
            if tuple(found.shape) != tuple(shape):
                raise ValueError(
                    f"variable {name} has shape {shape_text(found.shape)}, but this layer needs {shape_text(shape)}"
                )
            if found.dtype != dtype:
                raise ValueError(
                    f"variable {name} is {found.dtype}, but the inputs of its layer are {dtype}: they must be of one dtype"
                )
        else:
            if self.reuse:
                raise ValueError(
                    f"variable {name} does not exist, and reuse=True allows only existing ones (None allows both)"
                )
            self.journal.append(functools.partial(store.pop, name, None))
            store.create(name, shape, initializer, dtype)
        self.journal.append(store.describe(name, trainable=trainable, regularizer=regularizer))
        return store[name]

    def update(self, leaf: str, array: Array) -> None:
        """Replaces a moving average; undone if the forward pass fails later on."""
        name = f"{self.name}/{leaf}"
        self.journal.append(functools.partial(self.variables.replace, name, self.variables[name]))
        self.variables.replace(name, array)

    def add_gradient(self, leaf: str, gradient: Array) -> None:
        """What a layer's pullback found for its variable `<scope>/<leaf>`."""
        self.variables.add_gradient(f"{self.name}/{leaf}", gradient)

    def undo(self, mark: int) -> None:
        """Takes back all changes since the journal had `mark` entries, the last one first."""
        while len(self.journal) > mark:
            self.journal.pop()()

    def unused(self, default_name: str) -> str:
        """`Conv`, then `Conv_1`, `Conv_2`: counted within this entry, so a second call of a net finds the same names."""
        count = self.default_names.get(default_name, 0)
        self.default_names[default_name] = count + 1
        return f"{default_name}_{count}" if count else default_name


_current: ContextVar[VariableScope | None] = ContextVar("tinyresnet_variable_scope", default=None)


def current_scope() -> VariableScope | None:
    """The scope this code runs in; None outside any."""
    return _current.get()


def recording() -> bool:
    """Whether pullbacks are made here. A bare layer, outside any scope, records."""
    scope = _current.get()
    return scope is None or scope.gradients is not False


def _name(up: VariableScope | None, scope: str | None, default_name: str | None) -> str:
    for name in (scope, default_name):
        if name is not None and (not isinstance(name, str) or not name or name.strip("/") != name):
            raise ValueError(
                f"scope must be a string that is not empty and has no / at its ends, or None for the default name, not {name!r}"
            )
    if scope is None and default_name is None:
        raise ValueError("variable_scope needs a scope, or a default_name to use where scope is None")
    if scope is None:
        scope = up.unused(str(default_name)) if up else str(default_name)  # at the top a default name is not counted
    return f"{up.name}/{scope}" if up else scope


@contextmanager
def variable_scope(
    scope: str | None,
    default_name: str | None = None,
    reuse: bool | None = None,
    *,
    variables: Variables | None = None,
    gradients: bool | None = None,
    stop_gradient: Array | None = None,
) -> Iterator[VariableScope]:
    """`with variable_scope("conv1") as sc:` names what is inside `<outer>/conv1`. TensorFlow: tf.variable_scope.

    scope         the name; None means `default_name`, numbered within the enclosing entry (Conv, Conv_1).
    reuse         None: create what is missing, reuse what is there; True: ValueError for what is missing; False: for what exists.
    variables     the store; gradients: False makes no pullbacks (every `back` is None).
    stop_gradient an array whose gradient nobody needs: a convolution that reads it skips dx.
    What is None is as in the enclosing scope; at the top the store is `default_variables()`.
    If the block raises, variables created and moving averages changed in it are put back.
    """
    up = _current.get()
    if reuse not in (None, True, False):
        raise ValueError(f"reuse must be None, True or False, not {reuse!r}")
    if variables is not None and not isinstance(variables, Variables):
        raise TypeError(
            f"variables must be a tinyresnet.Variables, not {type(variables).__name__}: Variables(dict_of_arrays) makes one"
        )
    entry = VariableScope(_name(up, scope, default_name), default_variables())
    if up:
        entry = VariableScope(entry.name, up.variables, up.reuse, up.gradients, up.stop_gradient, journal=up.journal)
    entry.variables = entry.variables if variables is None else variables
    entry.reuse = entry.reuse if reuse is None else reuse
    entry.gradients = entry.gradients if gradients is None else bool(gradients)
    entry.stop_gradient = entry.stop_gradient if stop_gradient is None else stop_gradient
    mark = len(entry.journal)
    token = _current.set(entry)
    try:
        yield entry
    except BaseException:
        entry.undo(mark)
        raise
    finally:
        _current.reset(token)
