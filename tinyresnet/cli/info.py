"""`tinyresnet info`: what is installed, what computes, and what is missing for the rest."""

from __future__ import annotations

import argparse
import json
import os
from typing import Any

from ..backend import BACKENDS, BackendUnavailable, get_backend, use_backend
from ..training import environment


def add(commands: Any) -> argparse.ArgumentParser:
    """Its arguments."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "info", help="versions, threads, BLAS, back ends, and why one is not available"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Prints it; 0."""
    with use_backend("numpy"):  # the one that always works: this command is for the day on which the default does not
        found = environment()
    found["backend"], found["backend_error"] = default_backend()
    found["backends"] = {name: why_not(name) for name in BACKENDS}
    found["settings"] = {name: value for name, value in sorted(os.environ.items()) if name in SETTINGS}
    print(json.dumps(found, indent=2) if arguments.json else as_text(found))
    return 0


def default_backend() -> tuple[str | None, str | None]:
    """(the process's back end, None), or (None, why there is none)."""
    try:
        return get_backend(), None
    except (BackendUnavailable, ValueError) as error:
        return None, str(error)


SETTINGS = ("TINYRESNET_BACKEND", "OPENBLAS_CORETYPE", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def why_not(name: str) -> str | None:
    """Why a back end cannot run here; None if it can."""
    try:
        with use_backend(name):
            return None
    except BackendUnavailable as error:
        return str(error)


def as_text(found: dict[str, Any]) -> str:
    """A line a fact."""
    rows = [
        ("tinyresnet", found["tinyresnet"]),
        ("python", f"{found['python']} on {found['platform']}, {found['cpus']} CPUs"),
        *((f"  {name}", version) for name, version in found["packages"].items()),
        ("BLAS", ", ".join(f"{name} {value}" for name, value in found["blas"].items())),
        ("back ends", ""),
        *(
            (
                f"  {name}",
                f"not available: {why}" if why else "available" + (", the default" * (name == found["backend"])),
            )
            for name, why in found["backends"].items()
        ),
        *([("  no default", found["backend_error"])] if found["backend_error"] else []),
        *(("environment", f"{name}={value}") for name, value in found["settings"].items()),
    ]
    return "\n".join(f"{name:<16}{value}".rstrip() for name, value in rows)
