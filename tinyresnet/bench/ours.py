"""tinyresnet's own sides: a frozen net, a net as it is called, a training step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import tinyresnet

from .. import ops
from ..backend import Array, use_backend
from ..slim import Variables
from .architecture import Architecture
from .compare import Outputs
from .results import OURS
from .rounds import Side

BACKEND = "numba"


class NotThere(RuntimeError):
    """This part of tinyresnet is not in the version that is measured."""


def freeze() -> Callable[..., Any]:
    """tinyresnet.freeze. Raises NotThere."""
    found: Callable[..., Any] | None = getattr(tinyresnet, "freeze", None)
    if found is None:
        raise NotThere("not available: this version has no freeze")
    return found


def frozen(architecture: Architecture, variables: Variables, input_shape: tuple[int, ...]) -> Side:
    """images -> logits by a recorded plan. Raises NotThere."""
    return Side(f"{OURS}, frozen", _as_it_is, _frozen(architecture, variables, input_shape), _logits, OURS)


def _frozen(architecture: Architecture, variables: Variables, input_shape: tuple[int, ...]) -> Any:
    return freeze()(
        architecture.function,
        variables,
        input_shape=input_shape,
        num_classes=architecture.num_classes,
        **architecture.keywords(),
    )


def save_frozen(architecture: Architecture, variables: Variables, input_shape: tuple[int, ...], path: Path) -> None:
    """The frozen net as one file. Raises NotThere."""
    _frozen(architecture, variables, input_shape).save(path)


def loaded(path: str) -> Side:
    """A frozen net from its file."""
    return Side(f"{OURS}, from a file", _as_it_is, tinyresnet.load_frozen(path), _logits, OURS)


def side_of(kind: str, architecture: Architecture, variables: Variables, input_shape: tuple[int, ...]) -> Side:
    """kind: "frozen", "unfrozen" or "training"."""
    if kind == "frozen":
        return frozen(architecture, variables, input_shape)
    return (training if kind == "training" else unfrozen)(architecture, variables)


def unfrozen(architecture: Architecture, variables: Variables, backend: str = BACKEND) -> Side:
    """Inference without a plan. Raises BackendUnavailable."""

    def run(images: Array) -> Array:
        with use_backend(backend):
            logits: Array = architecture(images, variables, is_training=False)[0]
            return logits

    return Side(f"{OURS}, {backend}", _as_it_is, run, _logits, OURS)


def training(architecture: Architecture, variables: Variables, backend: str = BACKEND) -> Side:
    """Forward, cross-entropy, backward to every variable; inputs are (images, labels). `variables` is the side's own."""

    def run(inputs: tuple[Array, Array]) -> float:
        images, labels = inputs
        with use_backend(backend):
            variables.gradients.clear()
            logits, _, back = architecture(images, variables, is_training=True, input_gradient=False)
            loss, saved = ops.softmax_cross_entropy_forward(logits, labels)
            back(ops.softmax_cross_entropy_backward(1.0, saved))
            return float(loss)

    def outputs(loss: float) -> Outputs:
        return {"loss": np.asarray(loss), **variables.gradients}

    return Side(f"{OURS}, {backend}", _as_it_is, run, outputs, OURS)


def _as_it_is(inputs: Any) -> Any:
    return inputs


def _logits(logits: Array) -> Outputs:
    return {"logits": logits.copy()}
