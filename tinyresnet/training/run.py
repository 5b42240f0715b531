"""A run's folder: what is in it, and the run that can be looked at once it is there.

runs/NAME/config.toml         the effective config
          metrics.jsonl       one JSON object a line, as it went
          last.safetensors    the whole state: training goes on from here
          best.safetensors    the variables that tested best, under TF-Slim's names
          index.html          the report
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows has none
    fcntl = None  # type: ignore[assignment]

from .. import checkpoints
from ..backend import Array, use_backend
from ..data import Dataset
from .config import Config
from .evaluation import Predictor
from .nets import Net
from .sources import dataset_of
from .state import About, variables_of

CONFIG, METRICS, LAST, BEST = "config.toml", "metrics.jsonl", "last.safetensors", "best.safetensors"
NUMBERS = ("epoch", "step", "loss", "accuracy", "learning_rate", "seconds")  # in every line of a step or an epoch


class MetricsLog:
    """metrics.jsonl, opened to append. `length` bytes of it are kept, whatever a run that was killed wrote after them is not."""

    def __init__(self, path: Path, length: int = 0) -> None:
        self._file = path.open("r+b" if path.exists() else "w+b")
        self._lock(path)
        self._file.truncate(min(length, self._file.seek(0, os.SEEK_END)))
        self._file.seek(0, os.SEEK_END)

    def _lock(self, path: Path) -> None:
        """Two processes would write over each other's run. The system lifts the lock when its process ends, however it ends."""
        if fcntl is None:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.close()
            raise BlockingIOError(f"{path.parent} is being trained by another process") from error

    def write(self, kind: str, **values: Any) -> None:
        """One line; it is handed to the system at once, so that others can follow."""
        line = json.dumps({"kind": kind, **values}, ensure_ascii=False, allow_nan=False)
        self._file.write(line.encode() + b"\n")
        self._file.flush()

    def saved(self) -> int:
        """Its length, once all of it is on the disk."""
        os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        """Nothing more is written."""
        self._file.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl; a last one that a killed run left unfinished is left out. Raises ValueError, OSError."""
    found, lines = [], path.read_bytes().split(b"\n")
    for number, line in enumerate(lines[:-1], 1):  # what follows the last newline is empty, or unfinished
        try:
            found.append(_checked_line(json.loads(line)))
        except (ValueError, TypeError, RecursionError) as error:
            raise ValueError(f"{path}: line {number} is none that training wrote: {error}") from error
    return found


def _checked_line(line: Any) -> dict[str, Any]:
    """A JSON object whose numbers are numbers. Raises TypeError."""
    if not isinstance(line, dict):
        raise TypeError("it is no JSON object")
    if line.get("kind") in ("step", "epoch"):
        for name in NUMBERS:
            if not isinstance(line.get(name), (int, float)):
                raise TypeError(f"its {name} is no number but {line.get(name)!r}")
    return line


class Run:
    """A run that was trained, or is being trained: `open_run(folder)`.

    config, class_names, image_shape (H, W, C), progress (where it was when the checkpoint was saved), environment,
    metrics (the lines of metrics.jsonl as dicts), net and variables (for evaluation).
    """

    def __init__(self, folder: Path, checkpoint: checkpoints.Checkpoint) -> None:
        self.folder, self.checkpoint = folder, checkpoint
        self.about, self.progress = About.read(checkpoint)
        self.net: Net
        with use_backend(self.config.training.backend):
            self.net, self.variables = variables_of(checkpoint, self.about)

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl, read now. Raises ValueError for a damaged one."""
        path = self.folder / METRICS
        return read_metrics(path) if path.exists() else []

    @property
    def config(self) -> Config:
        """As it was saved with the checkpoint."""
        return self.about.config

    @property
    def class_names(self) -> tuple[str, ...]:
        """By label."""
        return self.about.class_names

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of the pictures that it was trained on, and takes."""
        return self.about.image_shape

    @property
    def environment(self) -> dict[str, Any]:
        """What it was trained on: versions, BLAS, back end."""
        return self.about.environment

    def dataset(self) -> Dataset:
        """The data set that it was trained on, read again. Raises ValueError if it is another one by now, or OSError."""
        found = dataset_of(self.config.data, self.config.training.seed)
        self.about.check_data(found)
        return found

    def normalised(self, images: Array) -> Array:
        """uint8 [N, H, W, C] -> float32, as the net takes them."""
        return self.about.normalisation(images)

    @property
    def predictor(self) -> Predictor:
        """uint8 pictures -> probabilities."""
        return Predictor(self.net, self.variables, self.about.normalisation, self.config.data.mirror_test)

    def predict(self, images: Array) -> Array:
        """uint8 [N, H, W, C] -> probabilities float32 [N, K], or [N, H, W, K] for task segment. Raises ValueError."""
        if images.dtype != "uint8" or images.shape[1:] != self.image_shape:
            raise ValueError(
                f"images must be uint8 [N, {', '.join(map(str, self.image_shape))}], "
                f"not {images.dtype} {list(images.shape)}"
            )
        return self.predictor(images)


def open_run(folder: str | Path, which: str = "best") -> Run:
    """The run in a folder, with its "best" or "last" checkpoint. Before the first epoch has ended, "best" is "last".

    Raises FileNotFoundError if there is none, ValueError (CheckpointMismatch) for damaged or foreign files.
    """
    if which not in ("best", "last"):
        raise ValueError(f"which must be 'best' or 'last', not {which!r}")
    folder = Path(folder)
    path = folder / (BEST if which == "best" and (folder / BEST).exists() else LAST)
    if not path.exists():
        raise FileNotFoundError(f"{folder} is not the folder of a training run: it has no {BEST} and no {LAST}")
    found = checkpoints.load(path)
    if path.name == BEST and (folder / LAST).exists():
        last = checkpoints.read_metadata(folder / LAST)
        if any(found.metadata.get(name) != last.get(name) for name in ("data_fingerprint", "class_names")):
            raise ValueError(f"{path} is not of the run in {folder}: it was trained on other data than {LAST} there")
    return Run(folder, found)
