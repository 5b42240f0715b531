"""What was measured on: the processor, its instructions, threads, the BLAS, versions."""

from __future__ import annotations

import importlib
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..training.environment import blas

PACKAGES = ("numpy", "numba", "llvmlite", "torch", "onnx", "onnxruntime", "openvino")
FEATURES = ("sse4.2", "avx", "avx2", "fma", "avx512f", "avx512vl", "avx512bf16", "amx-tile", "neon", "sve", "sve2")


def machine(threads: int) -> dict[str, Any]:
    """All of it, as a plain dict that JSON can hold."""
    return {
        "tinyresnet": __version__,
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "features": _features(),
        "threads": threads,
        "blas": blas(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "load": _load(),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def _features() -> list[str]:
    """As LLVM sees them; without it those that NumPy was built to use and has found."""
    try:
        binding: Any = importlib.import_module("llvmlite.binding")
    except ImportError:
        found = np.show_config(mode="dicts").get("SIMD Extensions", {})
        return sorted({*found.get("baseline", ()), *found.get("found", ())})
    there = binding.get_host_cpu_features()
    return [name for name in FEATURES if there.get(name)]


def _load() -> float | None:
    """How many processes have wanted a CPU in the last minute: above a half, others were at work while this began."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def as_text(found: dict[str, Any]) -> str:
    """A few lines."""
    name = " ".join(str(found["blas"][key]) for key in ("name", "version", "kernel") if found["blas"].get(key))
    versions = ", ".join(f"{package} {version}" for package, version in found["packages"].items())
    lines = [
        f"{found['processor']}, {found['cpus']} CPUs ({' '.join(found['features'])}); {found['threads']} threads a side",
        f"BLAS of NumPy: {name}",
        f"tinyresnet {found['tinyresnet']}, Python {found['python']}, {versions}",
    ]
    if found["load"] is not None and found["load"] > 0.5:
        lines.append(f"this machine is not quiet: its load is {found['load']}; times will be too long and vary")
    return "\n".join(lines)
