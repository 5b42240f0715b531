"""Where a number stopped being one: a forward pass again, with every op's result looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .. import ops
from ..backend import COMPOSITES, REFERENCE, Array, get_array_module, to_device, use
from ..slim import Variables, current_scope
from .nets import Net
from .step import compute_gradients


class Diverged(FloatingPointError):
    """The loss or a gradient became NaN or infinite; the message says at which step, and in which layer first.

    step   its number, from 1;  where  the layer and the op, or None if it did not appear again.
    """

    def __init__(self, what: str, step: int, epoch: int, where: str | None, advice: str) -> None:
        place = f"first in {where}" if where else "the pass was repeated and did not show where"
        super().__init__(f"{what} at step {step} (epoch {epoch}), {place}; {advice}")
        self.step, self.where = step, where


class _Found(Exception):
    """Carries the place out of the pass."""


def _arrays(value: Any) -> Iterator[Array]:
    for item in value if isinstance(value, (tuple, list)) else (value,):
        if hasattr(item, "dtype") and item.dtype.kind == "f":
            yield item
        elif isinstance(item, tuple):
            yield from _arrays(item)


def _finite(value: Any) -> bool:
    return all(bool(get_array_module(array).isfinite(array).all()) for array in _arrays(value))


def _watched(name: str) -> Callable[..., Any]:
    """An override of op `name` that computes the same, and stops the pass if the result is not finite."""
    function = getattr(ops, name)

    def watched(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)  # inside an override the name means the op below it
        output = result[0] if name.endswith("_forward") else result
        if not _finite(output):
            scope = current_scope()
            inputs = "" if _finite(args) else ", whose arguments (a weight, or the pictures) were not finite before"
            raise _Found(f"{scope.name if scope else 'the loss'} ({name.removesuffix('_forward')}){inputs}")
        return result

    return watched


def first_not_finite(
    net: Net,
    images: Array,
    labels: Array,
    variables: Variables,
    *,
    is_training: bool = True,
    label_smoothing: float = 0.0,
) -> str | None:
    """The layer and op in which a pass over this batch first has NaN or infinity: "resnet_v2_small/block1/... (conv2d)".

    Works on a copy of the store (arrays are shared, and never written to). If the forward pass is finite throughout, the layer
    nearest to the loss whose gradient is not; None if that is finite, too.
    """
    copy = Variables(seed=variables.seed)
    for name, array in variables.items():
        copy.replace(name, array)
    single = [
        name for name in REFERENCE if name not in COMPOSITES
    ]  # a composite is seen through: one of its parts is to blame
    forward = {name: _watched(name) for name in single if name.endswith("_forward") or name in ("add", "softmax")}
    try:
        with use(**forward), np.errstate(all="ignore"):
            if not is_training:
                logits, _, _ = net(to_device(images), copy, is_training=False)
                ops.softmax_cross_entropy_forward(logits, to_device(labels))
                return None
            compute_gradients(net, images, labels, copy, label_smoothing=label_smoothing)
    except _Found as found:
        return str(found)
    wrong = [name for name, gradient in copy.gradients.items() if not _finite(gradient)]
    return f"the gradient of {wrong[0]}" if wrong else None  # gradients are filled from the loss backwards
