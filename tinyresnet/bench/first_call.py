"""How long the first call of a net takes in a new process: with nothing compiled yet, and with what the process before has left."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..backend import BackendUnavailable, use_backend
from ..extras import MissingExtra, require
from ..slim import Variables
from . import ours
from .architecture import architecture
from .child import in_a_child
from .memory import Drawn, Shapes, shapes_of
from .options import Options
from .results import OURS, CaseResult, Row

ABOUT = {
    "frozen": "freezing it and calling it",
    "loaded": "loading it frozen and calling it",
    "unfrozen": "inference",
    "training": "a training step",
}


class FirstCallCase(NamedTuple):
    """One net, batch 1. kind: "frozen", "loaded" (frozen, from its file), "unfrozen" or "training"."""

    net: str
    kind: str
    size: int

    @property
    def name(self) -> str:
        """As it is chosen."""
        return f"first-call/{self.kind}/{self.net}"

    @property
    def about(self) -> str:
        """In words."""
        return f"the first call in a process: {self.net}, {ABOUT[self.kind]}, {self.size}x{self.size}, batch 1"

    def measure(self, options: Options) -> CaseResult:
        """Rows in seconds, a process each: cold, then warm."""
        try:
            require("numba", "numba")
            if self.kind in ("frozen", "loaded"):
                ours.freeze()
        except (MissingExtra, BackendUnavailable, ours.NotThere) as why:
            return CaseResult(self.name, self.about, "s", (), {OURS: str(why)})
        net = architecture(self.net)
        given: dict[str, Any] = {**self._asdict(), "shapes": shapes_of(net)}
        rows: list[Row] = []
        with tempfile.TemporaryDirectory() as folder:
            if self.kind == "loaded":
                given["file"] = os.path.join(folder, "net.frozen")
                weights = Variables(Drawn(given["shapes"]))
                ours.save_frozen(net, weights, (1, self.size, self.size, 3), Path(given["file"]))
            cache = os.path.join(folder, "cache")
            for state in ("cold", "warm"):
                times = in_a_child(__name__, "times", given, options.threads, NUMBA_CACHE_DIR=cache)
                rows += [Row(f"{state} cache, {what}", (seconds,), OURS) for what, seconds in times.items()]
            compiled = sum(os.path.getsize(os.path.join(at, name)) for at, _, names in os.walk(cache) for name in names)
        note = f"compiled code on disk: {compiled / 1e6:.1f} MB"
        return CaseResult(self.name, self.about, "s", tuple(rows), notes=(note,))


# ---- in the process that is measured ---------------------------------------------------------------------------------------
def times(net: str, kind: str, size: int, shapes: Shapes, file: str = "") -> dict[str, float]:
    """Seconds of importing the kernels, of the first call (with the making of the net, without its weights), and of the second."""
    began = time.perf_counter()
    with use_backend(ours.BACKEND):
        found = {"kernels imported": time.perf_counter() - began}
    called, variables = architecture(net), Variables({} if file else Drawn(shapes))
    images, labels = np.random.default_rng(0).standard_normal((1, size, size, 3), np.float32), np.zeros(1, np.int64)
    began = time.perf_counter()
    side = ours.loaded(file) if file else ours.side_of(kind, called, variables, images.shape)
    for call in ("first call", "second call"):
        side.run((images, labels) if kind == "training" else images)
        found[call] = time.perf_counter() - began
        began = time.perf_counter()
    return found
