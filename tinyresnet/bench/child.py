"""A function of this package in a process of its own, where memory and compiled code start from nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

CODE = (
    "import importlib, json, sys; module, name, given = json.load(sys.stdin); "
    "print('\\n' + json.dumps(getattr(importlib.import_module(module), name)(**given)))"
)
THREADS = ("TINYRESNET_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")
LONGEST = 600  # seconds


def in_a_child(module: str, name: str, given: Mapping[str, Any], threads: int, **settings: str) -> Any:
    """What `module.name(**given)` returns there; arguments and result must be what JSON can hold. settings: environment variables.

    Raises OSError with the last line of its stderr, if it does not come to its end, or not within ten minutes.
    """
    what = f"the process that was to run {module}.{name}"
    try:
        done = subprocess.run(
            [sys.executable, "-c", CODE],
            input=json.dumps([module, name, dict(given)]),
            capture_output=True,
            text=True,
            encoding="utf-8",
            env={**os.environ, **dict.fromkeys(THREADS, str(threads)), **settings},
            timeout=LONGEST,
            check=False,
        )
    except subprocess.TimeoutExpired:  # the process has been ended
        raise OSError(f"{what} was not done after {LONGEST} seconds") from None
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise OSError(f"{what} ended early: {said[-1]}")
    return json.loads(done.stdout.splitlines()[-1])
