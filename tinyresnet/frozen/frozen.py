"""What a caller holds: a net as a function of images. It checks what it is given and leaves the work to the back end's executor."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, Protocol

import numpy as np

from ..backend import Array, get_backend
from ..ops.checks import shape_text
from .buffers import plan
from .graph import Conv2D, Graph
from .plain import Plain


class Executor(Protocol):
    """One way of running a graph. Several threads may call it at a time."""

    def __call__(self, images: Array, out: Array) -> None:
        """images [n, H, W, C], n from 1 to the planned batch -> out [n, ...], both C-contiguous, aligned and of the graph's dtype."""


def _compiled(graph: Graph) -> Executor:
    from .compiled import Compiled  # needs Numba

    return Compiled(graph)


EXECUTORS: dict[str, Callable[[Graph], Executor]] = {"numpy": Plain, "numba": _compiled, "cupy": Plain}  # by back end


class Frozen:
    """`logits = frozen(images)`: inference with constant weights, without pullbacks, end points or a store. Made by `freeze`.

    input_shape   (N, H, W, C): it takes 1 to N images at a time (and none) of H x W pixels and C channels
    output_shape  (N, ...): of the result for N images
    dtype         numpy.dtype of images and result
    Images and results are NumPy arrays; under back end "cupy", too, it runs on the CPU. A `use(...)` does not reach inside. Any number
    of threads may call it at a time.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self.input_shape, self.output_shape = graph.input_shape, graph.output_shape
        self.dtype = np.dtype(graph.dtype)
        self._executors: dict[str, Executor] = {}
        self._lock = threading.Lock()
        self._executor()

    def __call__(self, images: Array, out: Array | None = None) -> Array:
        """The net's result for these images: a new array, or `out`, filled.

        images  [n, H, W, C], n <= N, of dtype `dtype`
        out     where to write the result: a C-contiguous array [n, ...] of that dtype; then nothing is allocated
        Raises TypeError for what is no NumPy array, ValueError for another shape or dtype.
        """
        self._check_images(images)
        shape = (len(images), *self.output_shape[1:])
        if out is None:
            out = np.empty(shape, self.dtype)
        else:
            self._check_out(out, shape, images)
        if out.size:
            self._executor()(np.require(images, requirements=["C", "A"]), out)
        return out

    def save(self, path: str | Path) -> None:
        """Writes it to one file, whole or not at all; `tinyresnet.load_frozen(path)` reads it, on any machine and back end.

        Raises OSError, and MissingExtra without safetensors.
        """
        from .file import save_graph

        save_graph(path, self._graph)

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a frozen net holds machine code and cannot be pickled: save it, and load_frozen it where it is needed"
        )

    def __repr__(self) -> str:
        nodes, memory = self._graph.nodes, plan(self._graph, self._graph.batch).size
        convolutions = sum(isinstance(node, Conv2D) for node in nodes)
        numbers = sum(array.size for node in nodes for array in node.constants.values())
        return (
            f"<Frozen {self._graph.name}: {shape_text(self.input_shape)} {self.dtype} -> {shape_text(self.output_shape)}; "
            f"{len(nodes)} steps, {convolutions} of them convolutions, {numbers:,} numbers; "
            f"{memory / 1e6:.1f} MB for maps>"
        )

    def _executor(self) -> Executor:
        """The one of the back end in force here; made when first asked for."""
        backend = get_backend()
        found = self._executors.get(backend)
        if found is None:
            with self._lock:
                found = self._executors.get(backend) or EXECUTORS[backend](self._graph)
                self._executors[backend] = found
        return found

    def _check_images(self, images: Any) -> None:
        if not isinstance(images, np.ndarray):
            raise TypeError(
                f"images must be a NumPy array, not {type(images).__module__}.{type(images).__name__}: "
                "numpy.asarray(...), or tinyresnet.to_host(...) for one on a device"
            )
        wanted = f"[n, {', '.join(map(str, self.input_shape[1:]))}] with n from 0 to {self.input_shape[0]}"
        if images.ndim != 4 or images.shape[1:] != self.input_shape[1:] or len(images) > self.input_shape[0]:
            raise ValueError(
                f"images must be {wanted}, as this net was frozen with input_shape={self.input_shape}; "
                f"their shape is {shape_text(images.shape)}"
            )
        if images.dtype != self.dtype:
            raise ValueError(f"images must be {self.dtype}, as this net was frozen for it, not {images.dtype}")

    def _check_out(self, out: Any, shape: tuple[int, ...], images: Array) -> None:
        if not isinstance(out, np.ndarray):
            raise TypeError(f"out must be a NumPy array {shape_text(shape)}, not {type(out).__name__}")
        if out.shape != shape or out.dtype != self.dtype:
            raise ValueError(
                f"out must be {self.dtype} {shape_text(shape)} for {len(images)} images, not {out.dtype} {shape_text(out.shape)}"
            )
        if not out.flags.carray:
            raise ValueError(
                "out must be C-contiguous, aligned and writeable: numpy.empty(shape, dtype) makes such an array"
            )
        if np.may_share_memory(out, images):
            raise ValueError("out must not share memory with images, which are read while it is written")
