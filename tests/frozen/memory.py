"""Plays a plan of buffers with the names of values in the place of numbers: who owns each byte, node by node."""

from __future__ import annotations

from tinyresnet.frozen.buffers import ALIGNMENT, Plan
from tinyresnet.frozen.graph import IMAGES, Add, Affine, Conv2D, Graph, Node, Relu


def problems_of(graph: Graph, plan: Plan, n: int) -> list[str]:
    """One sentence for each node that reads what is no longer there, or writes where it must not. Empty: the plan is right."""
    found, owner = [], [None] * (plan.size // ALIGNMENT)
    item = {"float32": 4, "float64": 8}[graph.dtype]

    def lines(value: int) -> range:
        h, w, c = graph.shapes[value]
        place = plan.places[value]
        if place.offset % ALIGNMENT or place.offset + place.size > plan.size or n * h * w * c * item > place.size:
            found.append(f"value {value} has no room at {place}")
        return range(place.offset // ALIGNMENT, (place.offset + n * h * w * c * item + ALIGNMENT - 1) // ALIGNMENT)

    for node in graph.nodes:
        for value in node.reads:
            if value == IMAGES or value == graph.output:
                if value in plan.places:
                    found.append(f"value {value} is the caller's, but has a place")
            elif any(owner[line] != value for line in lines(value)):
                found.append(f"value {node.y} reads value {value}, which was overwritten")
        if node.y == graph.output:
            continue
        mine = set(lines(node.y))
        for value in node.reads:
            if value in plan.places and mine & set(lines(value)) and not _may_overwrite(node, value, plan):
                found.append(f"value {node.y} is written over value {value} while that is read")
        for line in mine:
            owner[line] = node.y
    return found


def _may_overwrite(node: Node, value: int, plan: Plan) -> bool:
    """Only element by element, so at the very same place, and never where a convolution still reads."""
    if plan.places[node.y].offset != plan.places[value].offset:
        return False
    if isinstance(node, Conv2D):
        return value == node.residual and value != node.x
    return isinstance(node, (Affine, Relu, Add))
