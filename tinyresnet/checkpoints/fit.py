"""Whether arrays are those of a net; if not, everything that does not fit, at once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..backend import Array, to_device
from ..ops.checks import shape_text
from ..slim import Variables

SHOWN = 20  # names of a kind in a message


class CheckpointMismatch(ValueError):
    """The arrays are not those of the net. missing, extra: names; misshaped: name -> what is wrong with it."""

    def __init__(self, path: str | Path, missing: list[str], extra: list[str], misshaped: dict[str, str]) -> None:
        self.missing, self.extra, self.misshaped = missing, extra, misshaped
        kinds = [
            (f"{len(missing)} missing", missing),
            (f"{len(extra)} that the net does not have", extra),
            (f"{len(misshaped)} of another shape or dtype", [f"{name} {why}" for name, why in misshaped.items()]),
        ]
        told = "; ".join(f"{kind}: {_some(names)}" for kind, names in kinds if names)
        super().__init__(f"{path} does not fit the net: {told}{_hint(missing, extra, misshaped)}")


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _hint(missing: list[str], extra: list[str], misshaped: dict[str, str]) -> str:
    """What the misfit looks like, if it looks like something."""
    if misshaped and not missing and not extra and all("/logits/" in name for name in misshaped):
        return ". Only the logits differ: the number of classes is another one"
    net, of_file = ({name.partition("/")[0] for name in names} for names in (missing, extra))
    if len(net) == len(of_file) == 1 and net != of_file:
        return f". The file is of net {of_file.pop()!r}, and this one is {net.pop()!r}"
    return ""


def check_fit(arrays: Mapping[str, Array], wanted: Mapping[str, Array], *, path: str | Path) -> None:
    """Raises CheckpointMismatch unless `arrays` has the names, shapes and dtypes of `wanted`. `path` is for the message."""
    misshaped = {}
    for name, array in wanted.items():
        found = arrays.get(name)
        if found is not None and (found.shape != array.shape or found.dtype != array.dtype):
            misshaped[name] = (
                f"is {found.dtype} {shape_text(found.shape)} and should be {array.dtype} {shape_text(array.shape)}"
            )
    missing, extra = [n for n in wanted if n not in arrays], [n for n in arrays if n not in wanted]
    if missing or extra or misshaped:
        raise CheckpointMismatch(path, missing, extra, misshaped)


def restore(variables: Variables, arrays: Mapping[str, Array], *, path: str | Path) -> None:
    """Puts all arrays into the store, where the back end works; or none of them, and raises CheckpointMismatch."""
    check_fit(arrays, variables, path=path)
    for name, array in [
        (name, to_device(arrays[name])) for name in variables
    ]:  # all of them first: a device may be full
        variables.replace(name, array)
