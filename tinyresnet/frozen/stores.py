"""From which store a net takes its variables while it is traced: from a copy that creates nothing, whatever way it asks."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from ..backend import to_host
from ..slim import Variables, current_scope


class OtherStore(ValueError):
    """A layer takes its variables from a store that is not the one given to `freeze`."""


class Sealed(Variables):
    """The arrays of another store, which itself is not touched. It creates nothing.

    prefix   what all names begin with in addition, so that the net can run inside a scope of that name
    """

    def __init__(self, variables: Variables, prefix: str = "") -> None:
        super().__init__(seed=variables.seed)
        self.prefix = prefix
        for name, array in variables.items():
            self.replace(prefix + name, to_host(array))

    def create(self, name: str, *_: Any) -> None:
        raise missing(name, self)


def missing(name: str, variables: Mapping[str, Any]) -> ValueError:
    """The error for a variable that the net asks for and the store does not have."""
    prefix = getattr(variables, "prefix", "")
    near = difflib.get_close_matches(name, variables, n=2, cutoff=0.6)
    hint = " or ".join(other.removeprefix(prefix) for other in near)
    return ValueError(
        f"freeze: the net asks for the variable {name.removeprefix(prefix)}, which `variables` does not have "
        f"({f'did you mean {hint}?' if hint else f'it has {len(variables)} variables'}); freezing creates none"
    )


def check_store(*allowed: Variables) -> None:
    """Called at each op: the scope that it is called in must have one of these stores. Raises OtherStore."""
    scope = current_scope()
    if scope is not None and not any(scope.variables is store for store in allowed):
        raise OtherStore(
            f"freeze: the layer {scope.name} takes its variables from another store than the `variables` given to freeze: let the net "
            "function have an argument `variables` and hand it to variable_scope(..., variables=variables), or to the nets it calls"
        )
