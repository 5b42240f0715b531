"""Initial values and regularizers. An initializer is a function of shape and generator; it draws on the host, in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np

from ..backend import Array, get_array_module

Shape: TypeAlias = tuple[int, ...]
Initializer: TypeAlias = Callable[[Shape, np.random.Generator], Array]


def zeros_initializer(shape: Shape, rng: np.random.Generator) -> Array:
    """All 0: biases, beta, moving_mean."""
    return np.zeros(shape)


def ones_initializer(shape: Shape, rng: np.random.Generator) -> Array:
    """All 1: gamma, moving_variance."""
    return np.ones(shape)


def truncated_normal(shape: Shape, rng: np.random.Generator) -> Array:
    """Standard normal numbers, those beyond 2 drawn again (so their standard deviation is 0.88). TensorFlow: tf.truncated_normal."""
    values = rng.standard_normal(shape)
    while (beyond := np.abs(values) > 2).any():
        values[beyond] = rng.standard_normal(int(beyond.sum()))
    return values


def variance_scaling_initializer(factor: float = 2.0) -> Initializer:
    """Truncated normal with standard deviation sqrt(1.3 * factor / fan_in) before truncation; fan_in = KH * KW * C.

    With factor 2 it keeps the variance through a layer with a ReLU (He et al. 2015, "Delving deep into rectifiers", eq. 10); 1.3
    makes up for the truncation. TF-Slim: variance_scaling_initializer(factor, mode="FAN_IN", uniform=False).
    """

    def initialize(shape: Shape, rng: np.random.Generator) -> Array:
        fan_in = math.prod(shape[:-1])
        return truncated_normal(shape, rng) * math.sqrt(1.3 * factor / fan_in)

    return initialize


def xavier_initializer() -> Initializer:
    """Uniform in +-sqrt(6 / (fan_in + fan_out)) (Glorot & Bengio 2010, eq. 16): the default of a bare slim.conv2d."""

    def initialize(shape: Shape, rng: np.random.Generator) -> Array:
        fans = math.prod(shape[:-2]) * (shape[-2] + shape[-1])
        limit = math.sqrt(6 / fans)
        return rng.uniform(-limit, limit, shape)

    return initialize


class L2Regularizer(NamedTuple):
    """loss = scale * sum(w^2) / 2, with the gradient scale * w. TF-Slim: l2_regularizer."""

    scale: float

    def loss(self, w: Array) -> float:
        """In float64, as a Python number (on a device: waits for it)."""
        return self.scale / 2 * float(get_array_module(w).square(w).sum(dtype="float64"))

    def gradient(self, w: Array) -> Array:
        """What weight decay adds to the gradient of w; same shape and dtype."""
        return self.scale * w


def l2_regularizer(scale: float) -> L2Regularizer | None:
    """The regularizer for `weights_regularizer=`; None for scale 0, which regularizes nothing. Raises ValueError below 0."""
    if not (isinstance(scale, (int, float)) and 0 <= scale < math.inf):
        raise ValueError(f"scale (the weight decay) must be a number >= 0, not {scale!r}")
    return L2Regularizer(float(scale)) if scale else None
