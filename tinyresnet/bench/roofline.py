"""The roofline of this machine (Williams, Waterman & Patterson 2009): the most it multiplies, the most it moves, and where layers lie.

A layer that does F operations on B bytes cannot be faster than F / peak, nor than B / bandwidth. Each byte is counted once, so a layer
whose numbers are in the cache already may lie above the slope; and operations are those of a direct convolution, so Winograd's
may lie above the roof.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..extras import MissingExtra, require
from .architecture import architecture
from .options import Options
from .peak import matmul_gflops, micro_kernel
from .results import OURS, CaseResult, Row
from .rungs import Planned
from .shares import ADDITION, NORM, frozen_parts

LARGE = 1 << 24  # elements of each of three arrays: 64 MB, more than caches hold


class Point(NamedTuple):
    """A layer of one shape."""

    kind: str
    shape: str
    intensity: float  # FLOP a byte
    gflops: float


class Roofline(NamedTuple):
    """All of it: GFLOP/s, GB/s, and the layers."""

    numpy_gflops: float
    kernel_gflops: float
    bandwidth: float
    points: list[Point]

    @property
    def peak(self) -> float:
        """The higher of the two."""
        return max(self.numpy_gflops, self.kernel_gflops)


class RooflineCase(NamedTuple):
    """Layers of resnet_v2_50."""

    name: str = "ladder/roofline"
    about: str = "the roofline, and the layers of resnet_v2_50 under it: 224x224, batch 8"

    def measure(self, options: Options) -> CaseResult:
        """A row a layer, in GFLOP/s, its FLOP a byte in its name; the roof is in the notes."""
        try:
            require("numba", "bench")
        except MissingExtra as why:
            return CaseResult(self.name, self.about, "GFLOP/s", (), {OURS: str(why)})
        found = measured(max(2, min(options.rounds, 7)))
        rows = tuple(_row(point, found.peak) for point in sorted(found.points, key=lambda point: point.intensity))
        notes = (
            f"the roof: NumPy {found.numpy_gflops:.0f}, the micro-kernel {found.kernel_gflops:.0f} GFLOP/s",
            f"the slope: {found.bandwidth:.1f} GB/s, a + b of arrays of 64 MB; they meet at {found.peak / found.bandwidth:.0f} FLOP a byte",
        )
        return CaseResult(self.name, self.about, "GFLOP/s", rows, notes=notes)


def _row(point: Point, peak: float) -> Row:
    name = f"{point.kind}, {point.shape}: {point.intensity:.2g} FLOP/byte"
    return Row(name, (point.gflops,), f"{OURS}, {name}", point.gflops, point.gflops / peak)


def measured(rounds: int, batch: int = 8) -> Roofline:
    """Needs Numba."""
    from ..kernels.cpu.threads import get_num_threads

    points: dict[tuple[str, str], Point] = {}
    for part in frozen_parts(architecture("resnet_v2_50"), 224, batch, rounds):
        gflops = part.flops / min(part.seconds) / 1e9
        known = points.get((part.kind, part.shape))
        if part.flops and (known is None or gflops > known.gflops):
            points[part.kind, part.shape] = Point(part.kind, part.shape, part.flops / part.bytes, gflops)
    passes = [_norm_point(rounds, batch), _addition_point(rounds, batch)]
    bandwidth = 12 * LARGE / _fastest(_addition((LARGE,)).run, rounds) / 1e9
    kernel = micro_kernel()
    kernel_gflops = 0.0 if kernel is None else kernel(get_num_threads())
    return Roofline(max(matmul_gflops(3)), kernel_gflops, bandwidth, [*points.values(), *passes])


def _addition(shape: tuple[int, ...]) -> Planned:
    rng, planned = np.random.default_rng(0), Planned()
    planned.addition(
        rng.standard_normal(shape, np.float32), rng.standard_normal(shape, np.float32), np.empty(shape, np.float32)
    )
    planned.close()
    return planned


def _addition_point(rounds: int, batch: int) -> Point:
    shape = batch, 56, 56, 256
    seconds = _fastest(_addition(shape).run, rounds)
    return Point(ADDITION, "56x56 256", 1 / 12, float(np.prod(shape)) / seconds / 1e9)


def _norm_point(rounds: int, batch: int) -> Point:
    shape = batch, 56, 56, 256
    rng, planned = np.random.default_rng(0), Planned()
    scale, shift = rng.standard_normal((2, 256), np.float32)
    planned.pass_over(rng.standard_normal(shape, np.float32), np.empty(shape, np.float32), scale, shift, True)
    planned.close()
    return Point(NORM, "56x56 256", 3 / 8, 3 * float(np.prod(shape)) / _fastest(planned.run, rounds) / 1e9)


def _fastest(run: Callable[[], object], rounds: int) -> float:
    run()
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began)
    return min(seconds)
