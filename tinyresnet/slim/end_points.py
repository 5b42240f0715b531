"""End points: the outputs of a net's layers by name, and the gradient there."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeAlias

from ..backend import Array

Collect: TypeAlias = "bool | Collection[str]"


def _with_likely(names: Collection[str], known: Collection[str]) -> str:
    """'n/blok1' (did you mean 'n/block1'?), for each name."""
    parts = []
    for name in sorted(names):
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
        parts.append(f"{name!r}" + (f" (did you mean {' or '.join(map(repr, near))}?)" if near else ""))
    return ", ".join(parts)


def _check_names(what: str, names: Collection[object]) -> None:
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"{what}: the name of an end point is a string, not {name!r}")


class EndPoints(dict[str, Array]):
    """A dict name -> array that keeps only what `collect` asks for: True all, False none, or the names.

    An end point holds on to its activation, also after `back` is done with it: training keeps none.
    """

    def __init__(self, collect: Collect = True) -> None:
        super().__init__()
        if isinstance(collect, str) or not isinstance(collect, (bool, Collection)):
            raise ValueError(f"collect must be True, False or a list of end-point names, not {collect!r}")
        _check_names("collect", () if isinstance(collect, bool) else collect)
        self._all = collect is True
        self._names = set() if isinstance(collect, bool) else set(collect)
        self._seen: list[str] = []

    def wants(self, name: str) -> bool:
        """Whether an end point of this name is kept; asking counts as having it."""
        self._seen.append(name)
        return self._all or name in self._names

    def __setitem__(self, name: str, array: Array) -> None:
        if self.wants(name):
            super().__setitem__(name, array)

    def finish(self) -> dict[str, Array]:
        """The plain dict, in order. Raises ValueError if a name was asked for that the net does not have."""
        missing = self._names.difference(self._seen)
        if missing:
            known = list(dict.fromkeys(self._seen))
            raise ValueError(
                f"collect: this net has no end point named {_with_likely(missing, known)}; "
                f"it has {len(known)}, from {known[0]!r} on"
            )
        return dict(self)


class _Watch(dict[str, Array]):
    """name -> gradient, filled while `back` runs."""

    def __init__(self, names: tuple[str, ...], outer: _Watch | None) -> None:
        super().__init__()
        self.names, self.outer = set(names), outer
        self.passed: dict[str, None] = {}


_watch: ContextVar[_Watch | None] = ContextVar("tinyresnet_watch", default=None)


@contextmanager
def watch(*names: str) -> Iterator[dict[str, Array]]:
    """The gradients at end points: `with watch("resnet_v2_50/block4") as d: back(d_net)`, then `d["resnet_v2_50/block4"]`.

    (Grad-CAM needs just this.) The gradient of an end point that several `back` pass adds up. At the end of the block, raises
    ValueError for a name that no gradient came past: misspelt, not on the way of `back`, or no `back` ran.
    """
    _check_names("watch", names)
    watching = _Watch(names, _watch.get())
    token = _watch.set(watching)
    try:
        yield watching
    finally:
        _watch.reset(token)
    missing = watching.names.difference(watching)
    if missing:
        known = list(watching.passed)
        others = (
            f"it came past {len(known)} end points, from {known[0]!r} on" if known else "no back ran inside the block"
        )
        raise ValueError(f"watch: no gradient came past {_with_likely(missing, known)}; {others}")


def gradient_passes(alias: str | None, d_output: Array) -> None:
    """Called by each pullback of an end point with the gradient it is given."""
    watching = _watch.get()
    while alias is not None and watching is not None:
        watching.passed[alias] = None
        if alias in watching.names:
            watching[alias] = watching[alias] + d_output if alias in watching else d_output
        watching = watching.outer
