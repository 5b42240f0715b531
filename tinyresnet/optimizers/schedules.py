"""The learning rate as a function of the step, counted from 0. A schedule has no state: a resumed run asks for its step."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..ops.checks import not_negative_int, positive_int
from .checks import not_negative


def _warmed(step: int, warmup_steps: int) -> float:
    """From 1 / warmup_steps at step 0 to 1 (Goyal et al. 2017, section 2.2): a step at rate 0 would be a wasted one."""
    return min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0


@dataclass(frozen=True)
class WarmupCosine:
    """Up in a line to `peak` in warmup_steps, then down half a cosine, to `final` after `steps` steps in all.

    Loshchilov & Hutter 2017, "SGDR", equation 5, with one period. PyTorch, without warm-up: CosineAnnealingLR(T_max=steps).
    Raises ValueError.
    """

    peak: float
    steps: int
    warmup_steps: int = 0
    final: float = 0.0

    def __post_init__(self) -> None:
        not_negative("peak", self.peak)
        not_negative("final", self.final)
        positive_int("steps", self.steps)
        if not_negative_int("warmup_steps", self.warmup_steps) >= self.steps:
            raise ValueError(f"warmup_steps must be less than steps, {self.steps}, not {self.warmup_steps}")

    def __call__(self, step: int) -> float:
        """The learning rate of this step; `final` after the last one."""
        if step < self.warmup_steps:
            return self.peak * _warmed(step, self.warmup_steps)
        done = min(1.0, (step - self.warmup_steps) / (self.steps - self.warmup_steps))
        return self.final + (self.peak - self.final) * (1 + math.cos(math.pi * done)) / 2


@dataclass(frozen=True)
class PiecewiseConstant:
    """values[0] before step boundaries[0], values[1] from there on, and so on, as PyTorch's MultiStepLR switches.

    TensorFlow's piecewise_constant is the same one step later: its values[0] holds at step boundaries[0] too. One more values than
    boundaries, which rise. Warm-up multiplies. He et al. 2016 divide by 10 twice. Raises ValueError.
    """

    boundaries: tuple[int, ...]
    values: tuple[float, ...]
    warmup_steps: int = 0

    def __post_init__(self) -> None:
        not_negative_int("warmup_steps", self.warmup_steps)
        for i, value in enumerate(self.values):
            not_negative(f"values[{i}]", value)
        for i, boundary in enumerate(self.boundaries):
            positive_int(f"boundaries[{i}]", boundary)
        if len(self.values) != len(self.boundaries) + 1:
            raise ValueError(
                "values must be one more than boundaries, "
                f"but there are {len(self.values)} values and {len(self.boundaries)} boundaries"
            )
        if list(self.boundaries) != sorted(set(self.boundaries)):
            raise ValueError(f"boundaries must rise, but are {list(self.boundaries)}")

    def __call__(self, step: int) -> float:
        """The learning rate of this step."""
        passed = sum(step >= boundary for boundary in self.boundaries)
        return self.values[passed] * _warmed(step, self.warmup_steps)
