"""Runs program.py, or a line of Python, in a process with its own environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).with_name("program.py")
ROOT = Path(__file__).parents[2]
SECONDS = 300  # far more than any of them needs: so that one which hangs is ended


def run(*arguments: str, package: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """`python program.py ARGUMENTS` (or `python -c ...`), with tinyresnet from `package` and these variables set.

    OpenBLAS and Numba get the caller's settings, the back end is chosen by the program.
    """
    own = {"PYTHONPATH": os.pathsep.join(map(str, (package, ROOT))), "PYTHONDONTWRITEBYTECODE": "1", **environment}
    command = arguments if arguments[0] == "-c" else (str(PROGRAM), *arguments)
    return subprocess.run(
        [sys.executable, *command], env={**os.environ, **own}, capture_output=True, text=True, timeout=SECONDS
    )


def said(process: subprocess.CompletedProcess[str]) -> str:
    """Both streams, for the message of an assertion."""
    return f"status {process.returncode}\n{process.stdout}\n{process.stderr[-3000:]}"
