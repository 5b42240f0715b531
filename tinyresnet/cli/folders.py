"""Where a run is to go: a folder that has no run in it and can be written to. Looked at before anything is read or made."""

from __future__ import annotations

import os
from pathlib import Path

from ..training.run import BEST, LAST, METRICS
from .shell import resuming


def default_folder(source: str) -> Path:
    """runs/NAME, after the last part of the source's path, without its suffixes."""
    name = Path(source).resolve().name if Path(source).exists() else Path(source).name
    return Path("runs") / (name.split(".")[0] or "run")


def free_folder(folder: Path) -> Path:
    """`folder`, or `folder`-2, -3, ...: the first that holds nothing."""
    number, free = 1, folder
    while free.is_dir() and any(free.iterdir()):
        number += 1
        free = folder.with_name(f"{folder.name}-{number}")
    return free


def new_folder(out: str | Path) -> Path:
    """`out` as a path, if a run can begin there. Makes nothing. Raises ValueError, FileExistsError if a run is there, OSError."""
    if not str(out):
        raise ValueError("--out must be the path of a folder, not ''")
    folder = Path(out)
    if any((folder / name).exists() for name in (LAST, BEST, METRICS)):
        raise FileExistsError(
            f"{folder} holds a run already: go on with it by {resuming(folder)}, or give another folder by --out"
        )
    nearest = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    if not nearest.is_dir():
        raise ValueError(f"--out must be a folder, or a path at which one can be made, but {nearest} is none")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise ValueError(f"--out must be a folder that can be written to, but {nearest} cannot")
    return folder
