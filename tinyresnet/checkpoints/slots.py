"""What an optimizer keeps for each variable, stored beside it under TensorFlow's names: <variable>/Momentum."""

from __future__ import annotations

from collections.abc import Mapping

from ..backend import Array

SLOTS = ("Momentum", "ExponentialMovingAverage")


def join_slots(variables: Mapping[str, Array], slots: Mapping[str, Mapping[str, Array]]) -> dict[str, Array]:
    """variables and {"Momentum": {variable name: array}} as one dict, which `split_slots` takes apart again.

    Raises ValueError for a slot that is none of SLOTS, for one of a variable that is not there, and if there are a variable `a` and
    a variable `a/Momentum`, which could not be told from the slot of `a`.
    """
    joined = dict(variables)
    for slot, arrays in slots.items():
        if slot not in SLOTS:
            raise ValueError(f"slot must be one of {', '.join(SLOTS)}, not {slot!r}")
        unknown = [name for name in arrays if name not in variables]
        if unknown:
            raise ValueError(f"slot {slot} is of variables that are not there: {', '.join(unknown)}")
        joined |= {f"{name}/{slot}": array for name, array in arrays.items()}
    for name in variables:
        if _owner(name, joined):
            raise ValueError(
                f"variable {name} has the name of a slot, of {_owner(name, joined)}: give one of them another name"
            )
    return joined


def split_slots(arrays: Mapping[str, Array]) -> tuple[dict[str, Array], dict[str, dict[str, Array]]]:
    """The reverse: (variables, slots); a slot that has no arrays is not in it. `a/Momentum` is a slot only beside an `a`."""
    variables: dict[str, Array] = {}
    slots: dict[str, dict[str, Array]] = {}
    for name, array in arrays.items():
        owner = _owner(name, arrays)
        if owner:
            slots.setdefault(name.rpartition("/")[2], {})[owner] = array
        else:
            variables[name] = array
    return variables, slots


def _owner(name: str, arrays: Mapping[str, Array]) -> str:
    """The variable whose slot this name would be; "" if it is none."""
    owner, _, last = name.rpartition("/")
    return owner if last in SLOTS and owner in arrays else ""
