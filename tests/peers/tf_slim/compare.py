"""How far a result is from what TF-Slim gave: one number for each array, and what is allowed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from tests.peers.tf_slim.ours import Meta, Ours, dtype_of
from tests.peers.tf_slim.seeded import ALLOWED, ALLOWED_FLOAT64, Recorded, scale


class Comparison(NamedTuple):
    group: str
    name: str
    error: float
    allowed: float

    @property
    def failed(self) -> bool:
        return not self.error <= self.allowed  # a NaN fails too

    def __str__(self) -> str:
        return f"{self.group} {self.name}: error {self.error:.1e}, allowed {self.allowed:.0e}"


def distance(array: np.ndarray | None, recorded: Recorded) -> float:
    """The largest difference of the recorded entries, of the largest |entry| and of the projection.

    A projection of n entries that are each off by at most e is off by about e * sqrt(n): it is divided by that. Rounding errors
    have both signs and take a tenth of it, so ten times the rest is measured.
    """
    if array is None or array.shape != recorded.shape:
        return math.inf
    entries = np.abs(recorded.entries_of(array).astype(np.float64) - recorded.entries).max(initial=0)
    largest = abs(float(np.abs(array).max(initial=0)) - recorded.largest)
    if recorded.entries.size == array.size:
        return float(max(entries, largest))
    projections = recorded.projection_of(array) - recorded.projection
    return float(max(entries, largest, 10 * abs(projections) / math.sqrt(array.size)))


def compare_group(
    group: str, ours: Mapping[str, np.ndarray], recorded: Mapping[str, Recorded], dtype: str = "float32"
) -> list[Comparison]:
    """An array that only one side has is infinitely far off."""
    top = max((entry.largest for entry in recorded.values()), default=0.0)
    allowed = ALLOWED[group] if dtype == "float32" else ALLOWED_FLOAT64
    out = [Comparison(group, name, math.inf, allowed) for name in ours if name not in recorded]
    for name, entry in recorded.items():
        error = distance(ours.get(name), entry) / scale(group, entry.largest, top)
        out.append(Comparison(group, name, error, allowed))
    return out


def compare(ours: Ours, meta: Meta, recorded: Mapping[str, Mapping[str, Recorded]]) -> list[Comparison]:
    """Every array of every group that was recorded, and the regularization loss (relative)."""
    out: list[Comparison] = []
    for group, arrays in recorded.items():
        out += compare_group(group, ours.groups.get(group, {}), arrays, dtype_of(meta))
    theirs = meta["regularization_loss"]
    difference = abs(ours.regularization_loss - theirs)
    allowed = ALLOWED["regularization_loss"]
    return [*out, Comparison("regularization_loss", "", difference / theirs if theirs else difference, allowed)]


def failures(comparisons: list[Comparison], gradients: float = 1.0) -> list[str]:
    """What is further off than allowed; float32 gradients may be off by `gradients` times as much."""
    slack = {"gradients": gradients}
    return [str(c) for c in comparisons if not c.error <= c.allowed * slack.get(c.group, 1.0)]


def failed_groups(comparisons: list[Comparison]) -> set[str]:
    return {c.group for c in comparisons if c.failed}
