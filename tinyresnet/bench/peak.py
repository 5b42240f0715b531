"""The most that this machine multiplies: what all GFLOP/s of a run are a share of."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..training.environment import blas
from .options import Options
from .results import OURS, CaseResult, Row

SIDE = 2048  # of the matrices
REPEATS = 3, 12  # of each: as many as there are rounds, but not fewer and not more than that


class PeakCase(NamedTuple):
    """A product of large matrices by NumPy, and tinyresnet's own micro-kernel on data that stays in the cache."""

    name: str = "peak/gemm"
    about: str = f"float32 matrix product, {SIDE}x{SIDE}x{SIDE}, and the micro-kernel alone"

    def measure(self, options: Options) -> CaseResult:
        """Rows in GFLOP/s."""
        repeats = max(REPEATS[0], min(REPEATS[1], options.rounds))
        rates = {f"NumPy, {_blas()}": matmul_gflops(repeats)}
        left_out = {}
        kernel = micro_kernel()
        if kernel is None:
            left_out[f"{OURS}, micro-kernel"] = "not available: this version has none"
        else:
            rates[f"{OURS}, micro-kernel"] = [float(kernel(options.threads)) for _ in range(repeats)]
        peak = max(max(samples) for samples in rates.values())
        rows = tuple(
            Row(name, tuple(samples), OURS if name.startswith(OURS) else "NumPy", max(samples), max(samples) / peak)
            for name, samples in rates.items()
        )
        return CaseResult(self.name, self.about, "GFLOP/s", rows, left_out)


def measured_peak(result: CaseResult) -> float:
    """The best of all repeats of all rows."""
    return max(max(row.samples) for row in result.rows)


def matmul_gflops(repeats: int) -> list[float]:
    """Of single products."""
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((SIDE, SIDE), np.float32) for _ in range(2))
    out = np.empty_like(a)
    np.matmul(a, b, out=out)
    return [2 * SIDE**3 / _seconds(lambda: np.matmul(a, b, out=out)) / 1e9 for _ in range(repeats)]


def micro_kernel() -> Callable[[int], float] | None:
    """threads -> GFLOP/s of the GEMM's innermost loop; None where there is none."""
    try:
        module: Any = importlib.import_module("tinyresnet.kernels.cpu.peak")
    except ImportError:
        return None
    found: Callable[[int], float] = module.micro_kernel_gflops
    return found


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _blas() -> str:
    found = blas()
    return " ".join(str(found[name]) for name in ("name", "version", "kernel") if found.get(name))
