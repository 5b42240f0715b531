"""A run of the benchmark: case after case, written down after each."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..checkpoints import write_atomically
from ..extras import require
from .cases import Case
from .chart import bars_png, layer_groups, net_groups
from .child import THREADS
from .machine import machine
from .options import Options
from .peak import PeakCase, measured_peak
from .results import CaseResult

RESULTS, CHART, LAYERS = "results.json", "chart.png", "layers.png"


def run_cases(
    cases: Sequence[Case], options: Options, folder: Path, said: Callable[[CaseResult], None]
) -> list[CaseResult]:
    """Measures all; `said` hears of each result as it comes. The folder gets results.json after each case.

    The peak is measured first if any case has GFLOP/s. Raises WrongResult at a case whose sides do not compute the same.
    """
    results: list[CaseResult] = []
    found = machine(options.threads)
    folder.mkdir(parents=True, exist_ok=True)
    with _threads(options.threads):
        if any(getattr(case, "flops", None) for case in cases) and not any(
            isinstance(case, PeakCase) for case in cases
        ):
            cases = [PeakCase(), *cases]
        for case in cases:
            result = case.measure(options)
            if isinstance(case, PeakCase):
                options = options._replace(peak=measured_peak(result))
            results.append(result)
            said(result)
            write_atomically(folder / RESULTS, json.dumps(_as_json(found, options, results), indent=1).encode())
    return results


def draw(results: Sequence[CaseResult], folder: Path, title: str) -> list[Path]:
    """Writes chart.png, and layers.png if layers were measured; returns the paths. Nothing to compare: no picture."""
    drawn = []
    for name, groups, peer in (
        (CHART, net_groups(results), "the peer's"),
        (LAYERS, layer_groups(results), "PyTorch's"),
    ):
        if groups:
            axis = f"tinyresnet's time or memory over {peer}: left of the dashed line tinyresnet needs less"
            write_atomically(folder / name, bars_png(groups, title, axis))
            drawn.append(folder / name)
    return drawn


def _as_json(found: dict[str, Any], options: Options, results: Sequence[CaseResult]) -> dict[str, Any]:
    return {
        "format": 1,
        "machine": found,
        "rounds": options.rounds,
        "peers": list(options.peers),
        "peak_gflops": options.peak,
        "cases": [result.as_json() for result in results],
    }


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """So many for the BLAS and for our kernels, also those that are imported only now."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ |= dict.fromkeys(THREADS, str(count))
    try:
        with require("threadpoolctl", "bench").threadpool_limits(limits=count, user_api="blas"), _kernel_threads(count):
            yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _kernel_threads(count: int) -> Iterator[None]:
    try:
        threads: Any = importlib.import_module("tinyresnet.kernels.cpu.threads")
    except ImportError:  # no Numba, so no kernels
        yield
        return
    before = threads.get_num_threads()
    threads.set_num_threads(count)
    try:
        yield
    finally:
        threads.set_num_threads(before)
