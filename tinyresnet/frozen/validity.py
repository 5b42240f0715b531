"""Whether a graph that comes from a file is one: kernels work on addresses, and must never be given sizes that do not fit."""

from __future__ import annotations

import operator
from math import prod
from typing import Any

import numpy as np

from ..ops.checks import positive_int, shape_text
from .graph import IMAGES, Affine, Conv2D, GlobalAvgPool, Graph, Node
from .plain import compute


def check_graph(graph: Graph) -> None:
    """Raises ValueError, or what an op says, unless every node reads what is there by then and makes what the graph says it makes.

    The ops themselves are asked, on a batch of no images.
    """
    n, *_ = (positive_int("input_shape", size) for size in _of_length("input_shape", graph.input_shape, 4))
    values = {IMAGES: np.empty((0, *graph.input_shape[1:]), graph.dtype)}
    _expect("the images", graph.shapes[IMAGES], graph.input_shape[1:])
    for node in graph.nodes:
        y = operator.index(node.y)
        if y in values:
            raise ValueError(f"value {y} is made twice")
        for value in node.reads:
            if value not in values:
                raise ValueError(f"value {y} is made of value {value}, which is not there yet")
        _check_constants(node, graph)
        _of_length(f"value {y}", graph.shapes[y], 3)
        values[y] = compute(node, values, graph)
        _expect(f"value {y}", graph.shapes[y], values[y].shape[1:])
        if values[y].dtype != graph.dtype:
            raise ValueError(f"value {y} is {values[y].dtype}, not {graph.dtype}")
    if graph.output not in values:
        raise ValueError(f"its result is value {graph.output}, which no step makes")
    h, w, c = graph.shapes[graph.output]
    allowed = [(n, h, w, c), *([(n, c)] if h == w == 1 else [])]
    if graph.output_shape not in allowed:
        raise ValueError(f"its result has the shape {graph.output_shape}, but must have {allowed[0]}")


def _check_constants(node: Node, graph: Graph) -> None:
    """One number a channel, of the net's dtype: NumPy would stretch what is shorter, and a kernel read beyond its end."""
    for name, array in node.constants.items():
        if array.dtype != graph.dtype:
            raise ValueError(f"{name} of value {node.y} is {array.dtype}, not {graph.dtype}")
        if name != "w":
            read = node.y if name == "bias" else node.reads[0]
            _expect(f"{name} of value {node.y}", array.shape, (graph.shapes[read][-1],))
    if isinstance(node, Conv2D):
        if node.residual is not None:
            _expect(f"the residual of value {node.y}", graph.shapes[node.residual], graph.shapes[node.y])
        if node.scale is not None and not node.is_per_pixel:
            raise ValueError(
                f"value {node.y} has a scale, which only a 1x1 convolution of stride 1 without padding can have"
            )
    if isinstance(node, (Affine, Conv2D, GlobalAvgPool)) and node.scale is not None and node.shift is None:
        raise ValueError(f"value {node.y} has a scale and no shift")


def _of_length(what: str, shape: Any, length: int) -> Any:
    if not isinstance(shape, tuple) or len(shape) != length or prod(shape) < 1:
        raise ValueError(f"{what} must have {length} sizes >= 1, not {shape!r}")
    return shape


def _expect(what: str, shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    if tuple(shape) != tuple(wanted):
        raise ValueError(f"{what} has the shape {shape_text(shape)}, but must have {shape_text(wanted)}")
