"""What a run ran on: versions, threads, the BLAS. Results are the same bit for bit only where these are."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from typing import Any

import numpy as np

from ..backend import get_backend

PACKAGES = ("numpy", "numba", "cupy", "safetensors", "tqdm", "threadpoolctl", "pillow", "matplotlib")


def version_of(package: str) -> str | None:
    """The installed version; None if it is not installed. CuPy's packages are named after CUDA versions."""
    names = (package, "cupy-cuda12x", "cupy-cuda13x") if package == "cupy" else (package,)
    for name in names:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


def blas() -> dict[str, Any]:
    """The BLAS that NumPy multiplies matrices with: name, version, and where threadpoolctl is installed kernel and threads."""
    built = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    found = {"name": built.get("name"), "version": built.get("version")}
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return found
    for pool in threadpool_info():
        if pool["user_api"] == "blas":
            return {
                "name": pool["internal_api"],
                "version": pool["version"],
                "kernel": pool.get("architecture"),
                "threads": pool["num_threads"],
            }
    return found


def environment() -> dict[str, Any]:
    """All of it, as a plain dict that JSON can hold."""
    from .. import __version__

    packages = {name: version for name in PACKAGES if (version := version_of(name))}
    return {
        "tinyresnet": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "byteorder": sys.byteorder,
        "packages": packages,
        "backend": get_backend(),
        "blas": blas(),
    }


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What of two environments differs and can change the last bits of a result, in words: "numpy was 2.3.0, is 2.4.6"."""
    flat_before, flat_now = _what_counts(before), _what_counts(now)
    return [
        f"{name} was {flat_before.get(name)}, is {flat_now.get(name)}"
        for name in flat_now
        if flat_before.get(name) != flat_now[name]
    ]


def _what_counts(found: dict[str, Any]) -> dict[str, Any]:
    packages = found.get("packages", {})
    counts = {name: found.get(name) for name in ("tinyresnet", "machine", "backend")}
    counts |= {name: packages.get(name) for name in ("numpy", "numba", "cupy")}
    return counts | {f"BLAS {name}": value for name, value in found.get("blas", {}).items()}
