"""The folded graph, run by the plain ops: what a frozen net is on back end `numpy`, and what every other way of running it is held to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import ops
from ..backend import Array, use_backend
from .graph import (
    IMAGES,
    Add,
    Affine,
    Conv2D,
    GlobalAvgPool,
    Graph,
    MaxPool2D,
    Node,
    Relu,
    ResizeBilinear,
    Softmax,
    Subsample,
    Value,
)


class Plain:
    """Runs the nodes one after the other; a value is let go of after the last node that reads it."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        for node in graph.nodes:
            if isinstance(node, Conv2D):
                node.w.keep()
        last = {value: i for i, node in enumerate(graph.nodes) for value in (node.y, *node.reads)}
        self._done_with: list[list[Value]] = [[] for _ in graph.nodes]
        for value, i in last.items():
            if value != graph.output:
                self._done_with[i].append(value)

    def __call__(self, images: Array, out: Array) -> None:
        """images [n, H, W, C] -> out, of the result's shape. A `use(...)` around the call does not reach inside."""
        values = {IMAGES: images}
        with use_backend("numpy"):
            for node, done_with in zip(self.graph.nodes, self._done_with, strict=True):
                values[node.y] = compute(node, values, self.graph)
                for value in done_with:
                    values.pop(value, None)
        out[...] = values[self.graph.output].reshape(out.shape)


def compute(node: Node, values: dict[Value, Array], graph: Graph) -> Array:
    """The value that the node makes of `values`: a new array [n, H, W, C]."""
    size = graph.shapes[node.y][:2]
    return COMPUTE[type(node)](node, *(values[value] for value in node.reads), size=size)


def _activated(node: Conv2D | GlobalAvgPool, x: Array) -> Array:
    return x if node.scale is None else ops.relu_forward(x * node.scale + node.shift)[0]


def _conv2d(node: Conv2D, x: Array, residual: Array | None = None, **_: Any) -> Array:
    y, _saved = ops.conv2d_forward(_activated(node, x), node.w.get(), node.stride, node.rate, node.pads)
    if node.bias is not None:
        y += node.bias
    if residual is not None:
        y += residual
    return ops.relu_forward(y)[0] if node.relu else y


def _affine(node: Affine, x: Array, **_: Any) -> Array:
    y = x + node.shift if node.scale is None else x * node.scale + node.shift
    return ops.relu_forward(y)[0] if node.relu else y


def _add(node: Add, a: Array, b: Array, **_: Any) -> Array:
    y = ops.add(a, b)
    return ops.relu_forward(y)[0] if node.relu else y


def _max_pool2d(node: MaxPool2D, x: Array, **_: Any) -> Array:
    padding: Any = node.pads  # may be explicit, as a convolution's
    return ops.max_pool2d_forward(x, node.kernel, node.stride, padding)[0]


def _global_avg_pool(node: GlobalAvgPool, x: Array, **_: Any) -> Array:
    return ops.global_avg_pool_forward(_activated(node, x))[0]


COMPUTE: dict[type[Node], Callable[..., Array]] = {
    Conv2D: _conv2d,
    Affine: _affine,
    Relu: lambda node, x, **_: ops.relu_forward(x)[0],
    Add: _add,
    MaxPool2D: _max_pool2d,
    Subsample: lambda node, x, **_: ops.subsample_forward(x, node.factor)[0],
    GlobalAvgPool: _global_avg_pool,
    ResizeBilinear: lambda node, x, size, **_: ops.resize_bilinear_forward(x, size)[0],
    Softmax: lambda node, x, **_: ops.softmax(x),
}
