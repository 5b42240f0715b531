"""What a layer hands back beside its output: a function that takes the output's gradient to the input's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from ..backend import Array, backward_overrides, warn_of_ended
from ..ops.checks import check_like
from .end_points import gradient_passes
from .variable_scope import current_scope, recording
from .variables import Variables

Back: TypeAlias = Callable[[Any], Any]  # d(output) -> d(inputs)


class Pullback:
    """A `back`: checks the gradient it is given, runs once, and then lets go of everything the forward pass saved for it."""

    def __init__(self, back: Back, output: Array, alias: str | None) -> None:
        self._back: Back | None = back
        self._shape, self._dtype, self._alias = output.shape, output.dtype, alias
        self._uses = backward_overrides()
        scope = current_scope()
        self._store = scope.variables if scope else Variables()

    def __call__(self, d_output: Array) -> Any:
        """d(output), of the output's shape and dtype -> d(inputs); gradients of variables are added to their store.

        Raises RuntimeError the second time, ValueError for a gradient of another shape or dtype (which does not use it up). If it
        fails on the way, the store's gradients are as they were before.
        """
        if self._back is None:
            raise RuntimeError(
                "this back was called before, and the activations of its forward pass are gone: run the forward pass again"
            )
        name = f"the gradient given to back of {self._alias}" if self._alias else "the gradient given to back"
        check_like(name, d_output, self._shape, self._dtype, "as the output of the forward pass")
        warn_of_ended(self._uses)
        gradient_passes(self._alias, d_output)
        back, self._back = self._back, None
        before = dict(self._store.gradients)
        try:
            return back(d_output)
        except BaseException:
            self._store.gradients.clear()
            self._store.gradients.update(before)
            raise


def pullback(back: Back | None, output: Array, alias: str | None = None) -> Pullback | None:
    """`back` as a Pullback for `output`; None, so that nothing is kept, where gradients are not recorded."""
    return Pullback(back, output, alias) if back is not None and recording() else None


class Chain:
    """A pullback made of pullbacks, walked from the last to the first.

    `pop` drops each before the next one runs, so activations are freed on the way, not at the end.
    """

    def __init__(self) -> None:
        self._backs: list[Back] = []

    def then(self, layer: tuple[Array, Back | None]) -> Array:
        """`net = chain.then(conv2d(net, ...))` keeps the layer's pullback and hands on its output."""
        net, back = layer
        if back is not None:
            self._backs.append(back)
        return net

    def __call__(self, d_output: Array) -> Any:
        """d(output of the last) -> d(input of the first)."""
        while self._backs:
            d_output = self._backs.pop()(d_output)
        return d_output
