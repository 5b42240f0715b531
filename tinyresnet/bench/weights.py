"""Weights that every side gets: random, yet such that a wrong one shows in the outputs."""

from __future__ import annotations

import numpy as np

from ..backend import use_backend
from ..slim import Variables, arg_scope, batch_norm
from .architecture import Architecture


def variables_for(architecture: Architecture, seed: int = 0) -> Variables:
    """A store of the net's variables, float32: no gamma is one, no beta and no bias zero, and the moving averages fit the weights."""
    variables = Variables(seed=seed)
    rng = np.random.default_rng(seed)
    with use_backend("numpy"):
        architecture(np.zeros((1, 32, 32, 3), np.float32), variables, is_training=False)
        for name, value in list(variables.items()):
            if name.endswith("/gamma"):
                variables[name] = rng.uniform(0.5, 1.5, value.shape).astype(np.float32)
            elif name.endswith(("/beta", "/biases")):
                variables[name] = 0.1 * rng.standard_normal(value.shape, np.float32)
        images = rng.standard_normal((4, 64, 64, 3), np.float32)
        with arg_scope([batch_norm], decay=0.0):  # the averages become those of these images
            architecture(images, variables, is_training=True, gradients=False)
    return variables
