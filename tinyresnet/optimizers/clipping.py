"""Gradients no longer than they may be, all of them scaled alike so that their direction stays."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ..backend import Array, get_array_module
from .checks import checked_number


def global_norm(gradients: Mapping[str, Array]) -> float:
    """The length of all gradients as one vector, summed up in float64. NaN or infinity in them is NaN or infinity here."""
    squares = [get_array_module(g).square(g, dtype="float64").sum() for g in gradients.values()]
    return math.sqrt(float(sum(squares)))  # one look at the device, at the end


def clip_by_global_norm(gradients: Mapping[str, Array], clip_norm: float) -> tuple[dict[str, Array], float]:
    """(gradients, their length before): scaled by clip_norm / length if they are longer. Pascanu et al. 2013, algorithm 1.

    Gradients whose length is not finite come back as they are. TensorFlow: clip_by_global_norm. PyTorch: clip_grad_norm_, which
    divides by length + 1e-6. Raises ValueError for clip_norm <= 0.
    """
    longest = checked_number("clip_norm", clip_norm, "> 0", lambda number: number > 0)
    norm = global_norm(gradients)
    if not longest < norm < math.inf:
        return dict(gradients), norm
    scale = longest / norm
    return {name: g * scale for name, g in gradients.items()}, norm
