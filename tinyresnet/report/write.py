"""A report to a folder, so that at every moment the folder has one that is whole: the old one or the new one."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

from ..backend import use_backend
from ..extras import require
from ..training import open_run
from .elements import FOLDER
from .page import compose

PAGE = "index.html"
OURS = re.compile(
    r"[a-z_0-9]+\.[0-9a-f]{10}\.png|\.[a-z_0-9.]+\.part"
)  # what `place` writes into the folder of pictures


def write_report(folder: str | Path, noticed: Callable[[str], None] | None = None) -> Path:
    """Makes runs/NAME/index.html and the pictures beside it, from a run in any state; returns the path of index.html.

    It takes the weights that tested best (before the first test: the last ones) and predicts the whole test part again, on the
    run's back end. If the data set is gone, the page says so and has the rest. A report that was there is replaced;
    `noticed` is told in a sentence what the new one has to do without.
    Raises FileNotFoundError if no run is in the folder, ValueError for a damaged one, MissingExtra without matplotlib, OSError.
    """
    require("matplotlib", "plot")
    run = open_run(folder)
    with use_backend(run.config.training.backend):
        return place(Path(folder), *compose(run, noticed))


def place(folder: Path, page: str, pictures: dict[str, bytes]) -> Path:
    """First the pictures, whose names are new where their content is; then the page, in one move; then the old pictures go."""
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    for file, png in pictures.items():
        put(folder / file, png)
    put(folder / PAGE, page.encode())
    for path in (folder / FOLDER).iterdir():
        if f"{FOLDER}/{path.name}" not in pictures and OURS.fullmatch(path.name):
            path.unlink(missing_ok=True)
    return folder / PAGE


def put(path: Path, content: bytes) -> None:
    """Writes a file under another name and moves it to its place; after an error nothing is left of it."""
    handle, part = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(part, 0o644)
        os.replace(part, path)
    except BaseException:
        os.unlink(part)
        raise
