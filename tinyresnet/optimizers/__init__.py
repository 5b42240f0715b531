"""How weights follow their gradients: SGD with momentum, learning-rate schedules, clipping, averages. Knows arrays, not networks."""

from .averages import ExponentialMovingAverage
from .clipping import clip_by_global_norm, global_norm
from .schedules import PiecewiseConstant, WarmupCosine
from .sgd import SGD

__all__ = [
    "SGD",
    "ExponentialMovingAverage",
    "PiecewiseConstant",
    "WarmupCosine",
    "clip_by_global_norm",
    "global_norm",
]
