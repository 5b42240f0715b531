"""How much the peak of memory grows from the imports to the end of a run, each side in a process of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..backend import Array, BackendUnavailable, use_backend
from ..extras import MissingExtra, require
from ..slim import Variables
from . import ours
from .architecture import Architecture, architecture
from .child import in_a_child
from .options import PEERS, Options
from .peak_memory import PeakMemory
from .peers import EXTRA, onnx_runtime, openvino, pytorch
from .peers.onnx_graph import onnx_model
from .results import OURS, CaseResult, Row
from .rounds import Side

CALLS = 3
FROM_FILE = "from a file"
MODULES = {OURS: "numba", "pytorch": "torch", "onnxruntime": "onnxruntime", "openvino": "openvino"}
Shapes = Mapping[str, tuple[int, ...]]


class Drawn(Mapping[str, Array]):
    """Random weights of these shapes, drawn one after the other when they are asked for, so that no side pays for another's copy."""

    def __init__(self, shapes: Shapes) -> None:
        self.shapes = shapes

    def __getitem__(self, name: str) -> Array:
        shape, rng = self.shapes[name], np.random.default_rng(len(name))
        if len(shape) == 1:
            return rng.uniform(0.5, 1.5, shape).astype(np.float32)
        return rng.standard_normal(shape, np.float32) * np.float32((2 / np.prod(shape[:-1])) ** 0.5)

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)


class MemoryCase(NamedTuple):
    """One net, one batch. kind: "frozen", "unfrozen" or "training"."""

    net: str
    kind: str
    size: int
    batch: int

    @property
    def name(self) -> str:
        """As it is chosen."""
        return f"memory/{self.kind}/{self.net}/{self.size}/b{self.batch}"

    @property
    def about(self) -> str:
        """In words."""
        what = "a training step" if self.kind == "training" else f"{self.kind} inference"
        return (
            f"growth of peak memory after the imports: {self.net}, {what}, {self.size}x{self.size}, batch {self.batch}"
        )

    def measure(self, options: Options) -> CaseResult:
        """A row a side; each number is a process's."""
        sides = [(OURS, ""), *(("pytorch", layout) for layout in pytorch.LAYOUTS)]
        if self.kind == "frozen":
            sides += [(OURS, FROM_FILE), ("onnxruntime", ""), ("openvino", "")]
        rows: list[Row] = []
        left_out: dict[str, str] = {}
        with tempfile.TemporaryDirectory() as folder:
            for side, manner in sides:
                if side not in (OURS, *options.peers):
                    continue
                name = PEERS.get(side, side)
                try:
                    samples = self._samples(side, manner, options, Path(folder))
                except (MissingExtra, BackendUnavailable, ours.NotThere) as why:
                    left_out[name] = str(why)
                else:
                    shown = f"{name}, {manner}" if manner else name
                    rows.append(Row(shown, samples, shown if side == OURS else name))
        return CaseResult(self.name, self.about, "MB", tuple(rows), left_out)

    def _samples(self, side: str, manner: str, options: Options, folder: Path) -> tuple[float, ...]:
        require(MODULES[side], "numba" if side == OURS else EXTRA)
        if side == OURS and self.kind == "frozen":
            ours.freeze()  # raises what the process would
        shapes = shapes_of(architecture(self.net))
        given = {"side": side, "manner": manner, "shapes": shapes, "threads": options.threads, **self._asdict()}
        if side in ("onnxruntime", "openvino") or manner == FROM_FILE:
            given["file"] = str(self._file(side, shapes, folder))
        if side == OURS:  # once for nothing: compiling takes memory too, and happens once on a machine
            in_a_child(__name__, "growth", given, options.threads)
        return tuple(float(in_a_child(__name__, "growth", given, options.threads)) for _ in range(options.processes))

    def _file(self, side: str, shapes: Shapes, folder: Path) -> Path:
        """The net with its weights, for those that read it from a file."""
        net, shape = architecture(self.net), (self.batch, self.size, self.size, 3)
        path = folder / ("net.frozen" if side == OURS else "net.onnx")
        if not path.exists():
            if side == OURS:
                ours.save_frozen(net, Variables(Drawn(shapes)), shape, path)
            else:
                path.write_bytes(onnx_model(net, Drawn(shapes), shape))
        return path


def shapes_of(net: Architecture) -> dict[str, tuple[int, ...]]:
    """Of the net's variables, by name."""
    variables = Variables()
    with use_backend("numpy"):
        net(np.zeros((1, 32, 32, 3), np.float32), variables, is_training=False)
    return {name: value.shape for name, value in variables.items()}


# ---- in the process that is measured ---------------------------------------------------------------------------------------
def growth(
    side: str, manner: str, shapes: Shapes, threads: int, net: str, kind: str, size: int, batch: int, file: str = ""
) -> float:
    """In units of 10^6 bytes: the net, its weights, and a few calls. The images were there before."""
    require(MODULES[side], EXTRA)
    with use_backend(ours.BACKEND if side == OURS else "numpy"):  # its kernels are imported
        pass
    images = np.random.default_rng(0).standard_normal((batch, size, size, 3), np.float32)
    labels = np.zeros(batch, np.int64)
    peak = PeakMemory()
    if file:
        made = _read(side, file, threads)
    else:
        made = _made(side, manner, Drawn(shapes), architecture(net), kind, images.shape, threads)
    for _ in range(CALLS):
        made.run(made.prepare((images, labels) if kind == "training" else images))
    return peak.growth() / 1e6


def _read(side: str, file: str, threads: int) -> Side:
    if side == OURS:
        return ours.loaded(file)
    inference = onnx_runtime.inference if side == "onnxruntime" else openvino.inference
    return inference(file, threads)[0]


def _made(
    side: str, manner: str, weights: Drawn, net: Architecture, kind: str, shape: tuple[int, ...], threads: int
) -> Side:
    if side == "pytorch":
        sides = pytorch.training if kind == "training" else pytorch.inference
        return sides(net, weights, threads, layouts=(manner,))[0]
    return ours.side_of(kind, net, Variables(weights), shape)
