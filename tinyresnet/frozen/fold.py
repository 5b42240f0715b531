"""Fewer nodes for the same net: what is linear goes into the convolution before it, what is cheap into the one after it.

Going through the nodes in their order, each is offered to the node that made what it reads:

    conv2d, batch norm          w * scale, bias = shift             (in float64, rounded once)
    conv2d, bias_add            bias
    conv2d, add                 the other branch becomes the convolution's residual: it is added to before the result is written
    ... , relu                  relu

A node is changed only if nobody else reads what it made: what cannot be folded stays. Then, the other way round, batch norm + ReLU
before convolutions that see each pixel alone is given to them: pre-activation, which every unit of a ResNet v2 begins with.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..backend import Array
from .graph import Add, Affine, Conv2D, GlobalAvgPool, Graph, Node, Relu, Value, count_uses
from .weights import Weights


def fold(graph: Graph) -> Graph:
    """The same net in fewer nodes, with constants of its own, in its dtype. The graph given stays as it is."""
    nodes = _needed(graph.nodes, graph.output)
    nodes = _Folding(nodes, graph).run()
    nodes = _activate_while_reading(nodes, graph)
    nodes = [_rounded(node, graph.dtype) for node in nodes]
    alive = {0, graph.output} | {value for node in nodes for value in (node.y, *node.reads)}
    shapes = {value: shape for value, shape in graph.shapes.items() if value in alive}
    return replace(graph, nodes=tuple(nodes), shapes=shapes)


def _needed(nodes: tuple[Node, ...], output: Value) -> list[Node]:
    """Without what the result does not depend on."""
    wanted, kept = {output}, []
    for node in reversed(nodes):
        if node.y in wanted:
            wanted.update(node.reads)
            kept.append(node)
    return kept[::-1]


def _rounded(node: Node, dtype: str) -> Node:
    """With copies of its vectors in the net's dtype, which nobody writes to."""
    arrays = {name: np.array(array, dtype) for name, array in node.constants.items() if not isinstance(array, Weights)}
    for array in arrays.values():
        array.flags.writeable = False
    return replace(node, **arrays)  # type: ignore[arg-type]


class _Folding:
    """The way forward. `done`: value -> the node that makes it, in running order."""

    def __init__(self, nodes: list[Node], graph: Graph) -> None:
        self.nodes = nodes
        self.uses = count_uses(nodes, graph.output)
        self.done: dict[Value, Node] = {}

    def run(self) -> list[Node]:
        """The nodes after folding. One that takes in a later one runs in that one's place: all that either reads is there by then."""
        for node in self.nodes:
            match node:
                case Affine():
                    folded = self._affine(node)
                case Relu():
                    folded = self._relu(node)
                case Add():
                    folded = self._add(node)
                case _:
                    folded = node
            self.done[folded.y] = folded
        return list(self.done.values())

    def _only_for_me(self, value: Value) -> Node | None:
        """The node that makes the value, if the value is read once: by the node that asks."""
        return self.done.get(value) if self.uses[value] == 1 else None

    def _affine(self, node: Affine) -> Node:
        before = self._only_for_me(node.x)
        match before:
            case Conv2D(relu=False, residual=None):
                w = before.w if node.scale is None else before.w.times(node.scale)
                bias = _scaled(before.bias, node.scale)
                merged: Node = replace(before, w=w, bias=node.shift if bias is None else bias + node.shift, y=node.y)
            case Affine(relu=False):
                scale = node.scale if before.scale is None else _scaled(before.scale, node.scale)
                shift = _scaled(before.shift, node.scale)
                assert shift is not None
                merged = replace(before, scale=scale, shift=shift + node.shift, y=node.y)
            case _:
                return node
        del self.done[node.x]
        return replace(merged, relu=node.relu)  # type: ignore[call-arg]

    def _relu(self, node: Relu) -> Node:
        before = self._only_for_me(node.x)
        if not isinstance(before, (Conv2D, Affine, Add, Relu)):
            return node
        del self.done[node.x]
        if isinstance(before, Relu):
            return replace(before, y=node.y)
        return replace(before, relu=True, y=node.y)

    def _add(self, node: Add) -> Node:
        order = {value: place for place, value in enumerate(self.done)}
        for conv_y, other in sorted(((node.a, node.b), (node.b, node.a)), key=lambda pair: -order.get(pair[0], -1)):
            conv = self._only_for_me(
                conv_y
            )  # the later of the two convolutions, if there are two: the other is ready by then
            if isinstance(conv, Conv2D) and not conv.relu and conv.residual is None:
                del self.done[conv_y]
                return replace(conv, residual=other, y=node.y)
        return node


def _scaled(array: Array | None, scale: Array | None) -> Array | None:
    return array if array is None or scale is None else array * scale


# ---- the way back --------------------------------------------------------------------------------------------------------
def _activate_while_reading(nodes: list[Node], graph: Graph) -> list[Node]:
    """An Affine with ReLU (or a ReLU) all of whose readers can do it while they read: it is never written to memory."""
    readers: dict[Value, list[Node]] = {}
    for node in nodes:
        for value in node.reads:
            readers.setdefault(value, []).append(node)
    given: dict[Value, Node] = {
        node.y: node
        for node in nodes
        if _is_activation(node)
        and node.y != graph.output
        and all(_can_activate(reader, node.y) for reader in readers[node.y])
    }
    changed = []
    for node in nodes:
        activation = given.get(getattr(node, "x", -1))
        if activation is not None:
            node = _with_activation(node, activation, graph)
        if node.y not in given:
            changed.append(node)
    return changed


def _is_activation(node: Node) -> bool:
    return isinstance(node, Relu) or (isinstance(node, Affine) and node.relu)


def _can_activate(reader: Node, value: Value) -> bool:
    if isinstance(reader, Conv2D):
        return reader.is_per_pixel and reader.scale is None and reader.residual != value
    return isinstance(reader, GlobalAvgPool)


def _with_activation(reader: Node, activation: Node, graph: Graph) -> Node:
    """`reader` (a Conv2D or GlobalAvgPool), which takes what `activation` takes and does its work itself."""
    assert isinstance(activation, (Affine, Relu))
    c = graph.shapes[activation.y][-1]
    scale = activation.scale if isinstance(activation, Affine) else None
    shift = activation.shift if isinstance(activation, Affine) else np.zeros(c)
    return replace(reader, x=activation.x, scale=np.ones(c) if scale is None else scale, shift=shift)  # type: ignore[call-arg]
