"""What a frozen net is made of: values, which are numbers, and nodes, which make one value of others.

Every value is a batch of maps [n, H, W, C]; value 0 is the images. A vector [n, C] has the memory of a map [n, 1, 1, C], so
`squeeze` makes no node: only the shape of the result remembers it. Nodes stand in the order in which they run.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import TypeAlias

from ..backend import Array
from ..ops.checks import Pair
from ..ops.windows import Pads
from .weights import Weights

Value: TypeAlias = int
Map: TypeAlias = tuple[int, int, int]  # H, W, C
IMAGES: Value = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """y = something of the values it reads. `name`: the scope of the layer it comes from."""

    y: Value
    name: str = ""

    @property
    def reads(self) -> tuple[Value, ...]:
        """The values it reads, one for each place it reads it in."""
        found = (getattr(self, place) for place in READ_PLACES if hasattr(self, place))
        return tuple(value for value in found if value is not None)

    @property
    def constants(self) -> dict[str, Array | Weights]:
        """By the name of their field; each has a shape, a dtype and a size."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in found.items() if hasattr(value, "dtype")}


READ_PLACES = ("x", "a", "b", "residual")


@dataclass(frozen=True, kw_only=True, slots=True)
class Conv2D(Node):
    """y = relu(conv(x, w) + bias + residual), where what is None (and relu, if False) is left out.

    With scale and shift [C] it convolves max(scale * x + shift, 0) in the place of x: pre-activation without a map in memory.
    They are given only to a convolution that sees each pixel once and alone: 1x1, stride 1, no padding.
    """

    x: Value
    w: Weights  # [KH, KW, C, K]
    bias: Array | None = None  # [K]
    relu: bool = False
    residual: Value | None = None
    scale: Array | None = None  # [C]
    shift: Array | None = None  # [C]
    stride: Pair
    rate: Pair
    pads: Pads

    @property
    def is_per_pixel(self) -> bool:
        """Whether each output pixel is made of the one input pixel at its place."""
        return self.w.shape[:2] == (1, 1) and self.stride == (1, 1) and not any(map(any, self.pads))


@dataclass(frozen=True, kw_only=True, slots=True)
class Affine(Node):
    """y = scale * x + shift for each channel, then relu if it says so. A scale of None is 1."""

    x: Value
    scale: Array | None  # [C]
    shift: Array  # [C]
    relu: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Relu(Node):
    """y = max(x, 0)."""

    x: Value


@dataclass(frozen=True, kw_only=True, slots=True)
class Add(Node):
    """y = a + b, then relu if it says so."""

    a: Value
    b: Value
    relu: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class MaxPool2D(Node):
    """The largest in each window; padding never wins."""

    x: Value
    kernel: Pair
    stride: Pair
    pads: Pads


@dataclass(frozen=True, kw_only=True, slots=True)
class Subsample(Node):
    """Every factor-th pixel."""

    x: Value
    factor: int


@dataclass(frozen=True, kw_only=True, slots=True)
class GlobalAvgPool(Node):
    """The mean of each map; with scale and shift [C] that of max(scale * x + shift, 0)."""

    x: Value
    scale: Array | None = None
    shift: Array | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ResizeBilinear(Node):
    """The map at another size (that of y), corners on corners."""

    x: Value


@dataclass(frozen=True, kw_only=True, slots=True)
class Softmax(Node):
    """Probabilities over the channels of each pixel."""

    x: Value


KINDS: dict[str, type[Node]] = {
    kind.__name__: kind
    for kind in (Conv2D, Affine, Relu, Add, MaxPool2D, Subsample, GlobalAvgPool, ResizeBilinear, Softmax)
}
ELEMENTWISE = (Affine, Relu, Add)  # element i of y is made of element i of what it reads, and of nothing else


@dataclass(frozen=True, slots=True)
class Graph:
    """A net as nodes in running order, planned for batches of up to input_shape[0] images.

    shapes        of each value, (H, W, C): the batch is left out
    output        the value that is the result; output_shape: as the net gave it, [N, ...], squeezed or not
    """

    name: str
    input_shape: tuple[int, int, int, int]
    dtype: str
    nodes: tuple[Node, ...]
    shapes: dict[Value, Map]
    output: Value
    output_shape: tuple[int, ...]

    @property
    def batch(self) -> int:
        """The largest number of images it is planned for."""
        return self.input_shape[0]


def count_uses(nodes: Iterable[Node], output: Value) -> dict[Value, int]:
    """How often each value is read; to be the result counts as well."""
    uses = {output: 1}
    for node in nodes:
        for value in node.reads:
            uses[value] = uses.get(value, 0) + 1
    return uses
