"""Which value lives where: one piece of memory for all values of a pass, in which a place is used again once nobody needs what is there.

The images stay in the caller's array and the result goes into the caller's array; nothing else is written to there. Two values may
share a place at the same time in one case only: the node that reads the last of the one writes the other over it. That is right if
element i of the result needs element i of what is overwritten and no other: elementwise nodes, and the residual of a convolution.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from .graph import ELEMENTWISE, IMAGES, Conv2D, Graph, Node, Value

ALIGNMENT = 64  # bytes: a cache line, and the widest vector


@dataclass(frozen=True, slots=True)
class Place:
    """Bytes [offset, offset + size) of the memory."""

    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Where each value is, for a batch of n images; the images and the result are with the caller, and not in it."""

    places: dict[Value, Place]
    size: int  # of the memory, in bytes


@dataclass(slots=True)
class _Lodging:
    """Values that follow each other in one place: from the node that writes the first to the node that reads the last."""

    size: int
    first: int
    last: int
    offset: int = -1


def plan(graph: Graph, n: int) -> Plan:
    """The places of all values for n images."""
    lodgings: dict[Value, _Lodging] = {}
    last = last_reads(graph)
    itemsize = 4 if graph.dtype == "float32" else 8
    for i, node in enumerate(graph.nodes):
        if node.y == graph.output:
            continue
        over = overwritten(node, i, last, graph)
        if over is None:
            size = n * prod(graph.shapes[node.y]) * itemsize
            lodgings[node.y] = _Lodging(size + -size % ALIGNMENT, i, last[node.y])
        else:
            lodgings[node.y] = lodgings[over]
            lodgings[over].last = last[node.y]
    total = _arrange(list({id(lodging): lodging for lodging in lodgings.values()}.values()))
    return Plan({value: Place(lodging.offset, lodging.size) for value, lodging in lodgings.items()}, total)


def last_reads(graph: Graph) -> dict[Value, int]:
    """The number of the last node that reads (or, if nobody reads it, makes) each value."""
    return {value: i for i, node in enumerate(graph.nodes) for value in (node.y, *node.reads)}


def overwritten(node: Node, i: int, last: dict[Value, int], graph: Graph) -> Value | None:
    """The value whose place the result of node number i takes; None if it needs a place of its own."""
    if isinstance(node, ELEMENTWISE):
        candidates = node.reads
    elif isinstance(node, Conv2D) and node.residual is not None and node.residual != node.x:
        candidates = (node.residual,)  # not x: other pixels and channels of the result still need it
    else:
        return None
    for value in candidates:
        if last[value] == i and value not in (IMAGES, graph.output):
            return value
    return None


def _arrange(lodgings: list[_Lodging]) -> int:
    """Gives each an offset, the large ones first, each as low as those that live at the same time let it. Returns the size of all."""
    placed: list[_Lodging] = []
    for lodging in sorted(lodgings, key=lambda one: (-one.size, one.first)):
        offset = 0
        for other in sorted(placed, key=lambda one: one.offset):
            if other.first <= lodging.last and lodging.first <= other.last and other.offset < offset + lodging.size:
                offset = max(offset, other.offset + other.size)
        lodging.offset = offset
        placed.append(lodging)
    return max((one.offset + one.size for one in placed), default=0)
